"""How far the rows of a generation have come in their own text, where that is not what columns tell.

Text that was taken back leaves its columns in the cache. There it is masked; in the tokens of the
decoding loop, the row moves to the right by as much, as if it had been padded more. So whatever looks
at the loop's tokens, penalties and stop strings among it, sees the row's text as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from guardsteer.host import Gap, put_gaps
from guardsteer.runtime.generation import Generation
from guardsteer.runtime.steps import cleared, first_from, with_written

__all__ = ["Course", "Final"]


@dataclass(frozen=True, slots=True)
class Final:
    """What a row comes to: its ``tokens``, how many were ``withheld``, the ``last`` step to be told of.

    ``steps`` is the range of ``Step.written`` at which the passes chose tokens that were withheld.
    """

    tokens: list[int]
    withheld: int = 0
    last: int = 0
    steps: range = range(0)
    halted: bool = False


class Course:
    """The rows of one generation under a policy that takes text back or holds it back.

    ``limit``: how many tokens a row may have. ``fallback``: what a halted row says, the end of the text
    included. ``reads``: whether the last token of a row is read before it is released.
    """

    def __init__(
        self,
        generation: Generation,
        *,
        limit: int,
        eos: frozenset[int],
        fallback: Sequence[int],
        reads: bool,
    ) -> None:
        count = len(generation.rows)
        self.generation = generation
        self.limit = limit
        self.eos = eos
        self._fallback = list(fallback)
        self._reads = reads
        # How many tokens a row had when it ended, and how many of them stay; -1: it has not.
        self._ended = [-1] * count
        self._stay = [-1] * count
        self._gone: list[list[tuple[int, int]]] = [[] for _ in range(count)]

    # --- taking text back --------------------------------------------------------------------------

    def take_back(self, place: int, ids: Tensor) -> int | None:
        """Take text back from a row as its newest step says; return the token that has to come again.

        ``ids: [row, column]`` are the loop's tokens, in which the row is moved. None where nothing goes.
        """
        generation = self.generation
        row, width = generation.rows[place], generation.width
        newest, before = row.step, row.dropped
        taken = row.take_back()
        if taken is None:
            return None
        generation.take_back(place, newest, taken)
        # What was released stays so, whatever is held back from here on.
        stays = min(cleared(newest.parent), taken.kept)
        row.step.cleared = max(cleared(row.step), stays)
        if not taken.dropped:
            return None
        first = width - 1 + with_written(newest, taken.kept).index
        gone = [span for span in self._gone[place] if span[0] < first]
        self._gone[place] = [*gone, (first, width + taken.step)]
        tokens = ids[place, before:].clone()
        again = width + taken.kept - 1
        # Tokens that the row has anyway: a penalty on repetition then finds nothing new.
        ids[place, : row.dropped] = ids[place, 0].clone()
        ids[place, row.dropped :] = tokens[:again]
        return int(tokens[again])

    def close_gaps(self, kwargs: dict[str, Any], ids: Tensor, columns: int, *, cached: bool) -> None:
        """Change a pass's arguments so that what was taken back has no effect in it.

        ``ids: [row, column]`` are the pass's tokens, ``columns`` counts all up to its end.
        """
        gaps = []
        for place, row in enumerate(self.generation.rows):
            if row.dropped:
                lead = self.generation.width - row.prompt_tokens + row.dropped
                spans = tuple(self._gone[place]) if cached else ((0, lead),)
                gaps.append(Gap(place, spans, row.dropped))
        if gaps:
            put_gaps(kwargs, gaps, ids, columns)

    # --- the ends of rows --------------------------------------------------------------------------

    def written(self, place: int, columns: int) -> int:
        """Return how many tokens a row has written once the loop has ``columns`` columns."""
        ended = self._ended[place]
        return ended if ended >= 0 else columns - self.generation.width - self.generation.rows[place].dropped

    def over(self, place: int) -> bool:
        """Tell whether a row has ended."""
        return self._ended[place] >= 0

    def finish(self, place: int, token: int, columns: int) -> None:
        """Note that a row has ended with ``token``, and read that where nothing has done so."""
        if self.over(place):
            return
        row = self.generation.rows[place]
        own = self.written(place, columns)
        self._ended[place] = self._stay[place] = own
        if self._reads and row.halt_step < 0 and token not in self.eos and own > 0:
            if row.step.written > own - 1:
                row.rewind(with_written(row.step, own - 1).index)
            if cleared(row.step) < own:
                self._stay[place] = row.read_last(token)
        row.end()

    def final(self, place: int, own: list[int]) -> Final:
        """Return what a row comes to that has written ``own``, fallback included; it may still go on."""
        row, over = self.generation.rows[place], self.over(place)
        newest = row.step
        last = with_written(newest, len(own)).index
        if row.halt_step < 0:
            stay = self._stay[place] if over else len(own)
            return Final(own[:stay], len(own) - stay, last, range(stay, len(own)))
        halting = first_from(newest, row.halt_step)
        kept = min(cleared(halting.parent), halting.written)
        said = own[halting.written :]
        if over and len(said) < len(self._fallback) and (kept < halting.written or not said):
            said = self._fallback
        tokens = (own[:kept] + said)[: self.limit]
        return Final(tokens, halting.written - kept, last, range(kept, halting.written), halted=True)
