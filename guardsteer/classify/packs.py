"""What a unit of text adds to a running score, made once and kept while it is in use."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from operator import mul
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardsteer.classify.reading import Gram, Place, Unit
from guardsteer.classify.recent import Recent
from guardsteer.classify.tally import Pack
from guardsteer.classify.vectorizer import Vectorizer

__all__ = ["Packer", "Step", "Weights"]

Weights: TypeAlias = NDArray[np.float32] | NDArray[np.float64]

Step: TypeAlias = tuple[Place, tuple[Pack, ...], Pack | None, str]
"""What reading a text from a place comes to: the place behind it; the packs of the units that it finished
and of the one that it leaves open; its last character, empty where Final_Sigma may look past that.
"""

_CACHED_UNITS = 8_192
_CACHED_CHARACTERS = 32


class Packer:
    """Makes and caches packs for the weights [feature, output] of one model; shared by rows and threads."""

    __slots__ = ("_curved", "_flat", "_nothing", "_outputs", "_scaled", "_squares", "_vectorizer", "cache")

    def __init__(self, vectorizer: Vectorizer, weight: Weights) -> None:
        self._vectorizer = vectorizer
        self._outputs = int(weight.shape[1])
        self._curved = vectorizer.settings.curved
        idf = vectorizer.idf
        self._scaled = np.ascontiguousarray(weight if idf is None else weight * idf[:, None])
        # Memory views give single numbers several times faster than arrays, and copy nothing.
        self._flat = self._scaled.reshape(-1).data
        self._squares = None if idf is None else (idf * idf).data
        self.cache: Recent[Unit, Pack] = Recent(_CACHED_UNITS)
        columns, sums = ((),) * self._outputs, (0.0,) * self._outputs
        self._nothing: Pack = ((), (), (), columns) if self._curved else ((), (), (), 0.0, sums)

    def unit(self, unit: Unit) -> Pack:
        """Return what a unit of text adds to a tally; cached."""
        pack = self.cache.young.get(unit) or self.cache.older(unit)
        if pack is None:
            pack = self.grams(self._vectorizer.reader.grams(unit))
            if sum(map(len, unit)) <= _CACHED_CHARACTERS:
                self.cache.put(unit, pack)
        return pack

    def grams(self, grams: Sequence[Gram]) -> Pack:
        """Return what n-grams add to a tally."""
        return self._pack_counts(self._vectorizer.counts(grams))

    def difference(self, difference: Counter[Gram]) -> Pack:
        """Return what adding n-grams, or removing those with a negative count, does to a tally."""
        added = self._vectorizer.counts(difference.elements())
        removed = self._vectorizer.counts((-difference).elements())
        for index, count in removed.items():
            added[index] = added.get(index, 0) - count
        return self._pack_counts(added)

    def _pack_counts(self, counts: dict[int, int]) -> Pack:
        if not counts:
            return self._nothing
        # Side by side in memory: they are read when all else is out of the processor's cache.
        indices = array("i", counts)
        steps = array("i", counts.values())
        squares = self._squares
        square = array("d", [1.0 if squares is None else squares[index] for index in indices])
        columns = self._columns(indices)
        if self._curved:
            return indices, steps, square, columns
        slopes = array("d", [2.0 * each * step for each, step in zip(square, steps)])  # noqa: B905  # of one length
        products = tuple([sum(map(mul, column, steps)) for column in columns])
        return indices, steps, slopes, 0.5 * sum(map(mul, slopes, steps)), products

    def _columns(self, indices: Sequence[int]) -> tuple[Sequence[float], ...]:
        """Return weight times idf, [output][feature], of some features."""
        if self._outputs == 1:
            flat = self._flat
            return (array("d", [flat[index] for index in indices]),)
        return tuple([array("d", column) for column in self._scaled[indices].T.tolist()])
