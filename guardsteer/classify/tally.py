"""The running sums of a linear score: the products with the weights and the squared norm.

With features' values v = f(count) * idf, a score needs v.w for each output and, for the L2 norm, v.v.
Both change only through the features that new text touches, so a tally adds units of text at a cost
that depends on the unit alone. ``peek`` gives the sums as they would be, and changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import repeat
from operator import add, mul, sub
from typing import Any, Protocol, TypeAlias

__all__ = ["CurvedTally", "Pack", "PlainTally", "ProportionalTally", "Tally"]

Pack: TypeAlias = tuple[Any, ...]
"""What a unit of text adds, in the form of the tally that it is for.

Proportional (and plain): feature indices; counts to add; slope and constant of the growth of v.v in the
counts so far; what is added to v.w, for each output. Curved: feature indices; counts to add; squared
idf of each; weight times idf of each, for each output.
"""

_NONE = repeat(0)


class Tally(Protocol):
    """Running sums: ``products`` [output] and ``square``."""

    products: Sequence[float]
    square: float

    def add(self, pack: Pack) -> None:
        """Add a unit of text."""

    def peek(self, pack: Pack) -> tuple[Sequence[float], float]:
        """Return ``products`` and ``square`` as they would be with a unit added."""

    def fork(self) -> Tally:
        """Return an independent copy."""


class PlainTally:
    """Values are counts times idf and no norm is taken: v.w alone, in constant memory."""

    __slots__ = ("products", "square")

    def __init__(self, outputs: int) -> None:
        self.products: Sequence[float] = [0.0] * outputs
        self.square = 1.0

    def add(self, pack: Pack) -> None:
        """Add a unit of text."""
        self.products = _sum(self.products, pack[4])

    def peek(self, pack: Pack) -> tuple[Sequence[float], float]:
        """Return the sums as they would be."""
        return _sum(self.products, pack[4]), 1.0

    def fork(self) -> PlainTally:
        """Return an independent copy."""
        twin = PlainTally(0)
        twin.products = self.products
        return twin


class ProportionalTally:
    """Values are counts times idf. Memory: one entry for each distinct feature of the text."""

    __slots__ = ("_counts", "_peeked", "products", "square")

    def __init__(self, outputs: int) -> None:
        self._counts: dict[int, int] = {}
        self._peeked: tuple[Pack, list[int], Sequence[float], float] | None = None
        self.products: Sequence[float] = [0.0] * outputs
        self.square = 0.0

    def add(self, pack: Pack) -> None:
        """Add a unit of text."""
        peeked = self._peeked
        # The word that was open at the last look is most often the one that is now complete.
        if peeked is None or peeked[0] is not pack:
            self.peek(pack)
            peeked = self._peeked
        if peeked is not None:
            _, before, self.products, self.square = peeked
            self._counts.update(zip(pack[0], map(add, before, pack[1])))  # noqa: B905  # of one length
            self._peeked = None

    def peek(self, pack: Pack) -> tuple[Sequence[float], float]:
        """Return the sums as they would be."""
        indices, _, slopes, constant, sums = pack
        before = list(map(self._counts.get, indices, _NONE))
        products = _sum(self.products, sums)
        square = self.square + (constant + sum(map(mul, slopes, before)))
        self._peeked = (pack, before, products, square)
        return products, square

    def fork(self) -> ProportionalTally:
        """Return an independent copy."""
        twin = ProportionalTally(0)
        twin._counts = self._counts.copy()
        twin.products, twin.square = self.products, self.square
        return twin


class CurvedTally:
    """Values are f(count) times idf with f = 1 + log (sublinear) or 1 (binary).

    Memory: one entry for each distinct feature of the text.
    """

    __slots__ = ("_binary", "_counts", "products", "square")

    def __init__(self, outputs: int, *, binary: bool) -> None:
        self._binary = binary
        self._counts: dict[int, int] = {}
        self.products: Sequence[float] = [0.0] * outputs
        self.square = 0.0

    def add(self, pack: Pack) -> None:
        """Add a unit of text."""
        self.products, self.square = self.peek(pack)
        indices, steps = pack[0], pack[1]
        counts = self._counts
        counts.update(zip(indices, map(add, map(counts.get, indices, _NONE), steps)))  # noqa: B905  # of one length

    def peek(self, pack: Pack) -> tuple[Sequence[float], float]:
        """Return the sums as they would be."""
        indices, steps, squares, columns = pack
        before = list(map(self._counts.get, indices, _NONE))
        after = list(map(add, before, steps))
        low, high = self._values(before), self._values(after)
        gains = list(map(sub, high, low))
        growth = sum(map(mul, squares, map(mul, gains, map(add, high, low))))
        products = [
            product + sum(map(mul, column, gains))
            for product, column in zip(self.products, columns)  # noqa: B905  # of one length
        ]
        return products, self.square + growth

    def fork(self) -> CurvedTally:
        """Return an independent copy."""
        twin = CurvedTally(0, binary=self._binary)
        twin._counts = self._counts.copy()
        twin.products, twin.square = self.products, self.square
        return twin

    def _values(self, counts: list[int]) -> list[float]:
        if self._binary:
            return [1.0 if count else 0.0 for count in counts]
        try:
            return [_SUBLINEAR[count] for count in counts]
        except IndexError:
            return [1.0 + math.log(count) if count else 0.0 for count in counts]


def _sum(one: Sequence[float], other: Sequence[float]) -> Sequence[float]:
    return (one[0] + other[0],) if len(one) == 1 else list(map(add, one, other))


_SUBLINEAR = (0.0, *(1.0 + math.log(count) for count in range(1, 4096)))
