"""What text changes about a running score, made once and kept while it is in use."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardsteer.classify.words.kernel import Kernel
from guardsteer.classify.words.reading import Gram, Place, Unit, growth
from guardsteer.classify.words.recent import Recent
from guardsteer.classify.words.vectorizer import Vectorizer

__all__ = ["Packer", "Step", "Weights"]

Weights: TypeAlias = NDArray[np.float32] | NDArray[np.float64]

Step: TypeAlias = tuple[Place, Any, str, Place | None]
"""What reading a text from a place comes to: the place behind it; the change of the counts, packed, None for
none; its last character that Final_Sigma does not look past, empty where it looks past all of them; from
where white space behind it reads on, None where it goes on inside.
"""

_CACHED_UNITS = 8_192
_FEW = 2
_CACHED_CHARACTERS = 32


class Packer:
    """Makes and caches packs for the weights [feature, output] of one model; shared by rows and threads."""

    __slots__ = (
        *("_curved", "_few", "_flat", "_kernel", "_nothing", "_outputs", "_scaled", "_squares"),
        *("_vectorizer", "cache"),
    )

    def __init__(self, vectorizer: Vectorizer, weight: Weights, kernel: Kernel) -> None:
        self._vectorizer = vectorizer
        self._kernel = kernel
        self._outputs = int(weight.shape[1])
        self._curved = vectorizer.settings.curved
        idf = vectorizer.idf
        self._scaled: NDArray[Any] = np.ascontiguousarray(weight if idf is None else weight * idf[:, None])
        # Memory views give single numbers several times faster than arrays, and copy nothing.
        self._flat = self._scaled.reshape(-1).data
        self._squares = None if idf is None else (idf * idf).data
        self.cache: Recent[Unit, Any] = Recent(_CACHED_UNITS)
        self._few: Recent[tuple[tuple[int, int], ...], Any] = Recent(_CACHED_UNITS)
        self._nothing = self._pack_counts({})

    def unit(self, unit: Unit) -> Any:
        """Return what a unit of text adds, packed; cached."""
        pack = self.cache.young.get(unit) or self.cache.older(unit)
        if pack is None:
            pack = self.grams(self._vectorizer.reader.grams(unit)) or self._nothing
            if sum(map(len, unit)) <= _CACHED_CHARACTERS:
                self.cache.put(unit, pack)
        return pack

    def grams(self, added: Iterable[Gram], removed: Iterable[Gram] = ()) -> Any | None:
        """Return the change where there are n-grams more and others less; None where it comes to nothing."""
        counts = self._vectorizer.counts(added)
        if removed:
            for index, count in self._vectorizer.counts(removed).items():
                counts[index] = counts.get(index, 0) - count
            if 0 in counts.values():
                counts = {index: count for index, count in counts.items() if count}
        if not counts:
            return None
        if len(counts) > _FEW:
            return self._pack_counts(counts)
        # Most pairs of words are new and come to the one word that is known.
        key = tuple(counts.items())
        pack = self._few.young.get(key) or self._few.older(key)
        if pack is None:
            pack = self._pack_counts(counts)
            self._few.put(key, pack)
        return pack

    def change(self, opened: Unit | None, units: Sequence[Unit]) -> Any | None:
        """Return the change where there are ``units`` in the place of the unit that was open."""
        grams = self._vectorizer.reader.grams
        added: list[Gram] = []
        removed: Sequence[Gram] = ()
        if opened is not None:
            first = units[0] if units else None
            if first != opened:
                grown = None if first is None else growth(opened, first, self._vectorizer.settings.ngrams)
                if grown is None:
                    added, removed = [] if first is None else grams(first), grams(opened)
                else:
                    added, removed = grown
            units = units[1:]
        for unit in units:
            added += grams(unit)
        return self.grams(added, removed)

    def _pack_counts(self, counts: dict[int, int]) -> Any:
        # Side by side in memory: they are read when all else is out of the processor's cache.
        indices, steps = array("i", list(counts)), array("i", list(counts.values()))
        squares = self._squares
        if self._curved:
            squared = [1.0 if squares is None else squares[index] for index in counts]
            return self._kernel.curved_pack(indices, steps, array("d", squared), self._columns(indices))
        slopes: list[float] = []
        growth = 0.0
        for index, step in counts.items():
            grown = step if squares is None else squares[index] * step
            slopes.append(grown + grown)
            growth += grown * step
        if self._outputs == 1:
            flat = self._flat
            products: Sequence[float] = (sum([flat[index] * step for index, step in counts.items()]),)
        else:
            products = (np.array(steps, np.float64) @ self._scaled[indices]).tolist()
        return self._kernel.pack(indices, steps, array("d", slopes), growth, products)

    def _columns(self, indices: Sequence[int]) -> tuple[Sequence[float], ...]:
        """Return weight times idf, [output][feature], of some features."""
        if self._outputs == 1:
            return (array("d", [self._flat[index] for index in indices]),)
        return tuple([array("d", column) for column in self._scaled[indices].T.tolist()])
