"""The guard's side of the audit: who it is, where events go, and what happens when they cannot."""

from __future__ import annotations

import os
import struct
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guardsteer.audit import Journal
from guardsteer.audit.health import Health
from guardsteer.classify.pace.breaker import Breaker
from guardsteer.core.events import (
    Attached,
    ClassifierRestored,
    ClassifierTripped,
    Detached,
    Event,
    PolicyAdopted,
    PolicyRefused,
)
from guardsteer.core.policy import Binding, OnAuditError, Policy
from guardsteer.runtime.keeping import Keeper
from guardsteer.runtime.kit import Kit
from guardsteer.runtime.provenance import Surroundings
from guardsteer.telemetry import Feed

__all__ = ["Auditor", "Blackout"]


class Blackout:
    """What rows do while the log cannot be written, as the policy's ``audit.on_error`` says."""

    __slots__ = ("_halts", "_keeps", "_watched")

    def __init__(self, watched: Sequence[Health], on_error: OnAuditError) -> None:
        self._watched = () if on_error == "open" else tuple(watched)
        self._halts = on_error == "halt"
        self._keeps = on_error == "last_state"

    @property
    def halts(self) -> bool:
        """True where rows end with the fallback too."""
        return self._halts

    @property
    def keeps(self) -> bool:
        """True where rows keep the plan that they have, instead of having nothing steered."""
        return self._keeps

    def active(self) -> bool:
        """Tell whether the log cannot be written now, and that matters."""
        for health in self._watched:
            # Asked at every step: a call only where there is something to look into.
            if (health.failed or health.committing_since_s) and health.failing():
                return True
        return False


class Auditor:
    """Hands a guard's events to its journal and to those who watch; without either they go nowhere."""

    def __init__(
        self,
        journal: Journal | None,
        kit: Kit,
        *,
        owned: bool,
        library: str,
        surroundings: Surroundings,
        keeper: Keeper | None = None,
        owns_texts: bool = False,
        feed: Feed | None = None,
    ) -> None:
        self._journal = journal
        self._feed = feed
        self._first = kit
        self._owned = owned
        self._library = library
        self._surroundings = surroundings
        self.keeper = keeper
        self._owns_texts = owns_texts
        self.guard_id = uuid.uuid4().hex

    def blackout(self, policy: Policy) -> Blackout:
        """Return what stops steering under ``policy`` when events cannot be kept."""
        watched = [] if self._journal is None else [self._journal.health]
        if self._journal is not None and self.keeper is not None:
            watched.append(self.keeper.store.health)
        return Blackout(watched, policy.audit.on_error)

    @property
    def on(self) -> bool:
        """True where events are kept or watched."""
        return self._journal is not None or self._feed is not None

    def append(self, event: Event) -> None:
        """Hand one event to the writing thread, and to that of those who watch."""
        if self._journal is not None:
            self._journal.append(event)
        if self._feed is not None:
            self._feed.append(event)

    def digest_of(self, tokens: Sequence[int]) -> str:
        """Return the keyed digest of token ids, four little-endian bytes each; empty without a journal."""
        if self._journal is None:
            return ""
        return self._journal.keyed_digest(struct.pack(f"<{len(tokens)}I", *tokens))

    def attached(self) -> None:
        """Record that the guard is on, with the digests of all that decides what it does."""
        kit, around = self._first, self._surroundings
        self.append(
            Attached(
                time_ns=time.time_ns(),
                guard=self.guard_id,
                library=self._library,
                policy=kit.policy.name,
                policy_digest=kit.policy.digest,
                model=fingerprint_parts(kit.fingerprint),
                vectors={slot.name: slot.digest for slot in kit.composer.slots},
                classifiers=dict(kit.classifier_digests),
                versions=dict(around.versions),
                device=around.device,
                attention=around.attention,
                threads=around.threads,
                kernels=dict(around.kernels),
            )
        )
        self.adopted(kit, "wrap")
        for name, candidate in kit.candidates.items():
            self.adopted(candidate, "wrap", name)

    def adopted(self, kit: Kit, source: str, track: str = "") -> None:
        """Record that requests are admitted under the policy of ``kit`` from here on.

        ``track``: as a candidate of this name.
        """
        self._listen(kit, track)
        policy = kit.policy
        approval = policy.approval
        self.append(
            PolicyAdopted(
                time_ns=time.time_ns(),
                guard=self.guard_id,
                policy=policy.name,
                policy_digest=policy.digest,
                source=source,
                text=policy.text,
                binding=_told(policy.binding),
                vectors={slot.name: slot.digest for slot in kit.composer.slots},
                classifiers=dict(kit.classifier_digests),
                approved_by=approval.by if approval else "",
                approved_at=approval.at if approval else "",
                approval_key=approval.key if approval else "",
                track=track,
            )
        )

    def _listen(self, kit: Kit, track: str) -> None:
        """Have the breakers of a kit's classifiers tell what they do."""
        for reading in kit.rows.readings:
            breaker = getattr(reading.classifier, "breaker", None)
            if isinstance(breaker, Breaker):
                name = f"{track}/{reading.name}" if track else reading.name
                told = _BreakerLog(self, name, breaker.spec.rest_s)
                breaker.listen(told.tripped, told.restored)

    def refused(self, policy: object, error: Exception) -> None:
        """Record that a policy was not adopted; of where it lies, its own name alone."""
        path = Path(str(getattr(policy, "source", policy)))
        told = str(error)
        for folder in (path, path.absolute(), path.parent, path.parent.absolute()):
            told = told.replace(f"{folder}{os.sep}", "")
        self.append(
            PolicyRefused(
                time_ns=time.time_ns(),
                guard=self.guard_id,
                file=path.name,
                error=f"{type(error).__name__}: {told}",
            )
        )

    def detached(self) -> None:
        """Record that the guard is off and wait until all is on the disk; closes what is its own."""
        self.append(Detached(time_ns=time.time_ns(), guard=self.guard_id))
        if self._feed is not None:
            self._feed.close()
        try:
            self._finish_texts()
        finally:
            self._finish_journal()

    def _finish_texts(self) -> None:
        if self.keeper is None:
            return
        if self._owns_texts:
            self.keeper.store.close()
        else:
            self.keeper.store.flush()

    def _finish_journal(self) -> None:
        if self._journal is None:
            return
        if self._owned:
            self._journal.close()
        else:
            self._journal.flush()


@dataclass(frozen=True, slots=True)
class _BreakerLog:
    """Records what one classifier's breaker does."""

    auditor: Auditor
    classifier: str
    rest_s: float

    def tripped(self, failures: int, error: str) -> None:
        self.auditor.append(
            ClassifierTripped(
                time_ns=time.time_ns(),
                guard=self.auditor.guard_id,
                classifier=self.classifier,
                failures=failures,
                rest_s=self.rest_s,
                error=error,
            )
        )

    def restored(self) -> None:
        guard, name = self.auditor.guard_id, self.classifier
        self.auditor.append(ClassifierRestored(time_ns=time.time_ns(), guard=guard, classifier=name))


def _told(binding: Binding) -> dict[str, str | float | dict[str, str]]:
    told = asdict(binding)
    return {**told, "rules": dict(binding.rules)}


def fingerprint_parts(fingerprint: Any) -> dict[str, str]:
    """Return the parts of a model's fingerprint, by name."""
    names = ("architecture", "config", "weights", "tokenizer", "dtype")
    parts: Mapping[str, str] = {name: str(getattr(fingerprint, name)) for name in names}
    return {**parts, "digest": fingerprint.digest}
