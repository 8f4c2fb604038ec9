"""Between which scores a stage cannot tell a difference.

Flags and comparisons see of a score only on which side of some numbers it stands. So where one step has left
all that flags keep as it was, the next does the same and decides the same, as long as every score stays
strictly between the numbers next to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from guardsteer.core.plan import Plan
from guardsteer.core.policy import FlagSpec
from guardsteer.rules.syntax import Compare, Constant, FlagRef, Member, Operand, SignalRef
from guardsteer.rules.temporal import decisive
from guardsteer.rules.truth import Atom

__all__ = ["Calm", "Cell", "Grid", "grid_of"]

Cell: TypeAlias = tuple[int, float, float]
"""The index of a signal, and the two numbers strictly between which its score stands."""


class Calm(NamedTuple):
    """The cells within which a stage's next step decides what its last one did, and that plan."""

    cells: tuple[Cell, ...]
    plan: Plan


class _Flag(NamedTuple):
    """A flag: its place in the key, its signal, and the numbers that count while it is down, or up."""

    place: int
    signal: int
    down: tuple[float, ...]
    up: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """What a stage compares scores with: the signals that count, and for some the numbers, and flags."""

    signals: tuple[int, ...]
    numbers: tuple[tuple[int, float], ...]
    flags: tuple[_Flag, ...]

    def around(self, signals: Sequence[float], key: Sequence[bool]) -> tuple[Cell, ...] | None:
        """Return the cells around ``signals``; None where a score is missing or is one of the numbers.

        ``key`` is what the stage came to with them: first of all, which flags are up.
        """
        lows, highs = dict.fromkeys(self.signals, -math.inf), dict.fromkeys(self.signals, math.inf)
        compared = list(self.numbers)
        for flag in self.flags:
            compared += [(flag.signal, cut) for cut in (flag.up if key[flag.place] else flag.down)]
        for index, cut in compared:
            if cut <= signals[index]:
                lows[index] = max(lows[index], cut)
            else:
                highs[index] = min(highs[index], cut)
        # False for nan too.
        if not all(lows[index] < signals[index] < highs[index] for index in self.signals):
            return None
        return tuple((index, lows[index], highs[index]) for index in self.signals)


def grid_of(flags: Sequence[FlagSpec], atoms: Iterable[Atom], signal_index: Mapping[str, int]) -> Grid | None:
    """Return the grid of a stage; None where it sees more of the scores, or anything beside them."""
    numbers: set[tuple[int, float]] = set()
    counting = {signal_index[flag.signal] for flag in flags}
    for atom in atoms:
        if isinstance(atom, FlagRef):
            continue
        compared = _compared(atom)
        if compared is None:
            return None
        name, cuts = compared
        counting.add(signal_index[name])
        numbers.update((signal_index[name], cut) for cut in cuts)
    if any(flag.smooth is not None or flag.per == "sentence" for flag in flags):
        return None
    found = tuple(
        _Flag(place, signal_index[flag.signal], *decisive(flag)) for place, flag in enumerate(flags)
    )
    return Grid(tuple(sorted(counting)), tuple(sorted(numbers)), found)


def _compared(atom: Atom) -> tuple[str, tuple[float, ...]] | None:
    """Return the one signal that an atom compares with numbers, and these; None for any other."""
    if isinstance(atom, Member):
        sides: tuple[Operand, ...] = (atom.item, *(Constant(value) for value in atom.values))
    elif isinstance(atom, Compare):
        sides = (atom.left, atom.right)
    else:
        return None
    names = [side.name for side in sides if isinstance(side, SignalRef)]
    # A whole number may be rounded here, but never past a score.
    numbers = tuple(
        float(side.value) for side in sides if isinstance(side, Constant) and not isinstance(side.value, str)
    )
    return (names[0], numbers) if len(names) == 1 and len(numbers) == len(sides) - 1 else None
