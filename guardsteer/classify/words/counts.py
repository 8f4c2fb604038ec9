"""How often each feature has occurred in one row's text, where a model's step leaves no cache warm.

A dictionary touches three places in memory for each feature: the number that is looked up, its slot and
its entry, which lie further apart as the text grows. An array touches one, and few numbers of its own.
"""

from __future__ import annotations

from array import array
from typing import TypeAlias

__all__ = ["Counts", "wider", "zeros"]

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


def wider(counts: Counts) -> Counts:
    """Return a copy of ``counts`` that a count which they could not hold fits into."""
    return array("q", counts)
