"""One call of ``generate`` made again: the same policy, settings, draws and place in the batch."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from guardsteer import __version__
from guardsteer.assets import Catalog
from guardsteer.audit import Journal, StoredEvent
from guardsteer.audit.health import Health
from guardsteer.audit.keys import keyed_digest
from guardsteer.core.events import Event, RequestEnded
from guardsteer.core.policy import Binding, Policy
from guardsteer.errors import ReplayError, VectorsFightWarning
from guardsteer.evaluate.replay.differences import stopped_throughout
from guardsteer.evaluate.replay.forcing import timetable
from guardsteer.evaluate.replay.places import Batch
from guardsteer.evaluate.replay.record import Recorded
from guardsteer.host import find_layout, fingerprint
from guardsteer.host.fingerprint import Fingerprint
from guardsteer.rules.rollout import in_shadow
from guardsteer.runtime.auditing import Auditor
from guardsteer.runtime.building import Builder
from guardsteer.runtime.guard import Guard
from guardsteer.runtime.kit import Kit
from guardsteer.runtime.provenance import surroundings_of

__all__ = ["Built", "Notebook", "Stage", "Take", "Witness", "beside", "binding_of", "build", "perform"]


class Notebook:
    """A journal that keeps events in memory; digests are made with ``key``."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.health = Health("memory")
        self.events: list[Event] = []

    def append(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)

    def keyed_digest(self, data: bytes) -> str:
        """Return the digest to record in place of a text."""
        return keyed_digest(self._key, data)

    def flush(self) -> None:
        """Do nothing: nothing waits."""

    def stored(self) -> list[StoredEvent]:
        """Return the events as a log would give them."""
        return [StoredEvent("replay", seq, event) for seq, event in enumerate(self.events)]


@dataclass(frozen=True, slots=True)
class Stage:
    """The model to generate with and where its policy's parts are found; ``key`` is that of the digests.

    ``vectors`` and ``classifiers`` stand for some of what policies name, as in ``guardsteer.wrap``.
    """

    model: Any
    tokenizer: Any
    key: bytes
    assets: Sequence[Path | str] = ()
    vectors: Mapping[str, Any] = field(default_factory=dict)
    classifiers: Mapping[str, Any] = field(default_factory=dict)
    blocks: str | None = None

    def digest(self, data: bytes) -> str:
        """Return the keyed digest of ``data``."""
        return keyed_digest(self.key, data)

    def identity(self) -> Fingerprint:
        """Return the model's fingerprint; reads all weights."""
        return fingerprint(self.model, self.tokenizer, blocks=self.blocks)


class Witness:
    """Notes by how much one token's logit is above another's where row ``place`` chooses at ``column``.

    ``lead`` is None before that.
    """

    def __init__(self, place: int, column: int, one: int, other: int) -> None:
        self._place, self._column, self._pair = place, column, (one, other)
        self.lead: float | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return ``scores: [row, token]`` as they are."""
        if input_ids.shape[1] == self._column:
            one, other = scores[self._place, list(self._pair)].tolist()
            self.lead = one - other
        return scores


@dataclass(frozen=True, slots=True)
class Take:
    """What came of a call: the ``tokens`` of the row that is asked about, and the log of all rows."""

    tokens: tuple[int, ...]
    events: tuple[StoredEvent, ...] = ()
    ended: RequestEnded | None = None


class Built(NamedTuple):
    """A policy on a model: what builds others for it, and what it came to."""

    builder: Builder
    kit: Kit


def binding_of(told: Mapping[str, Any]) -> Binding:
    """Return the binding that ``policy_adopted`` has."""
    values = dict(told)
    rules = values.pop("rules", {})
    return Binding(**values, rules=tuple(rules.items()))


def build(stage: Stage, identity: Fingerprint, policy: Policy) -> Built:
    """Return ``policy`` on the stage's model; raises as ``guardsteer.wrap``."""
    builder = Builder(
        model=stage.model,
        tokenizer=stage.tokenizer,
        layout=find_layout(stage.model, blocks=stage.blocks),
        fingerprint=identity,
        catalog=Catalog([Path(root) for root in stage.assets]),
        vectors=stage.vectors,
        classifiers=stage.classifiers,
        explain=True,
    )
    with warnings.catch_warnings():
        # Whoever put the policy on the model then was warned of it.
        warnings.simplefilter("ignore", VectorsFightWarning)
        return Built(builder, builder.build(policy))


def beside(built: Built, name: str, candidate: Policy) -> Built:
    """Return ``built`` with a candidate beside it; raises as ``guardsteer.wrap``."""
    kit = built.builder.build(replace(candidate, binding=in_shadow(candidate.binding)))
    return Built(replace(built.builder, candidates={name: kit}), replace(built.kit, candidates={name: kit}))


def perform(
    stage: Stage,
    recorded: Recorded,
    batch: Batch,
    built: Built | None,
    *,
    forced: bool = False,
    witness: Witness | None = None,
) -> Take:
    """Generate for ``batch`` as the record says; ``built`` None: without a guard.

    ``forced``: the plans are those of the log. ``witness`` watches the logits. The kill switch is thrown
    where it was on all along. Raises ``ReplayError`` where no row ended, or where it is on here.
    """
    kwargs: dict[str, Any] = {"input_ids": batch.ids, "attention_mask": batch.mask, **_settings(recorded)}
    sequence = recorded.row.key.sequence
    if built is None:
        with _ready(stage, recorded):
            output = type(stage.model).generate(stage.model, **kwargs)
        ids = _row(output, batch, sequence)
        return Take(_trimmed(ids, recorded))
    builder, kit = built
    if forced:
        if recorded.started.settings.get("num_beams") not in (None, 1):
            raise ReplayError(
                f"request {recorded.row.key.request!r} was searched with beams, and no log tells what "
                "was done to those that lost: it cannot be replayed as recorded, only decided anew"
            )
        table = timetable(recorded.row, kit.policy, kit.program)
        kit = replace(kit, rows=replace(kit.rows, program=table))
    notebook = Notebook(stage.key)
    auditor = Auditor(
        cast("Journal", notebook),
        kit,
        owned=False,
        library=__version__,
        surroundings=surroundings_of(stage.model),
    )
    with Guard(builder, kit, auditor) as guard, _ready(stage, recorded):
        if guard.stopped:
            raise ReplayError(
                "the kill switch is on in this process, so nothing would be steered: unset GUARDSTEER_STOP"
            )
        if stopped_throughout(recorded) and not forced:
            guard.stop("as it was")
        if witness is not None:
            kwargs["logits_processor"] = [witness]
        output = guard.generate(guard=batch.guard, **kwargs)
    stored = notebook.stored()
    ended = [
        each.event
        for each in stored
        if isinstance(each.event, RequestEnded)
        and (each.event.request, each.event.sequence, each.event.track)
        == (recorded.row.key.request, sequence, "")
    ]
    if not ended:
        raise ReplayError(f"request {recorded.row.key.request!r}: its replay did not end")
    ids = _row(output, batch, sequence)
    return Take(tuple(ids[: ended[0].generated_tokens]), tuple(stored), ended[0])


def _settings(recorded: Recorded) -> dict[str, Any]:
    from transformers import GenerationConfig

    return {"generation_config": GenerationConfig(**recorded.started.settings)}


@contextmanager
def _ready(stage: Stage, recorded: Recorded) -> Iterator[None]:
    """Have the recorded settings count alone, and draw what was drawn; all is as it was afterwards."""
    from transformers import GenerationConfig

    model = stage.model
    kept = model.generation_config
    device = torch.device(model.device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model.generation_config = GenerationConfig()
        try:
            _seed(recorded, device)
            yield
        finally:
            model.generation_config = kept


def _seed(recorded: Recorded, device: torch.device) -> None:
    if recorded.started.seed is not None:
        torch.manual_seed(recorded.started.seed)
    elif recorded.rng:
        state = torch.frombuffer(bytearray(base64.b64decode(recorded.rng)), dtype=torch.uint8)
        try:
            if device.type == "cuda":
                torch.cuda.set_rng_state(state, device)
            else:
                torch.set_rng_state(state)
        except RuntimeError as error:
            raise ReplayError(
                f"the recorded state of the random numbers does not fit a generator on {device}: {error}; it "
                f"was recorded on {recorded.attached.device or 'an unknown device'}"
            ) from error


def _row(output: Any, batch: Batch, sequence: int) -> list[int]:
    """Return the new tokens of the row that is asked about, padding behind them included."""
    sequences = output if isinstance(output, torch.Tensor) else output.sequences
    each = len(sequences) // len(batch.ids)
    ids: list[int] = sequences[batch.place * each + sequence, batch.width :].tolist()
    return ids


def _trimmed(ids: Sequence[int], recorded: Recorded) -> tuple[int, ...]:
    """Cut a row's tokens after its end token; else cut the padding behind it."""
    end = recorded.started.settings.get("eos_token_id")
    ends = {end} if isinstance(end, int) else set(end) if isinstance(end, list) else set()
    for place, token in enumerate(ids):
        if token in ends:
            return tuple(ids[: place + 1])
    kept = list(ids)
    while kept and kept[-1] == recorded.started.settings.get("pad_token_id"):
        kept.pop()
    return tuple(kept)
