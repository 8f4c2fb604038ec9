"""What a log tells of a period, counted in one pass over its records; no record is kept."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from guardsteer.audit import RecordsDropped, SegmentBegan, StoredEvent
from guardsteer.core.events import (
    ActivationBegan,
    ActivationEnded,
    Attached,
    ClassifierFailed,
    ClassifierLate,
    ClassifierTripped,
    Detached,
    FlagChanged,
    PolicyAdopted,
    PolicyRefused,
    RequestEnded,
    RequestFailed,
    RequestStarted,
    Resumed,
    RowHalted,
    RowRevised,
    RuleFired,
    Stopped,
)
from guardsteer.core.policy import Policy
from guardsteer.errors import PolicyError
from guardsteer.report.axis import TimeAxis
from guardsteer.rules import parse_policy

__all__ = ["Counts", "Happening", "Period", "tally"]

_MS = 1_000_000
_MOST_HAPPENINGS = 200


@dataclass(slots=True)
class Counts:
    """How often something came about: in all, and in each bucket of time."""

    total: int = 0
    tokens: int = 0
    buckets: Counter[int] = field(default_factory=Counter)

    def add(self, bucket: int, number: int = 1) -> None:
        """Count ``number`` more in a bucket."""
        self.total += number
        self.buckets[bucket] += number


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that a reader must know of, at a time (UTC ns)."""

    time_ns: int
    kind: str
    told: str


@dataclass(slots=True)
class _Open:
    time_ns: int
    monotonic_ns: int
    tenant: str
    mode: str


def _counts() -> defaultdict[str, Counts]:
    return defaultdict(Counts)


def _samples() -> defaultdict[int, array[float]]:
    return defaultdict(lambda: array("d"))


@dataclass(slots=True)
class Period:
    """All counts of a period. A record counts where its own time lies; a candidate's never does.

    ``rules``, ``vectors`` and ``tenants`` count activations that were applied (their tokens: those that
    ended); ``fired`` counts rules that fired, ``shadow`` what would have acted. ``scores`` are those with
    which a flag went up, by flag and bucket; ``latency_ms`` request durations by bucket.
    """

    axis: TimeAxis
    since_ns: int
    until_ns: int
    records: int = 0
    first_ns: int = 0
    last_ns: int = 0
    altered: int = 0
    started: Counts = field(default_factory=Counts)
    ended: Counts = field(default_factory=Counts)
    failed: Counts = field(default_factory=Counts)
    modes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    generated: Counts = field(default_factory=Counts)
    steered: Counts = field(default_factory=Counts)
    rules: defaultdict[str, Counts] = field(default_factory=_counts)
    fired: defaultdict[str, Counts] = field(default_factory=_counts)
    vectors: defaultdict[str, Counts] = field(default_factory=_counts)
    tenants: defaultdict[str, Counts] = field(default_factory=_counts)
    requests_of: Counter[str] = field(default_factory=Counter)
    shadow: defaultdict[str, Counts] = field(default_factory=_counts)
    scores: defaultdict[str, defaultdict[int, array[float]]] = field(
        default_factory=lambda: defaultdict(_samples)
    )
    latency_ms: defaultdict[int, array[float]] = field(default_factory=_samples)
    monotonic: int = 0
    troubles: defaultdict[str, Counts] = field(default_factory=_counts)
    happenings: list[Happening] = field(default_factory=list)
    unlisted: int = 0
    policies: list[PolicyAdopted] = field(default_factory=list)
    switches: list[Stopped | Resumed] = field(default_factory=list)
    attached: list[Attached] = field(default_factory=list)
    detached: list[Detached] = field(default_factory=list)
    drops: list[RecordsDropped] = field(default_factory=list)
    libraries: set[str] = field(default_factory=set)
    unfinished: int = 0


def tally(events: Iterable[StoredEvent], axis: TimeAxis, since_ns: int, until_ns: int) -> Period:
    """Count what ``events`` tell of the time from ``since_ns`` up to, without, ``until_ns``.

    What was adopted, stopped or attached before goes on into the period, and is kept too.
    """
    counting = _Counting(Period(axis, since_ns, until_ns))
    for stored in events:
        counting.take(stored)
    found = counting.found
    found.unfinished = len(counting.open)
    return found


class _Counting:
    """One pass: the period so far, and the rows that are under way."""

    def __init__(self, found: Period) -> None:
        self.found = found
        self.open: dict[tuple[str, str, int], _Open] = {}

    def take(self, stored: StoredEvent) -> None:
        """Count one record."""
        event, found = stored.event, self.found
        at = event.time_ns
        inside = found.since_ns <= at < found.until_ns
        if getattr(event, "request", None) is not None:
            if not event.track:  # type: ignore[union-attr]  # what has a request has a track
                self._row(stored, inside)
        elif at < found.until_ns:
            self._guard(event, inside)
        if inside:
            found.records += 1
            found.altered += not stored.intact
            found.first_ns = min(found.first_ns or at, at)
            found.last_ns = max(found.last_ns, at)

    def _row(self, stored: StoredEvent, inside: bool) -> None:
        event, found = stored.event, self.found
        key = (stored.stream, event.request, event.sequence)  # type: ignore[union-attr]  # a row's
        if isinstance(event, RequestStarted):
            tenant = event.tenant or str(event.context.get("tenant", "")) or "(none stated)"
            self.open[key] = _Open(event.time_ns, event.monotonic_ns, tenant, event.mode)
        row = self.open.get(key)
        tenant = row.tenant if row is not None else "(start not in the log)"
        if inside:
            self._count(event, tenant, found.axis.bucket(event.time_ns))
        if isinstance(event, RequestEnded | RequestFailed):
            self.open.pop(key, None)
            if inside and row is not None and isinstance(event, RequestEnded):
                self._took(event, row, found.axis.bucket(event.time_ns))

    def _took(self, event: RequestEnded, row: _Open, bucket: int) -> None:
        found = self.found
        if event.monotonic_ns and row.monotonic_ns:
            found.monotonic += 1
            took = event.monotonic_ns - row.monotonic_ns
        else:
            took = event.time_ns - row.time_ns
        found.latency_ms[bucket].append(took / _MS)

    def _count(self, event: object, tenant: str, bucket: int) -> None:
        found = self.found
        match event:
            case FlagChanged(up=True, flag=flag, score=score):
                if score is not None:
                    found.scores[flag][bucket].append(score)
            case ActivationBegan(rule=rule, vector=vector, mode=mode):
                if mode == "shadow":
                    found.shadow[rule].add(bucket)
                else:
                    found.rules[rule].add(bucket)
                    found.vectors[vector].add(bucket)
                    found.tenants[tenant].add(bucket)
            case ActivationEnded(rule=rule, vector=vector, tokens=tokens, mode="enforce"):
                found.rules[rule].tokens += tokens
                found.vectors[vector].tokens += tokens
                found.tenants[tenant].tokens += tokens
            case RuleFired(rule=rule):
                found.fired[rule].add(bucket)
            case RequestStarted(mode=mode):
                found.started.add(bucket)
                found.modes[mode] += 1
                found.requests_of[tenant] += 1
            case RequestEnded():
                found.ended.add(bucket)
                found.generated.add(bucket, event.generated_tokens)
                found.steered.add(bucket, event.steered_tokens)
                found.reasons[event.reason] += 1
            case _:
                self._trouble(event, bucket)

    def _trouble(self, event: object, bucket: int) -> None:
        match event:
            case RequestFailed(request=request, error=error):
                self.found.failed.add(bucket)
                self._note("generation failed", bucket, event.time_ns, f"{request}: {error}")
            case RowHalted(request=request, rule=rule, mode="enforce"):
                self._note(
                    "halted by a rule", bucket, event.time_ns, f"{request}: by {rule} at step {event.step}"
                )
            case RowRevised(request=request, rule=rule, mode="enforce"):
                told = f"{request}: {rule} took back {event.dropped} tokens at step {event.step}"
                self._note("text taken back", bucket, event.time_ns, told)
            case ClassifierFailed(request=request, classifier=name, error=error):
                self._note("classifier failed", bucket, event.time_ns, f"{request}: {name}: {error}")
            case ClassifierLate(request=request, classifier=name):
                told = f"{request}: {name}, steps {event.step} to {event.until}"
                self._note("classifier late", bucket, event.time_ns, told)

    def _note(self, kind: str, bucket: int, time_ns: int, told: str) -> None:
        found = self.found
        found.troubles[kind].add(bucket)
        if len(found.happenings) < _MOST_HAPPENINGS:
            found.happenings.append(Happening(time_ns, kind, told))
        else:
            found.unlisted += 1

    def _guard(self, event: object, inside: bool) -> None:
        found = self.found
        match event:
            case PolicyAdopted():
                found.policies.append(event)
            case Stopped() | Resumed():
                found.switches.append(event)
            case Attached():
                found.attached.append(event)
            case Detached():
                found.detached.append(event)
            case SegmentBegan(library=library):
                if inside:
                    found.libraries.add(library)
            case RecordsDropped(count=count, reason=reason) if inside:
                found.drops.append(event)
                bucket = found.axis.bucket(event.time_ns)
                self._note("records lost", bucket, event.time_ns, f"{count:,} records: {reason}")
            case PolicyRefused(file=file, error=error) if inside:
                bucket = found.axis.bucket(event.time_ns)
                self._note("policy refused", bucket, event.time_ns, f"{file}: {error}")
            case ClassifierTripped(classifier=name, failures=failures, error=error) if inside:
                bucket = found.axis.bucket(event.time_ns)
                told = f"{name} after {failures} failures: {error}"
                self._note("classifier left alone", bucket, event.time_ns, told)


@lru_cache(maxsize=64)
def policy_of(text: str, name: str) -> Policy | None:
    """Return the policy in ``text``; None where this version cannot read it."""
    try:
        return parse_policy(text, f"the audited policy {name}")
    except PolicyError:
        return None
