"""What a pass does at each point: decided strengths laid out over rows and columns.

A pass is ``plain`` when it brings one new column for each row, as decoding with a cache does. Then
edits are kept and change only when a plan does, and a step that only pushes costs one addition a point.
Every other pass (prefill, drafts, no cache) lays its edits out column by column.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from guardsteer.core.plan import Plan
from guardsteer.core.policy import Position
from guardsteer.host import Point, point_at
from guardsteer.runtime.ledger import GENERATED, Spans
from guardsteer.runtime.row import Row
from guardsteer.runtime.steps import Step
from guardsteer.steer.composing import Composer, Run
from guardsteer.steer.edits import Edit

__all__ = ["Layer"]


class Shown:
    """The plans that the edits at some points show.

    ``quiet`` is True while none of them steers. ``runs`` are theirs over the one column of a plain pass.
    """

    __slots__ = ("plans", "quiet", "runs")

    def __init__(self, rows: int) -> None:
        self.plans: Sequence[Plan | None] = [None] * rows
        self.quiet = False
        self.runs: list[Run] = []

    def take(self, rows: Sequence[Row], composer: Composer, spans: Sequence[Spans]) -> None:
        plans = [row.step.plan for row in rows]
        self.plans = plans
        self.quiet = not any(any(plan.strengths) for plan in plans)
        self.runs = [
            (place, 0, 1, composer.masked(row.step.plan.strengths, _kinds(row, row.step, spans)))
            for place, row in enumerate(rows)
            if any(row.step.plan.strengths)
        ]


class Layer:
    """Lays out the edits of one generation's passes.

    Points before the output of block ``decision`` (the deepest probe's, None without probes) act on what text
    alone decided, the others on what the probes completed. ``early`` and ``late`` are the plans of either.
    """

    __slots__ = (
        *("_composer", "_decision", "_end", "_past", "_reads", "_rows", "_runs", "_spans", "_width"),
        *("early", "late", "plain", "pushes", "ready"),
    )

    def __init__(
        self,
        composer: Composer,
        spans: Sequence[Spans],
        *,
        width: int,
        rows: int,
        decision: int | None,
        reads: frozenset[Point] = frozenset(),
    ) -> None:
        self._composer = composer
        self._spans = spans
        self._width = width
        # Where hidden states are read, too.
        self._reads = reads
        self._decision = None if decision is None else point_at(decision, "block_output")
        self.early = Shown(rows)
        self.late = self.early if decision is None else Shown(rows)
        # What a plain pass does where that is known.
        self.ready: dict[Point, Edit | None] = {}
        # Of these, what is added where nothing else is done: a hook can do that by itself.
        self.pushes: dict[Point, Tensor] = {}
        self._rows: Sequence[Row] = ()
        self._past = self._end = 0
        self.plain = False
        self._runs: list[Run] | None = None

    def begin(self, past: int, end: int, *, plain: bool) -> None:
        """Begin a pass over columns ``[past, end)``."""
        self._past, self._end, self.plain = past, end, plain
        if not plain:
            self.ready.clear()
            self.pushes.clear()

    def take(self, rows: Sequence[Row], *, late: bool, same: bool) -> bool:
        """Take in what ``rows`` decided before the pass, or (``late``) at the deepest probe.

        ``same``: in a plain pass, these are the very plans that are shown. Returns whether nothing is to be
        done up to there, or (``late``) from there on.
        """
        if not self.plain:
            self._rows, self._runs = rows, None
            return False
        shown = self.late if late else self.early
        if not same:
            shown.take(rows, self._composer, self._spans)
            self.ready.clear()
            self.pushes.clear()
        return shown.quiet

    def edit(self, point: Point, hidden: Tensor) -> Edit | None:
        """Return what to do to ``hidden: [row, column, width]`` at ``point``, or None for nothing."""
        if not self.plain:
            if self._runs is None:
                self._runs = [
                    run for place, row in enumerate(self._rows) for run in self._runs_of(place, row)
                ]
            return self._composer.edit(point, self._runs, hidden)
        shown = self.early if self._decision is None or point < self._decision else self.late
        edit = self.ready[point] = self._composer.edit(point, shown.runs, hidden)
        if edit is not None and edit.delta is not None and edit.shaping is None and point not in self._reads:
            self.pushes[point] = edit.delta
        return edit

    def _runs_of(self, place: int, row: Row) -> list[Run]:
        """Return what acts on a row in the columns of this pass."""
        masked = self._composer.masked
        past, end = self._past, self._end
        runs: list[Run] = []
        step = row.step
        # What was taken back has moved the row's tokens so far to the right.
        prompt_end = self._width + row.dropped
        # From here on newer steps than the prompt's decide.
        decided = prompt_end
        while step.parent is not None:
            column = prompt_end - 1 + step.written
            if step.written or column < decided:
                if past <= column < end and any(step.plan.strengths):
                    kinds = _kinds(row, step, self._spans)
                    runs.append((place, column - past, column - past + 1, masked(step.plan.strengths, kinds)))
                decided = min(decided, column)
            step = step.parent
        pad = prompt_end - row.prompt_tokens
        for first, last, kinds in self._spans[row.group].runs:
            low, high = max(first + pad, past), min(last + pad, end, decided)
            if low < high and any(step.plan.strengths):
                runs.append((place, low - past, high - past, masked(step.plan.strengths, kinds)))
        return runs


def _kinds(row: Row, step: Step, spans: Sequence[Spans]) -> frozenset[Position]:
    """Return what the position is that ``step`` decides: generated, or the prompt's last."""
    return GENERATED if step.written else spans[row.group].runs[-1][2]
