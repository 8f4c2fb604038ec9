"""The running sums of a linear score: the products with the weights and the squared norm.

With features' values v = f(count) * idf, a score needs v.w for each output and, for the L2 norm, v.v.
Both change only through the features that new text touches, so a tally adds units of text at a cost
that depends on the unit alone. The unit that the text's end leaves open is added like any other; ``undo``
takes it back where the text goes on inside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from operator import add, mul, sub
from typing import Any, Protocol, TypeAlias

from guardsteer.classify.counts import Counts, put

__all__ = ["CurvedTally", "Pack", "PlainTally", "ProportionalTally", "Tally"]

Pack: TypeAlias = tuple[Any, ...]
"""What a unit of text adds, in the form of the tally that it is for.

Proportional (and plain): feature indices; counts to add; slope and constant of the growth of v.v in the
counts so far; what is added to v.w, for each output. Curved: feature indices; counts to add; squared
idf of each; weight times idf of each, for each output.
"""

_Former: TypeAlias = tuple[list[int], Sequence[float], float]
"""What was before the open pack: its features' counts, v.w and v.v."""


class Tally(Protocol):
    """Running sums: ``products`` [output] and ``square``. ``opened`` is the pack that may be taken back."""

    products: Sequence[float]
    square: float
    opened: Pack | None

    def add(self, pack: Pack) -> None:
        """Add a unit of text for good; nothing may be open."""

    def open(self, pack: Pack) -> None:
        """Add a unit that may be taken back; nothing may be open. Set ``opened`` to None to let it stay."""

    def undo(self) -> None:
        """Take back what is open, if anything is: the sums are what they were, to the last bit."""

    def fork(self) -> Tally:
        """Return an independent copy."""


class PlainTally:
    """Values are counts times idf and no norm is taken: v.w alone, in constant memory."""

    __slots__ = ("_former", "opened", "products", "square")

    def __init__(self, outputs: int) -> None:
        self.products: Sequence[float] = [0.0] * outputs
        self.square = 1.0
        self.opened: Pack | None = None
        self._former: Sequence[float] = self.products

    def add(self, pack: Pack) -> None:
        """Add a unit of text for good."""
        self.products = _sum(self.products, pack[4])

    def open(self, pack: Pack) -> None:
        """Add a unit that may be taken back."""
        self.opened, self._former = pack, self.products
        self.products = _sum(self.products, pack[4])

    def undo(self) -> None:
        """Take back what is open."""
        if self.opened is not None:
            self.opened, self.products = None, self._former

    def fork(self) -> PlainTally:
        """Return an independent copy."""
        twin = PlainTally(0)
        twin.products, twin._former, twin.opened = self.products, self._former, self.opened
        return twin


class ProportionalTally:
    """Values are counts times idf.

    Memory: two bytes for each feature of the model; where it has over 131,072, one entry of a dictionary
    for each distinct feature of the text, and of what its words were while they were open.
    """

    __slots__ = ("_counts", "_former", "opened", "products", "square")

    def __init__(self, outputs: int, counts: Counts) -> None:
        self._counts = counts
        self.products: Sequence[float] = [0.0] * outputs
        self.square = 0.0
        self.opened: Pack | None = None
        self._former: _Former = ([], self.products, 0.0)

    def add(self, pack: Pack) -> None:
        """Add a unit of text for good."""
        self.open(pack)
        self.opened = None

    def open(self, pack: Pack) -> None:
        """Add a unit that may be taken back."""
        indices, steps, slopes, constant, sums = pack
        counts, products, square = self._counts, self.products, self.square
        before = list(map(counts.__getitem__, indices))
        # Written at once and not when the unit is complete: by then all is out of the processor's cache.
        try:
            for index, count in zip(indices, map(add, before, steps)):  # noqa: B905  # of one length
                counts[index] = count
        except OverflowError:
            self._counts = put(counts, indices, map(add, before, steps))
        self.opened, self._former = pack, (before, products, square)
        self.products = (products[0] + sums[0],) if len(sums) == 1 else list(map(add, products, sums))
        self.square = square + (constant + sum(map(mul, slopes, before)))

    def undo(self) -> None:
        """Take back what is open."""
        if self.opened is not None:
            before, self.products, self.square = self._former
            counts = self._counts
            # They have held these counts, so none of them is too large.
            for index, count in zip(self.opened[0], before):  # noqa: B905  # of one length
                counts[index] = count
            self.opened = None

    def fork(self) -> ProportionalTally:
        """Return an independent copy."""
        twin = ProportionalTally(0, copy(self._counts))
        twin.products, twin.square = self.products, self.square
        twin.opened, twin._former = self.opened, self._former
        return twin


class CurvedTally:
    """Values are f(count) times idf with f = 1 + log (sublinear) or 1 (binary).

    Memory: as ``ProportionalTally``.
    """

    __slots__ = ("_binary", "_counts", "_former", "opened", "products", "square")

    def __init__(self, outputs: int, counts: Counts, *, binary: bool) -> None:
        self._binary = binary
        self._counts = counts
        self.products: Sequence[float] = [0.0] * outputs
        self.square = 0.0
        self.opened: Pack | None = None
        self._former: _Former = ([], self.products, 0.0)

    def add(self, pack: Pack) -> None:
        """Add a unit of text for good."""
        self.open(pack)
        self.opened = None

    def open(self, pack: Pack) -> None:
        """Add a unit that may be taken back."""
        indices, steps, squares, columns = pack
        before = list(map(self._counts.__getitem__, indices))
        after = list(map(add, before, steps))
        self._counts = put(self._counts, indices, after)
        self.opened, self._former = pack, (before, self.products, self.square)
        low, high = self._values(before), self._values(after)
        gains = list(map(sub, high, low))
        self.products = [
            product + sum(map(mul, column, gains))
            for product, column in zip(self.products, columns)  # noqa: B905  # of one length
        ]
        self.square += sum(map(mul, squares, map(mul, gains, map(add, high, low))))

    def undo(self) -> None:
        """Take back what is open."""
        if self.opened is not None:
            before, self.products, self.square = self._former
            counts = self._counts
            # They have held these counts, so none of them is too large.
            for index, count in zip(self.opened[0], before):  # noqa: B905  # of one length
                counts[index] = count
            self.opened = None

    def fork(self) -> CurvedTally:
        """Return an independent copy."""
        twin = CurvedTally(0, copy(self._counts), binary=self._binary)
        twin.products, twin.square = self.products, self.square
        twin.opened, twin._former = self.opened, self._former
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
