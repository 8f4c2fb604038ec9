"""What one row has read of a text: the place in it and the running sums. In Python; ``_running`` is its twin.

The twin, in C, does the same several times faster where it could be compiled (``kernel`` chooses). Both do
what is the same for every text that was read before from the same place, and for every word that was read
before behind white space, and leave the rest to the classifier.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Sequence
from math import exp, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from guardsteer.classify.words.characters import CAPITAL_SIGMA
from guardsteer.classify.words.counts import zeros
from guardsteer.classify.words.reading import GAPS, Place
from guardsteer.classify.words.tally import CurvedTally, Pack, PlainTally, ProportionalTally, Tally

if TYPE_CHECKING:
    from collections import Counter

    from guardsteer.classify.words.reading import Gram

__all__ = [
    "BINARY",
    "PLAIN",
    "PROPORTIONAL",
    "SUBLINEAR",
    "VERSION",
    "Lone",
    "ReadSoFar",
    "Reads",
    "Running",
    "Word",
    "curved_pack",
    "pack",
    "probabilities",
]

VERSION = 2
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


class Word(NamedTuple):
    """A word, what it adds by itself, the last two items of its step, and the word behind a space."""

    word: str
    change: Any
    before: str
    cut: Place
    spaced: str


class Lone(NamedTuple):
    """What is kept of texts that are white space and one word.

    ``words``: by text. ``pairs``: what a word adds behind another, where ``known`` has the two as a pair.
    """

    words: dict[str, Word]
    pairs: dict[str, Any]
    known: Container[Gram]


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

    def read_into(self, text: str, signals: list[float], first: int, /) -> None:
        """Append ``text`` and write the probabilities [output] into ``signals``, from ``first`` on."""

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
            "_lone",
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
        steps: dict[tuple[Place, str], Any],
        lone: Lone | None,
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
        self._lone = lone
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
        place, step = self.place, None
        if text[0] in GAPS and self.cut is not None:
            # The open unit stays as it is, so what it was does not matter.
            place = self.cut
            step = None if self._lone is None else _lone_step(self._lone, place, text)
        if step is None:
            key = (place, text)
            step = self._steps.get(key) or self._classifier.miss(self, key)
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

    def read_into(self, text: str, signals: list[float], first: int, /) -> None:
        """Append ``text`` and write the probabilities [output] into ``signals``, from ``first`` on.

        Raises ``IndexError``, and reads nothing, where there are too few signals.
        """
        end = first + len(self._bias)
        if not 0 <= first <= end <= len(signals):
            what = f"no room for {len(self._bias)} scores at {first} of {len(signals)} signals"
            raise IndexError(what)
        self.push(text)
        signals[first:end] = self.scores()

    def add(self, change: Pack) -> None:
        """Take in a change of the counts."""
        self._tally.add(change)

    def fork(self) -> Running:
        """Return an independent copy; costs a copy of the counts."""
        twin = Running.__new__(Running)
        twin._classifier, twin._steps, twin._lone = self._classifier, self._steps, self._lone
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


def _lone_step(lone: Lone, place: Place, text: str) -> tuple[Place, Any, str, Place | None] | None:
    """Return what a text that is one word comes to; None where the classifier has to be asked."""
    words, pairs, known = lone
    found = words.get(text)
    if found is None:
        return None
    word, change, before, cut, spaced = found
    _, previous = place
    if previous:
        # Of a word too long to be kept no vocabulary knows a pair.
        pair = f"{previous[-1]}{spaced}"
        if pair in known:
            change = pairs.get(pair)
            if change is None:
                return None
    return (word, previous), change, before, cut


def _tally(kind: int, outputs: int, features: int) -> Tally:
    if kind == PLAIN:
        return PlainTally(outputs)
    counts = zeros(features)
    if kind == PROPORTIONAL:
        return ProportionalTally(outputs, counts)
    return CurvedTally(outputs, counts, binary=kind == BINARY)
