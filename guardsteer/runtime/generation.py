"""One call of ``generate``: rows meet forward passes.

Before each pass the rows take the decisions for the tokens that it is about to process; inside it
the hooks at its points do what was decided. Steering is a function of (row, column): ``column`` counts
positions of the padded batch, ``width`` is the prompt's number of columns, and the step decided at
column ``c >= width - 1`` is ``c - width + 1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from guardsteer.errors import HostError, UnsupportedError
from guardsteer.host import CacheLength, Point, point_at
from guardsteer.runtime.columns import catch_up, complete_all, match
from guardsteer.runtime.laying import Layer
from guardsteer.runtime.ledger import Ledger, Spans
from guardsteer.runtime.past import Taken
from guardsteer.runtime.probing import ProbeBank
from guardsteer.runtime.row import Row, Step
from guardsteer.runtime.switch import Switch
from guardsteer.runtime.tracks import Beside
from guardsteer.steer.composing import Composer
from guardsteer.steer.edits import Cuts

if TYPE_CHECKING:
    from guardsteer.runtime.course import Course

__all__ = ["Blackout", "Generation"]


class Blackout(Protocol):
    """Whether the audit cannot follow, and what rows do then."""

    @property
    def halts(self) -> bool:
        """True where rows end with the fallback too."""

    @property
    def keeps(self) -> bool:
        """True where rows keep the plan that they have, instead of having nothing steered."""

    def active(self) -> bool:
        """Tell whether the audit cannot follow now, and that matters."""


class Generation:
    """The rows of one ``generate`` call and the pass under way."""

    # Not a dictionary: what a step touches lies together, and most of it is cold behind a model's pass.
    __slots__ = (
        *("_past", "_end", "_fresh", "visited", "_due", "_dark", "_unlogged", "_steady", "rows", "width"),
        *("beams", "beside", "_blackout", "_switch", "_layer", "cuts", "quiet", "rests", "wanted", "course"),
        *("_reads", "_probes", "_behind", "_probed", "points", "_ending", "ledgers", "history", "_reordered"),
        *("pushes", "_early", "_late", "_length", "_onlookers"),
    )

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
        switch: Switch,
        points: frozenset[Point],
        beside: Beside | None = None,
    ) -> None:
        self.rows = rows
        self.width = width
        self.history: dict[tuple[int, int], Step] = {}
        self.ledgers = ledgers
        self._probes = probes
        self._probed = frozenset[Point]() if probes is None else probes.points
        self.beams = beams
        self._blackout = blackout
        self._switch = switch
        self.beside = beside
        self.course: Course | None = None
        self._unlogged = self._dark = self._ending = False
        # The next plain pass needs no settling while its rows decide what they did: what it does up to the
        # deepest probe and from there on, in the order quiet, wanted, due.
        self._steady = False
        # Nothing is done from here on in this pass; nothing was in the one before either.
        self.quiet = self.rests = False
        self._length = CacheLength()
        self._past = -1
        self._end = 0
        self._fresh = 0
        self.points = points
        self.cuts = Cuts()
        # Where this pass has anything to do, and how many of these points it goes through.
        self.wanted = points
        self._due = self.visited = len(points)
        self._early = self._late = False, points, len(points)
        last = None if probes is None else point_at(probes.last, "block_output")
        self._behind = sum(last is not None and point > last for point in points)
        # Candidates with probes of their own.
        self._onlookers = beside if beside is not None and beside.points else None
        # Where something is read, or asked whether it is the last.
        self._reads = self._probed if self._onlookers is None else points
        self._layer = Layer(
            composer,
            spans,
            width=width,
            rows=len(rows),
            decision=None if probes is None else probes.last,
            reads=self._reads,
        )
        self.pushes = self._layer.pushes
        self._reordered: Any = None
        self._remember()

    # --- before the pass ---------------------------------------------------------------------

    def begin_pass(self, input_ids: Tensor | None, cache: Any) -> None:
        """Take the decisions for the columns that this pass processes.

        ``input_ids: [row, column]``. Raises ``UnsupportedError`` where rows or columns cannot be told.
        """
        if self.visited != self._due:
            self.end_pass()
        if input_ids is None:
            raise UnsupportedError(
                "a forward pass without input_ids: its text cannot be read; pass input_ids"
            )
        count, columns = input_ids.shape
        past = self._length.of(cache)
        end = past + columns
        if count != len(self.rows) or (past <= self._past if cache is not None else end < self.width):
            raise UnsupportedError(
                f"a forward pass over {count} rows and columns {past} to {end}, in a generation of "
                f"{len(self.rows)} rows and a prompt of {self.width} columns that had come to column "
                f"{self._end}: what it processes cannot be told; this way of decoding cannot be guarded"
            )
        before, self._unlogged = self._unlogged, self._blackout.active()
        if before or self._unlogged:
            self._hold()
        fresh = self._end if cache is None else past
        if cache is None or self.cuts.noted is not None:
            self.cuts.begin_pass(fresh - past)
        self._past, self._end, self.visited = past, end, 0
        self._fresh = fresh - self.width + 1
        plain = columns == 1 and past >= self.width
        news, same = True, False
        if plain and self.rows[0].index == past - self.width:
            news, same = self.beside is not None, True
            plans = self._layer.early.plans
            # One number by itself leaves a tensor more cheaply than lists do.
            tokens = [[input_ids.item()]] if count == 1 else input_ids.tolist()
            for row, token, plan in zip(self.rows, tokens, plans):  # noqa: B905  # of one length
                row.advance(token[0])
                if row.news:
                    news = True
                if row.step.plan is not plan:
                    same = False
        elif end > self.width:
            self._catch_up(input_ids.tolist(), past, end, cached=cache is not None)
        if self.beams:
            self._follow(cache)
            self._remember()
        elif news:
            self._tell()
        dark = self._switch.active()
        if self._unlogged:
            dark = dark or not self._blackout.keeps
        self._dark = dark
        if same and self._steady and not dark:
            self.quiet, self.wanted, self._due = self._early
        else:
            self._layer.begin(past, end, plain=plain)
            self._settle(late=False, same=same)

    def _hold(self) -> None:
        """Let rows keep their plans while the log cannot be written, where the policy says so."""
        self._ending = self._unlogged and self._blackout.halts
        if self._blackout.keeps:
            for row in self.rows:
                row.hold(self._unlogged, starting=self._past < 0)

    def _settle(self, *, late: bool, same: bool = False) -> None:
        """Take in what was decided last: plans, and whether anything may be steered at all.

        ``same``: the plans are the very ones that such a plain pass had last.
        """
        if self._dark:
            same = False
            for row in self.rows:
                row.silence(self._fresh, halt=self._ending)
        layer = self._layer
        quiet = layer.take(self.rows, late=late, same=same)
        ended = late or self._probes is None
        self._steady = ended and layer.plain
        self.quiet = quiet = quiet and self._onlookers is None
        self.wanted = wanted = self._probed if quiet else self.points
        if late:
            self._due = self.visited + (0 if quiet else self._behind)
            self._late = quiet, wanted, self._due
        else:
            self._due = len(wanted)
            self._early = quiet, wanted, self._due
        self.rests = quiet and (ended or self.rests)

    def _catch_up(self, tokens: list[list[int]], past: int, end: int, *, cached: bool) -> None:
        """Bring rows to column ``past`` and then, token by token, to ``end``; drafts keep states."""
        if not cached:
            generated = [ids[self.width + row.dropped :] for row, ids in zip(self.rows, tokens, strict=True)]
            self.rows, sources = match(self.rows, generated)
            if sources != list(range(len(sources))):
                self.cuts.reorder(sources)
        catch_up(self.rows, tokens, past, end, self.width, cached=cached)

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
        self.cuts.reorder(sources)

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
        if self.beside is not None:
            self.beside.follow(self.rows, last)

    def take_back(self, place: int, newest: Step, taken: Taken) -> None:
        """Tell that a row, of which ``newest`` was the end, has taken text back."""
        if self.beside is not None:
            self.beside.take_back(place, newest, taken, self.rows[place].step)
        if self.ledgers:
            self.ledgers[place].take_back(newest, taken)

    @property
    def end(self) -> int:
        """How many columns there are at the end of this pass."""
        return self._end

    # --- inside the pass ---------------------------------------------------------------------

    def at_point(self, point: Point, hidden: Tensor) -> Tensor | None:
        """Return what the hidden states at ``point`` become, or None where nothing is to be done.

        ``hidden: [row, column, width]``.
        """
        self.visited += 1
        if point in self._reads and self._end >= self.width:
            first, probes = self.width - 1 - self._past, self._probes
            seen, columns = hidden, self._end - self._past
            if first > 0:
                seen, columns = hidden[:, first:], columns - first
            if self._onlookers is not None:
                self._read_beside(self._onlookers, point, seen, columns)
            if probes is not None and point in self._probed:
                products = probes.read(point.block, seen, len(self.rows), columns)
                if products is not None:
                    self._complete(probes, products)
        if self.quiet:
            return None
        ready = self._layer.ready
        edit = ready[point] if point in ready else self._layer.edit(point, hidden)
        return None if edit is None else edit.of(hidden, self.cuts)

    def _read_beside(self, beside: Beside, point: Point, seen: Tensor, columns: int) -> None:
        beside.read(point, seen, len(self.rows), columns)
        if self.visited == self._due:
            beside.end_pass(self.rows, self._past, self._fresh)

    @property
    def applied(self) -> int:
        """The last step whose pass went through every point it had to; below 0 where there was none."""
        return self._end - self.width if self.visited == self._due else self._fresh - 1

    def end_pass(self) -> None:
        """Check that the last pass went once through every point where it had to act; raises ``HostError``.

        Called before the next pass and at the end, so that no hook is needed behind the model.
        """
        if self._past < 0:
            raise HostError(
                "no forward pass reached the guard: something runs the model past it; detach the guard, wrap "
                "the model again and leave its forward alone"
            )
        if self.visited != self._due:
            raise HostError(
                f"a forward pass went through {self.visited} of {self._due} hooked points: "
                "what was decided was not applied; the model skips or repeats blocks"
            )

    def _complete(self, probes: ProbeBank, products: list[list[list[float]]]) -> None:
        """Finish the decisions of this pass with what the probes read in it, ``[row][column][slot]``."""
        if not self._layer.plain:
            # The first step of this pass that a probe was asked about.
            first = max(0, self._past - self.width + 1)
            complete_all(self.rows, probes, products, first=first, fresh=self._fresh)
            self._settle(late=True)
            return
        same = True
        for row, (found,), plan in zip(self.rows, products, self._layer.late.plans):  # noqa: B905  # of one length
            step = row.step
            if not step.complete:
                row.complete(step, probes, found)
            if step.plan is not plan:
                same = False
        if same and self._steady:
            self.quiet, self.wanted, self._due = self._late
        else:
            self._settle(late=True, same=same)
