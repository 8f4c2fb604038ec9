"""How often each feature has occurred in one row's text, where a model's step leaves no cache warm.

A dictionary touches three places in memory for each feature: the number that is looked up, its slot and
its entry, which lie further apart as the text grows. An array touches one, and few numbers of its own.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TypeAlias

__all__ = ["Counts", "put", "zeros"]

_DENSE = 2**17


class Sparse(dict[int, int]):
    """Counts of the features that occurred; all others are 0."""

    __slots__ = ()

    def __missing__(self, _: int) -> int:
        return 0

    def __copy__(self) -> Sparse:
        return Sparse(self)


Counts: TypeAlias = "array[int] | Sparse"


def zeros(features: int) -> Counts:
    """Return counts of nothing: two bytes a feature, or a dictionary where there are over 131,072."""
    return array("h", bytes(2 * features)) if features <= _DENSE else Sparse()


def put(counts: Counts, indices: Sequence[int], values: Iterable[int]) -> Counts:
    """Return ``counts`` with those of some features set: itself, or a wider one where they outgrow it."""
    given = list(values)
    try:
        for index, value in zip(indices, given):  # noqa: B905  # of one length
            counts[index] = value
    except OverflowError:
        counts = array("q", counts)
        for index, value in zip(indices, given):  # noqa: B905  # of one length
            counts[index] = value
    return counts
