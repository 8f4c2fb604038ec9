"""What a pass adds at each block: decided strengths laid out over rows and columns.

A pass is ``plain`` when it brings one new column for each row, as decoding with a cache does. Then
deltas live in buffers that change only when a plan does, and a step costs one addition a block.
Every other pass (prefill, drafts, no cache) lays its deltas out column by column.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from guardsteer.core.plan import Plan
from guardsteer.runtime.ledger import GENERATED, Spans
from guardsteer.runtime.row import Row
from guardsteer.steer.deltas import Composer, unsteered

__all__ = ["Layer"]

_Run = tuple[int, int, tuple[float, ...]]


class _Shown:
    """The plans that some blocks' buffers hold; ``version`` counts how often they changed.

    ``quiet`` is True while none of them pushes.
    """

    __slots__ = ("plans", "quiet", "version")

    def __init__(self, rows: int) -> None:
        self.plans: list[Plan | None] = [None] * rows
        self.quiet = False
        self.version = 0

    def take(self, rows: Sequence[Row]) -> None:
        plans = self.plans
        changed = False
        for place, row in enumerate(rows):
            plan = row.step.plan
            if plan is not plans[place]:
                plans[place] = plan
                changed = True
        if changed:
            self.version += 1
            self.quiet = not any(plan is not None and any(plan.strengths) for plan in plans)


class Layer:
    """Lays out the deltas of one generation's passes.

    Blocks before ``decision`` (the deepest probe's, None without probes) act on what text alone decided,
    the others on what the probes completed.
    """

    def __init__(
        self, composer: Composer, spans: Sequence[Spans], *, width: int, rows: int, decision: int | None
    ) -> None:
        self._composer = composer
        self._spans = spans
        self._width = width
        self._decision = decision
        self._early = _Shown(rows)
        self._late = self._early if decision is None else _Shown(rows)
        self._buffers: dict[int, tuple[int, Tensor | None]] = {}
        self._rows: Sequence[Row] = ()
        self._past = self._end = 0
        self._plain = False
        self._runs: list[list[_Run]] | None = None

    def begin(self, past: int, end: int, *, plain: bool) -> None:
        """Begin a pass over columns ``[past, end)``."""
        self._past, self._end, self._plain = past, end, plain

    @property
    def quiet(self) -> bool:
        """True where this pass adds nothing at any block, and no probe may change that."""
        return self._plain and self._decision is None and self._early.quiet

    def take(self, rows: Sequence[Row], *, late: bool) -> None:
        """Take in what ``rows`` decided before the pass, or (``late``) at the deepest probe."""
        if self._plain:
            (self._late if late else self._early).take(rows)
        else:
            self._rows, self._runs = rows, None

    def delta(self, block: int, hidden: Tensor) -> Tensor | None:
        """Return what to add to ``hidden: [row, column, width]`` at ``block``, or None for nothing."""
        if not self._plain:
            return self._laid_out(block, hidden)
        shown = self._early if self._decision is None or block < self._decision else self._late
        kept = self._buffers.get(block)
        if kept is not None and kept[0] == shown.version:
            return kept[1]
        buffer = self._buffer(block, hidden, shown)
        self._buffers[block] = (shown.version, buffer)
        return buffer

    def _buffer(self, block: int, hidden: Tensor, shown: _Shown) -> Tensor | None:
        composer = self._composer
        found = [
            None
            if plan is None
            else composer.delta(composer.masked(plan.strengths, GENERATED), block, hidden)
            for plan in shown.plans
        ]
        if all(delta is None for delta in found):
            return None
        buffer = unsteered(hidden.shape, hidden)
        for place, delta in enumerate(found):
            if delta is not None:
                buffer[place, 0] = delta
        return buffer

    def _laid_out(self, block: int, hidden: Tensor) -> Tensor | None:
        if self._runs is None:
            self._runs = [self._runs_of(row) for row in self._rows]
        laid: Tensor | None = None
        for place, runs in enumerate(self._runs):
            for first, end, strengths in runs:
                delta = self._composer.delta(strengths, block, hidden)
                if delta is not None:
                    laid = unsteered(hidden.shape, hidden) if laid is None else laid
                    laid[place, first - self._past : end - self._past] = delta
        return laid

    def _runs_of(self, row: Row) -> list[_Run]:
        """Return what acts on a row in the columns of this pass, as (first, end, strengths)."""
        masked = self._composer.masked
        runs: list[_Run] = []
        step = row.step
        while step.parent is not None:
            column = self._width - 1 + step.index
            if self._past <= column < self._end:
                runs.append((column, column + 1, masked(step.plan.strengths, GENERATED)))
            step = step.parent
        pad = self._width - row.prompt_tokens
        for first, end, kinds in self._spans[row.group].runs:
            low, high = max(first + pad, self._past), min(end + pad, self._end)
            if low < high:
                runs.append((low, high, masked(step.plan.strengths, kinds)))
        return runs
