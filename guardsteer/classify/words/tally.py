"""The running sums of a linear score: the products with the weights and the squared norm.

With features' values v = f(count) * idf, a score needs v.w for each output and, for the L2 norm, v.v.
Both change only through the features whose counts a change of the text touches, so a tally takes in changes
at a cost that depends on the change alone. What a text's end leaves open is counted as if the text ended
there; where it goes on, the change takes that back in the same stroke.

Rounding adds up: after n changes the sums are off by n * 2**-53 of the largest that they have been at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from operator import add, mul
from typing import Any, Protocol, TypeAlias

from guardsteer.classify.words.counts import Counts, wider

__all__ = ["CurvedTally", "Pack", "PlainTally", "ProportionalTally", "Tally"]

Pack: TypeAlias = tuple[Any, ...]
"""A change of the counts, in the form of the tally that it is for.

Proportional (and plain): feature indices; what is added to their counts; slope and constant of the growth of
v.v in the counts so far; what is added to v.w, for each output. Curved: feature indices; what is added to
their counts; squared idf of each; weight times idf of each, for each output.
"""


class Tally(Protocol):
    """Running sums: ``products`` [output] and ``square``."""

    products: Sequence[float]
    square: float

    def add(self, pack: Pack) -> None:
        """Take in a change."""

    def fork(self) -> Tally:
        """Return an independent copy."""


class PlainTally:
    """Values are counts times idf and no norm is taken: v.w alone, in constant memory."""

    __slots__ = ("products", "square")

    def __init__(self, outputs: int) -> None:
        self.products: Sequence[float] = [0.0] * outputs
        self.square = 1.0

    def add(self, pack: Pack) -> None:
        """Take in a change."""
        self.products = list(map(add, self.products, pack[4]))

    def fork(self) -> PlainTally:
        """Return an independent copy."""
        twin = PlainTally(0)
        twin.products = self.products
        return twin


class ProportionalTally:
    """Values are counts times idf.

    Memory: two bytes for each feature of the model; where it has over 131,072, one entry of a dictionary
    for each distinct feature of the text, and of what its words were while they were open.
    """

    __slots__ = ("_counts", "products", "square")

    def __init__(self, outputs: int, counts: Counts) -> None:
        self._counts = counts
        self.products: Sequence[float] = [0.0] * outputs
        self.square = 0.0

    def add(self, pack: Pack) -> None:
        """Take in a change."""
        indices, steps, slopes, growth, sums = pack
        counts, products = self._counts, self.products
        try:
            # One loop costs half of what mapping functions over the same takes.
            for index, step, slope in zip(indices, steps, slopes):  # noqa: B905  # of one length
                count = counts[index]
                counts[index] = count + step
                growth += slope * count
        except OverflowError:
            self._counts = counts = wider(counts)
            # What it stopped at was not counted, nor what comes behind it.
            first = indices.index(index)
            for index, step, slope in zip(indices[first:], steps[first:], slopes[first:]):  # noqa: B905  # of one length
                growth += slope * counts[index]
                counts[index] += step
        self.products = (products[0] + sums[0],) if len(sums) == 1 else list(map(add, products, sums))
        self.square += growth

    def fork(self) -> ProportionalTally:
        """Return an independent copy."""
        twin = ProportionalTally(0, copy(self._counts))
        twin.products, twin.square = self.products, self.square
        return twin


class CurvedTally:
    """Values are f(count) times idf with f = 1 + log (sublinear) or 1 (binary).

    Memory: as ``ProportionalTally``.
    """

    __slots__ = ("_binary", "_counts", "products", "square")

    def __init__(self, outputs: int, counts: Counts, *, binary: bool) -> None:
        self._binary = binary
        self._counts = counts
        self.products: Sequence[float] = [0.0] * outputs
        self.square = 0.0

    def add(self, pack: Pack) -> None:
        """Take in a change."""
        indices, steps, squares, columns = pack
        counts, table = self._counts, _PRESENT if self._binary else _SUBLINEAR
        gains: list[float] = []
        growth = 0.0
        for index, step, square in zip(indices, steps, squares):  # noqa: B905  # of one length
            count = counts[index]
            try:
                counts[index] = count + step
            except OverflowError:
                self._counts = counts = wider(counts)
                counts[index] = count + step
            try:
                low, high = table[count], table[count + step]
            except IndexError:
                low, high = self._value(count), self._value(count + step)
            gains.append(high - low)
            growth += square * (high - low) * (high + low)
        self.products = [
            product + sum(map(mul, column, gains))
            for product, column in zip(self.products, columns)  # noqa: B905  # of one length
        ]
        self.square += growth

    def fork(self) -> CurvedTally:
        """Return an independent copy."""
        twin = CurvedTally(0, copy(self._counts), binary=self._binary)
        twin.products, twin.square = self.products, self.square
        return twin

    def _value(self, count: int) -> float:
        # Here where a count lies beyond the tables, and one of the two may be 0 then.
        return float(bool(count)) if self._binary or not count else 1.0 + math.log(count)


_TABLED = 4096
_PRESENT = (0.0, *(1.0 for _ in range(1, _TABLED)))
_SUBLINEAR = (0.0, *(1.0 + math.log(count) for count in range(1, _TABLED)))
