"""One call of ``generate``: rows meet forward passes.

Before each pass the rows take the decisions for the tokens that it is about to process; inside it
the block hooks add what was decided. Steering is a function of (row, column): ``column`` counts
positions of the padded batch, ``width`` is the prompt's number of columns, and the step decided at
column ``c >= width - 1`` is ``c - width + 1``.

A pass is ``plain`` when it brings one new column for each row, as decoding with a cache does. Then
deltas live in buffers that change only when a plan does. Every other pass (prefill, drafts, no
cache) lays its deltas out column by column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from guardsteer.core.plan import Plan
from guardsteer.errors import HostError, UnsupportedError
from guardsteer.runtime.ledger import GENERATED, Ledger, Spans
from guardsteer.runtime.probing import ProbeBank
from guardsteer.runtime.row import Row, Step
from guardsteer.steer.deltas import Composer, unsteered

__all__ = ["Blackout", "Generation"]


class Blackout(Protocol):
    """Whether steering must stop because the audit cannot follow, and whether rows end then too."""

    @property
    def halts(self) -> bool:
        """True where rows end with the fallback too."""

    def active(self) -> bool:
        """Tell whether steering must stop now."""


class _Shown:
    """The plans that the buffers of some blocks hold; ``version`` counts how often they changed."""

    __slots__ = ("plans", "version")

    def __init__(self, rows: int) -> None:
        self.plans: list[Plan | None] = [None] * rows
        self.version = 0

    def take(self, rows: Sequence[Row]) -> None:
        """Take the rows' newest plans."""
        plans = self.plans
        changed = False
        for place, row in enumerate(rows):
            plan = row.step.plan
            if plan is not plans[place]:
                plans[place] = plan
                changed = True
        if changed:
            self.version += 1


class Generation:
    """The rows of one ``generate`` call and the pass under way."""

    def __init__(
        self,
        rows: list[Row],
        spans: Sequence[Spans],
        ledgers: Sequence[Ledger],
        *,
        width: int,
        composer: Composer,
        probes: ProbeBank | None,
        beams: bool,
        blackout: Blackout,
    ) -> None:
        self.rows = rows
        self.width = width
        self.history: dict[tuple[int, int], Step] = {}
        self._spans = spans
        self.ledgers = ledgers
        self._composer = composer
        self._probes = probes
        self.beams = beams
        self._blackout = blackout
        self._past = -1
        self._end = 0
        self._fresh = 0
        self._plain = False
        self._visited = 0
        self._early = _Shown(len(rows))
        self._late = _Shown(len(rows)) if probes is not None else self._early
        self._buffers: dict[int, tuple[int, Tensor | None]] = {}
        self._reordered: Any = None
        self._remember()

    # --- before the pass ---------------------------------------------------------------------

    def begin_pass(self, input_ids: Tensor | None, cache: Any) -> None:
        """Take the decisions for the columns that this pass processes.

        ``input_ids: [row, column]``. Raises ``UnsupportedError`` where rows or columns cannot be told.
        """
        if input_ids is None:
            raise UnsupportedError(
                "a forward pass without input_ids: its text cannot be read; pass input_ids"
            )
        count, columns = input_ids.shape
        past = 0 if cache is None else int(cache.get_seq_length())
        end = past + columns
        if count != len(self.rows) or (past <= self._past if cache is not None else end < self.width):
            raise UnsupportedError(
                f"a forward pass over {count} rows and columns {past} to {end}, in a generation of "
                f"{len(self.rows)} rows and a prompt of {self.width} columns that had come to column "
                f"{self._end}: what it processes cannot be told; this way of decoding cannot be guarded"
            )
        fresh = self._end if cache is None else past
        self._past, self._end, self._visited = past, end, 0
        self._plain = columns == 1 and past >= self.width
        if self._plain and self.rows[0].step.index == past - self.width:
            for row, token in zip(self.rows, input_ids.tolist(), strict=True):
                row.advance(token[0])
        elif end > self.width:
            self._catch_up(input_ids.tolist(), past, end, cached=cache is not None)
        if self.beams:
            self._follow(cache)
            self._remember()
        else:
            self._tell()
        self._fresh = fresh - self.width + 1
        self._settle(self._early)

    def _settle(self, shown: _Shown) -> None:
        """Take in what was decided last: plans, and whether anything may be steered at all."""
        if self._blackout.active():
            for row in self.rows:
                row.silence(self._fresh, halt=self._blackout.halts)
        if self._plain:
            shown.take(self.rows)

    def _catch_up(self, tokens: list[list[int]], past: int, end: int, *, cached: bool) -> None:
        """Bring rows to column ``past`` and then, token by token, to ``end``; drafts keep states."""
        start = max(past, self.width)
        if not cached:
            start = end - 1
            self._match([ids[self.width :] for ids in tokens])
        index = start - self.width
        # All tokens behind the first of a pass are drafts, and so is the first where the prompt leads.
        drafting = cached and (end - start > 1 or past < self.width)
        for row, ids in zip(self.rows, tokens, strict=True):
            if row.step.index != index and not row.rewind(index):
                raise UnsupportedError(
                    f"the sequence was rewound from token {row.step.index} to token {index}, whose state "
                    "was not kept; this way of decoding cannot be guarded"
                )
            row.forget()
            for column in range(start, end):
                if drafting:
                    row.save()
                row.advance(ids[column - past])
            if drafting:
                row.save()

    def _match(self, generated: list[list[int]]) -> None:
        """Without a cache, find for each row the one whose tokens it continues (beams change places)."""
        by_key = {(row.group, row.step.key): row for row in self.rows}
        taken: set[int] = set()
        matched: list[Row] = []
        for place, (row, tokens) in enumerate(zip(self.rows, generated, strict=True)):
            key = self.rows[place].prompt_key
            for token in tokens[:-1]:
                key = hash((key, token))
            found = row if row.step.key == key else by_key.get((row.group, key))
            if found is None:
                raise UnsupportedError(
                    f"row {place} does not continue any sequence of this generation; "
                    "this way of decoding cannot be guarded without a cache"
                )
            matched.append(found.fork() if id(found) in taken else found)
            taken.add(id(found))
        self.rows = matched

    def _follow(self, cache: Any) -> None:
        """Make the rows change places whenever the cache's do."""
        if cache is None or cache is self._reordered:
            return
        self._reordered = cache
        original = cache.reorder_cache

        def reorder(beam_idx: Tensor) -> Any:
            self.reorder(beam_idx.tolist())
            return original(beam_idx)

        cache.reorder_cache = reorder

    def release(self) -> None:
        """Leave the cache as it was found."""
        if self._reordered is not None:
            vars(self._reordered).pop("reorder_cache", None)
            self._reordered = None

    def reorder(self, sources: Sequence[int]) -> None:
        """Let row ``i`` continue what row ``sources[i]`` was."""
        if list(sources) == list(range(len(self.rows))):
            return
        taken: set[int] = set()
        rows: list[Row] = []
        for source in sources:
            row = self.rows[source]
            rows.append(row.fork() if source in taken else row)
            taken.add(source)
        self.rows = rows

    def _remember(self) -> None:
        if self.beams:
            for row in self.rows:
                self.history[row.group, row.step.key] = row.step

    def _tell(self) -> None:
        """Audit what is certain now: all that was decided for columns before this pass."""
        last = self._past - self.width
        for row, ledger in zip(self.rows, self.ledgers, strict=False):
            if row.news:
                row.news = ledger.tell(row.step, last)

    # --- inside the pass ---------------------------------------------------------------------

    def at_block(self, block: int, hidden: Tensor) -> Tensor | None:
        """Return the steered output of ``block``, or None where nothing is to be done.

        ``hidden: [row, column, width]``.
        """
        self._visited += 1
        probes = self._probes
        if probes is not None and block in probes.blocks and self._end >= self.width:
            probes.read(block, hidden[:, self._first_read() - self._past :])
            if block == probes.last:
                self._complete(probes)
        delta = self._plain_delta(block, hidden) if self._plain else self._laid_out(block, hidden)
        return None if delta is None else hidden + delta

    def end_pass(self, blocks: int) -> None:
        """Check that the pass went through every hooked block once; raises ``HostError``."""
        if self._visited != blocks:
            raise HostError(
                f"a forward pass went through {self._visited} of {blocks} hooked blocks: "
                "what was decided was not applied; the model skips or repeats blocks"
            )

    def _first_read(self) -> int:
        """Return the first column of this pass that a probe may be asked about."""
        return max(self.width - 1, self._past)

    def _complete(self, probes: ProbeBank) -> None:
        """Finish the decisions of this pass with what the probes read in it.

        Drafted steps are decided again from the first one, each with its own probe before the next.
        """
        offset = self._first_read()
        for row, scores in zip(self.rows, probes.take(), strict=True):
            steps = _unsettled(row.step)
            drafted = row.drafting
            if steps and drafted:
                row.rewind(steps[0].index)
            for place, step in enumerate(steps):
                if drafted and place:
                    row.advance(step.token)
                if not row.step.complete:
                    row.complete(row.step, probes.slots, scores[self._column(row.step) - offset])
                if drafted:
                    row.save()
        self._settle(self._late)

    def _column(self, step: Step) -> int:
        return self.width - 1 + step.index

    def _plain_delta(self, block: int, hidden: Tensor) -> Tensor | None:
        probes = self._probes
        shown = self._early if probes is None or block < probes.last else self._late
        version, buffer = self._buffers.get(block, (-1, None))
        if version == shown.version:
            return buffer
        composer = self._composer
        found = [
            composer.delta(composer.masked(plan.strengths, GENERATED), block, hidden)
            for plan in shown.plans
            if plan is not None
        ]
        buffer = None
        if any(delta is not None for delta in found):
            buffer = unsteered(hidden.shape, hidden)
            for place, delta in enumerate(found):
                if delta is not None:
                    buffer[place, 0] = delta
        self._buffers[block] = (shown.version, buffer)
        return buffer

    def _laid_out(self, block: int, hidden: Tensor) -> Tensor | None:
        laid: Tensor | None = None
        past = self._past
        for place, row in enumerate(self.rows):
            for first, end, strengths in self._runs(row):
                delta = self._composer.delta(strengths, block, hidden)
                if delta is not None:
                    if laid is None:
                        laid = unsteered(hidden.shape, hidden)
                    laid[place, first - past : end - past] = delta
        return laid

    def _runs(self, row: Row) -> list[tuple[int, int, tuple[float, ...]]]:
        """Return what acts on a row in the columns of this pass, as (first, end, strengths)."""
        masked = self._composer.masked
        runs: list[tuple[int, int, tuple[float, ...]]] = []
        step = row.step
        while step.parent is not None:
            column = self._column(step)
            if self._past <= column < self._end:
                runs.append((column, column + 1, masked(step.plan.strengths, GENERATED)))
            step = step.parent
        pad = self.width - row.prompt_tokens
        for first, end, kinds in self._spans[row.group].runs:
            low, high = max(first + pad, self._past), min(end + pad, self._end)
            if low < high:
                runs.append((low, high, masked(step.plan.strengths, kinds)))
        return runs


def _unsettled(newest: Step) -> list[Step]:
    """Return the steps from the oldest that waits for a probe to the newest."""
    steps: list[Step] = []
    chain: list[Step] = []
    step: Step | None = newest
    while step is not None:
        chain.append(step)
        if not step.complete:
            steps = chain[::-1]
        elif step.index < newest.index and steps:
            break
        step = step.parent
    return steps
