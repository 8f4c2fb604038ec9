"""Candidate policies beside the one in force: the same tokens, another set of rules, no effect.

A candidate does not decide anything that a pass waits for, so it goes after the row in force: it is
brought to a step only once that step is certain to stay. Drafts that were rejected and beams that were
dropped never reach it, and what it costs or breaks stays on its own track.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from torch import Tensor

from guardsteer.core.events import Event, RequestEnded, RequestFailed
from guardsteer.errors import UnsupportedError
from guardsteer.host import Point
from guardsteer.runtime.ledger import Ledger
from guardsteer.runtime.past import Taken
from guardsteer.runtime.probing import ProbeBank
from guardsteer.runtime.row import Row
from guardsteer.runtime.steps import Step, with_written

__all__ = ["Beside", "Candidate", "Track", "failed"]

_Reads = dict[tuple[int, int], list[float]]
"""What a track's probes read: products by the row's group and the key of the step in force."""


@dataclass(slots=True)
class Track:
    """One candidate in one generation: its probes, what they read in this pass, and what so far."""

    name: str
    append: Callable[[Event], None]
    probes: ProbeBank | None
    products: list[list[list[float]]] = field(default_factory=list)
    reads: _Reads = field(default_factory=dict)


def failed(track: str, request: str, sequence: int, error: BaseException) -> RequestFailed:
    """Return the event that a row has no result."""
    name = type(error).__name__
    return RequestFailed(
        time_ns=time.time_ns(),
        request=request,
        sequence=sequence,
        track=track,
        error=name,
        monotonic_ns=time.monotonic_ns(),
    )


class Candidate:
    """One row of a candidate, as it goes after the row in force, from before the prompt's step.

    Nothing here raises an ``Exception``: the first one is recorded and ends the candidate's row.
    """

    __slots__ = ("_at", "_done", "_ledger", "_row", "_track", "_who")

    def __init__(self, track: Track, row: Row, ledger: Ledger, request: str, sequence: int) -> None:
        self._track = track
        self._row: Row | None = row
        self._ledger = ledger
        self._who = (request, sequence)
        self._at: Step | None = None
        self._done = False

    def follow(self, newest: Step, last: int) -> None:
        """Decide and tell the steps up to ``last`` on the way to ``newest``, both of the row in force."""
        row = self._row
        if row is None or self._done or last < 0:
            return
        if self._at is not None and self._at.index >= last:
            # While other rows of the batch went on, padding behind this one's end was followed.
            return
        try:
            for step in self._way_to(newest, last):
                if step.parent is not None:
                    row.advance(step.token)
                self._complete(row, step)
                self._at = step
                if step.plan.halt >= 0:
                    # What comes now is the fallback of the policy in force.
                    self._done = True
                    break
            if row.news:
                row.news = self._ledger.tell(row.step, last)
        except Exception as error:
            self.fail(error)

    def take_back(self, newest: Step, taken: Taken, at: Step) -> None:
        """Go back from ``newest`` to ``at`` with the row in force, once that has done so."""
        self.follow(newest, taken.step)
        row = self._row
        if row is None or self._done:
            return
        try:
            before = row.step
            row.follow_back(taken)
            self._at = at
            self._ledger.drop(before, taken)
        except Exception as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End the row: either it raised, or the generation did."""
        row, self._row = self._row, None
        if row is not None:
            with suppress(Exception):
                self._ledger.close(row.step, row.step.index)
        self._track.append(failed(self._track.name, *self._who, error))

    def end(self, newest: Step, last: int, *, tokens: int, output_digest: str, reason: str) -> None:
        """Tell the rest, up to step ``last``, and that the row in force is complete."""
        # No pass follows the last token, so nothing was decided there.
        last = min(last, with_written(newest, max(tokens - 1, 0)).index)
        self.follow(newest, last)
        if self._row is None:
            return
        request, sequence = self._who
        reached = min(last, self._row.step.index)
        self._ledger.close(self._row.step, reached)
        self._track.append(
            RequestEnded(
                time_ns=time.time_ns(),
                request=request,
                sequence=sequence,
                track=self._track.name,
                generated_tokens=tokens,
                steered_tokens=self._ledger.steered(self._row.step, reached),
                output_digest=output_digest,
                reason=reason,
                monotonic_ns=time.monotonic_ns(),
            )
        )

    @property
    def failed(self) -> bool:
        """True where the row has ended before the row in force."""
        return self._row is None

    def _way_to(self, newest: Step, last: int) -> Iterable[Step]:
        """Return the steps behind the one that was reached, oldest first."""
        reached = self._at
        way: list[Step] = []
        step: Step | None = newest
        while step is not None and step.index > last:
            step = step.parent
        while step is not reached and step is not None:
            way.append(step)
            step = step.parent
        if step is not reached:
            raise UnsupportedError("the row in force went back behind what the candidate had reached")
        return reversed(way)

    def _complete(self, row: Row, live: Step) -> None:
        probes = self._track.probes
        if not row.step.complete and probes is not None:
            # Nothing was read at a row's last token, where no pass follows.
            products = self._track.reads.get((row.group, live.key))
            if products is not None:
                row.complete(row.step, probes, products)


class Beside:
    """All candidates of one generation: on each track, one row (or None) for each place of a row in force."""

    def __init__(self, tracks: Sequence[tuple[Track, Sequence[Candidate | None]]], width: int) -> None:
        self._tracks = tracks
        self._width = width
        self._reading = [(track, probes) for track, _ in tracks if (probes := track.probes) is not None]
        self.points = frozenset(point for _, probes in self._reading for point in probes.points)

    def read(self, point: Point, hidden: Tensor, rows: int, columns: int) -> None:
        """Have the probes of ``point`` read ``hidden: [row, column, width]``, from step 0 on."""
        for track, probes in self._reading:
            if point in probes.points:
                products = probes.read(point.block, hidden, rows, columns)
                if products is not None:
                    track.products = products

    def end_pass(self, rows: Sequence[Row], past: int, fresh: int) -> None:
        """Keep what was read in a pass from column ``past`` on, for the steps from ``fresh`` on."""
        first = max(0, past - self._width + 1)
        for track, _ in self._reading:
            # Gone with the pass, so that none is taken for a later one's.
            products, track.products = track.products, []
            for row, columns in zip(rows, products, strict=True):
                step: Step | None = row.step
                while step is not None and step.index >= max(first, fresh):
                    track.reads[row.group, step.key] = columns[step.index - first]
                    step = step.parent

    def follow(self, rows: Sequence[Row], last: int) -> None:
        """Bring all candidates to step ``last`` of the rows in force, and none behind the end of its row."""
        for _, candidates in self._tracks:
            for row, candidate in zip(rows, candidates, strict=True):
                if candidate is not None and not row.over:
                    candidate.follow(row.step, last)

    def take_back(self, place: int, newest: Step, taken: Taken, at: Step) -> None:
        """Have the candidates at ``place`` go back from ``newest`` to ``at``, as the row in force did."""
        for candidate in self.at(place):
            candidate.take_back(newest, taken, at)

    def at(self, place: int) -> Iterator[Candidate]:
        """Yield the candidates beside the row at ``place`` that are still there."""
        for _, candidates in self._tracks:
            candidate = candidates[place]
            if candidate is not None and not candidate.failed:
                yield candidate
