"""What one row has read of a text: the place in it and the running sums. In Python; ``_running`` is its twin.

The twin, in C, does the same several times faster where it could be compiled (``kernel`` chooses). Both do
what is the same for every text that was read before from the same place, and leave the rest to the
classifier.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import exp, sqrt
from typing import TYPE_CHECKING, Any, Protocol

from guardsteer.classify.words.characters import CAPITAL_SIGMA
from guardsteer.classify.words.counts import zeros
from guardsteer.classify.words.reading import GAPS, Place
from guardsteer.classify.words.tally import CurvedTally, Pack, PlainTally, ProportionalTally, Tally

if TYPE_CHECKING:
    from collections import Counter

    from guardsteer.classify.words.reading import Gram
    from guardsteer.classify.words.recent import Recent

__all__ = [
    "BINARY",
    "PLAIN",
    "PROPORTIONAL",
    "SUBLINEAR",
    "VERSION",
    "ReadSoFar",
    "Reads",
    "Running",
    "curved_pack",
    "pack",
    "probabilities",
]

VERSION = 1
"""The compiled twin's has to be the same: one that was built from an older source is left aside."""

PLAIN, PROPORTIONAL, SUBLINEAR, BINARY = range(4)
"""Kinds of value: in proportion to the count and no norm taken; the same with a norm; 1 + log; 1."""

_SIGMOID, _SOFTMAX, _ONE_VS_REST = range(3)

# Below this a squared norm is what rounding left of zero: every feature present adds far more.
_NO_NORM = 1e-12

# Where a sigmoid is nothing but zero, and further out its exponential would overflow.
_FAR = 700.0


def pack(
    features: array[int],
    steps: array[int],
    slopes: array[float],
    growth: float,
    sums: Sequence[float],
) -> Pack:
    """Return a change of counts whose values are proportional to them."""
    return features, steps, slopes, growth, tuple(sums)


def curved_pack(
    features: array[int], steps: array[int], squares: array[float], columns: Sequence[array[float]]
) -> Pack:
    """Return a change of counts whose values are not proportional to them."""
    return features, steps, squares, tuple(columns)


class ReadSoFar(Protocol):
    """What one row has read; ``Running`` has what the parts mean."""

    place: Place
    cut: Place | None
    before: str
    other: Place | None
    difference: Counter[Gram] | None

    def push(self, text: str) -> None:
        """Append ``text``."""

    def scores(self) -> Sequence[float]:
        """Return the probabilities [output] of the text so far."""

    def add(self, change: Any) -> None:
        """Take in a change of the counts, which the same kernel has packed."""

    def fork(self) -> ReadSoFar:
        """Return an independent copy."""


class Reads(Protocol):
    """What the kernel leaves to the classifier."""

    def miss(self, read: ReadSoFar, key: tuple[Place, str]) -> tuple[Place, Any, str, Place | None]:
        """Return what reading a text from a place comes to, where that is not kept."""

    def push_slowly(self, read: ReadSoFar, text: str) -> None:
        """Append a text whose lowering depends on what is around it."""

    def behind(self, before: str, text: str) -> str:
        """Return the last character of ``before + text`` that lowering may look back at."""


class Running:
    """What one row has read; ``classifier`` says what a text comes to that was not read before.

    ``place`` is where it stands, ``cut`` from where text that begins with white space reads on, None where
    it goes on inside. ``before`` is the last character that lowering may look back at. Open question of a
    capital sigma: ``other`` is the place had it been read the other way, ``difference`` the n-grams that the
    other way has more or less of. ``bias``: [output].
    """

    __slots__ = (
        *(
            "_activation",
            "_bias",
            "_classifier",
            "_features",
            "_kind",
            "_normed",
            "_read",
            "_steps",
            "_tally",
        ),
        *("before", "cut", "difference", "other", "place"),
    )

    def __init__(
        self,
        classifier: Reads,
        steps: Recent[tuple[Place, str], Any],
        place: Place,
        cut: Place | None,
        bias: Sequence[float],
        kind: int,
        normed: bool,
        activation: int,
        features: int,
        /,
    ) -> None:
        self._classifier = classifier
        self._steps = steps
        self.place = place
        self.cut = cut
        self.before = ""
        self.other: Place | None = None
        self.difference: Counter[Gram] | None = None
        self._bias = tuple(bias)
        self._normed = normed
        self._activation = activation
        self._read = False
        self._tally: Tally = _tally(kind, len(bias), features)

    def push(self, text: str) -> None:
        """Append ``text``; costs the same however much came before."""
        if not text:
            return
        self._read = True
        if self.other is not None or CAPITAL_SIGMA in text:
            self._classifier.push_slowly(self, text)
            return
        place = self.place
        if text[0] in GAPS:
            # The open unit stays as it is, so what it was does not matter.
            place = self.cut or place
        key = (place, text)
        step = self._steps.young.get(key) or self._classifier.miss(self, key)
        self.place, change, before, self.cut = step
        if change is not None:
            self._tally.add(change)
        self.before = before or self._classifier.behind(self.before, text)

    def scores(self) -> Sequence[float]:
        """Return the probabilities [output] of the text so far; 0.0 each where nothing was read."""
        products, square, bias = self._tally.products, self._tally.square, self._bias
        if not self._read:
            return (0.0,) * len(bias)
        scale = 1.0 / sqrt(square) if self._normed and square > _NO_NORM else 1.0
        if len(bias) == 1:
            # As ``probabilities`` has it, without the call.
            decision = products[0] * scale + bias[0]
            return (1.0 / (1.0 + exp(-decision)) if decision > -_FAR else 0.0,)
        decisions = [product * scale + each for product, each in zip(products, bias, strict=True)]
        return probabilities(decisions, self._activation)

    def add(self, change: Pack) -> None:
        """Take in a change of the counts."""
        self._tally.add(change)

    def fork(self) -> Running:
        """Return an independent copy; costs a copy of the counts."""
        twin = Running.__new__(Running)
        twin._classifier, twin._steps = self._classifier, self._steps
        twin._bias, twin._normed, twin._activation = self._bias, self._normed, self._activation
        twin.place, twin.cut, twin.before, twin._read = self.place, self.cut, self.before, self._read
        twin.other, twin.difference = self.other, self.difference
        twin._tally = self._tally.fork()
        return twin

    @property
    def products(self) -> Sequence[float]:
        """The products with the weights, [output]."""
        return tuple(self._tally.products)

    @property
    def square(self) -> float:
        """The squared norm."""
        return self._tally.square


def probabilities(decisions: Sequence[float], activation: int) -> tuple[float, ...]:
    """Return the probabilities that decisions [output] come to."""
    if activation == _SOFTMAX and len(decisions) > 1:
        highest = max(decisions)
        parts = [exp(decision - highest) for decision in decisions]
    else:
        parts = [1.0 / (1.0 + exp(-decision)) if decision > -_FAR else 0.0 for decision in decisions]
        if activation == _SIGMOID or len(parts) == 1:
            return tuple(parts)
    total = sum(parts)
    return tuple(part / total for part in parts) if total else (1.0 / len(parts),) * len(parts)


def _tally(kind: int, outputs: int, features: int) -> Tally:
    if kind == PLAIN:
        return PlainTally(outputs)
    counts = zeros(features)
    if kind == PROPORTIONAL:
        return ProportionalTally(outputs, counts)
    return CurvedTally(outputs, counts, binary=kind == BINARY)
