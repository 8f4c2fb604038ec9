"""What the audit holds of one request that its answer can be generated again from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from guardsteer.audit import SegmentBegan, StoredEvent
from guardsteer.core.events import (
    Attached,
    PolicyAdopted,
    RequestEnded,
    RequestStarted,
    Resumed,
    Stopped,
)
from guardsteer.errors import ReplayError
from guardsteer.evaluate.timeline import Gathered, RowRecord, gather

__all__ = ["Log", "Recorded", "read_log"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One row of one request, whole: ``call`` are the rows of its call of ``generate``, in their order.

    ``key_name`` names the key of the digests. ``stops`` are what the kill switch did to the row's guard.
    """

    row: RowRecord
    started: RequestStarted
    ended: RequestEnded
    adopted: PolicyAdopted
    attached: Attached
    call: tuple[RequestStarted, ...]
    key_name: str
    stops: tuple[Stopped | Resumed, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def rng(self) -> str:
        """The generator's state when the call began, base64; "" where a seed tells it or nothing is drawn."""
        return next((each.rng for each in self.call if each.rng), "")

    @property
    def samples(self) -> bool:
        """True where tokens were drawn."""
        return bool(self.started.settings.get("do_sample"))


@dataclass(slots=True)
class Log:
    """A log's records, in an order in which requests are found; made by ``read_log``."""

    gathered: Gathered
    rows: dict[str, list[RowRecord]] = field(default_factory=dict)
    guards: dict[tuple[str, str], Attached] = field(default_factory=dict)
    calls: dict[tuple[str, str], list[RequestStarted]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    def of(self, request: str, sequence: int = 0) -> Recorded:
        """Return what is recorded of a request's row; of several requests under one id, of the last.

        Raises ``ReplayError`` with all that is missing for a replay.
        """
        found = self.rows.get(request, [])
        if not found:
            raise ReplayError(f"the log holds no record of request {request!r}")
        rows = [row for row in found if row.key.sequence == sequence]
        if not rows:
            known = ", ".join(str(row.key.sequence) for row in found)
            raise ReplayError(f"request {request!r} has no row {sequence}; it has {known}")
        row = rows[-1]
        started, ended = row.started, row.ended
        if started is None or ended is None:
            raise ReplayError(_unfinished(row))
        if not started.call:
            raise ReplayError(
                f"request {request!r} was recorded by a version that did not keep what a replay needs "
                "(the row's place in its call, all settings, the seed); newer versions record all of it"
            )
        return self._recorded(row, started, ended, len(rows) - 1)

    def _recorded(
        self, row: RowRecord, started: RequestStarted, ended: RequestEnded, earlier: int
    ) -> Recorded:
        stream = row.key.stream
        policies = [
            adopted
            for adopted in self.gathered.policies
            if not adopted.track
            and (adopted.guard, adopted.policy_digest) == (started.guard, started.policy_digest)
        ]
        attached = self.guards.get((stream, started.guard))
        call = sorted(self.calls.get((stream, started.call), ()), key=lambda each: each.row)
        missing = [
            what
            for what, there in (
                (f"the policy {started.policy_digest} that it ran under", policies),
                ("the guard's own record (attached)", attached),
                ("the other rows of its call", len(call) == started.rows),
            )
            if not there
        ]
        if missing or attached is None:
            raise ReplayError(
                f"request {row.key.request!r} cannot be replayed: the log does not hold "
                f"{', nor '.join(missing)}; see guardsteer audit verify"
            )
        notes = (
            [f"{earlier} earlier request(s) under this id are not replayed; the last is"] if earlier else []
        )
        if not row.intact:
            notes.append("lines of this request were altered: see guardsteer audit verify")
        return Recorded(
            row=row,
            started=started,
            ended=ended,
            # One text may be adopted again with another binding.
            adopted=([each for each in policies if each.time_ns <= started.time_ns] or policies)[-1],
            attached=attached,
            call=tuple(call),
            key_name=self.keys.get(stream, ""),
            stops=tuple(each for each in self.gathered.switches if each.guard == started.guard),
            notes=tuple(notes),
        )


def _unfinished(row: RowRecord) -> str:
    name = row.key.request
    if row.failed is not None:
        return f"request {name!r} has no answer to generate again: it failed with {row.failed.error}"
    what = "beginning" if row.started is None else "end"
    return f"request {name!r} cannot be replayed: its {what} is not in the log"


def read_log(events: Iterable[StoredEvent], request: str | None = None) -> Log:
    """Return the records of a log (``guardsteer.audit.read``); with ``request``, what that needs alone."""
    stored = [each for each in events if request is None or _matters(each.event, request)]
    log = Log(gather(stored, request))
    for row in log.gathered.rows.values():
        if not row.track:
            log.rows.setdefault(row.key.request, []).append(row)
    for each in stored:
        event = each.event
        if isinstance(event, SegmentBegan):
            log.keys[each.stream] = event.digest_key
        elif isinstance(event, Attached):
            log.guards[each.stream, event.guard] = event
        elif isinstance(event, RequestStarted) and not event.track and not event.sequence and event.call:
            log.calls.setdefault((each.stream, event.call), []).append(event)
    return log


def _matters(event: object, request: str) -> bool:
    """Tell whether a record is the request's own, or one that others may need to be understood."""
    own = getattr(event, "request", None)
    # Rows of one call need one another.
    return own is None or own == request or (isinstance(event, RequestStarted) and event.rows > 1)
