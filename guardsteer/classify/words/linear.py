"""A linear classifier of text whose score follows a stream and equals the score of the whole text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import exp, sqrt
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from guardsteer.classify.activation import Activation
from guardsteer.classify.words.characters import (
    CAPITAL_SIGMA,
    PLAIN,
    SMALL_SIGMA,
    SMALL_SIGMA_FINAL,
    case_context,
    case_of,
)
from guardsteer.classify.words.counts import zeros
from guardsteer.classify.words.packs import Packer, Step, Weights
from guardsteer.classify.words.reading import GAPS, Gram, Place, Unit
from guardsteer.classify.words.recent import Recent
from guardsteer.classify.words.tally import CurvedTally, Pack, PlainTally, ProportionalTally, Tally
from guardsteer.classify.words.vectorizer import Vectorizer

if TYPE_CHECKING:
    from guardsteer.classify.files.graph import Graph

__all__ = ["LinearClassifier", "LinearState"]

# Below this a squared norm is what rounding left of zero: every feature present adds far more.
_NO_NORM = 1e-12

_CACHED_STEPS = 8_192
_CACHED_CHARACTERS = 32

# Where a sigmoid is nothing but zero, and further out its exponential would overflow.
_FAR = 700.0
_ZERO = (0.0,)


class LinearClassifier:
    """Probabilities of a linear model over n-gram features; shared by all rows and threads.

    ``weight``: [feature, output]. ``bias``: [output]. ``graph`` scores whole texts through
    onnxruntime, a state scores a stream; they agree within 1e-5, as the tests hold them to.
    """

    __slots__ = (
        "_digest",
        "_graph",
        "_norm",
        "_outputs",
        "_weight",
        "activation",
        "bias",
        "packer",
        "plain",
        "steps",
        "vectorizer",
    )

    def __init__(
        self,
        *,
        vectorizer: Vectorizer,
        weight: Weights,
        bias: Sequence[float],
        outputs: tuple[str, ...],
        activation: Activation,
        digest: str,
        graph: Graph | None = None,
    ) -> None:
        self.vectorizer = vectorizer
        self.activation: Activation = activation
        self._weight = weight
        self.packer = Packer(vectorizer, weight)
        self.steps: Recent[tuple[Place, str], Step] = Recent(_CACHED_STEPS)
        self.bias = tuple(bias)
        self._norm = vectorizer.settings.norm is not None
        self._outputs = outputs
        # Most are: one score of a normed vector.
        self.plain = self._norm and len(outputs) == 1
        self._digest = digest
        self._graph = graph

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the scores, in order."""
        return self._outputs

    @property
    def digest(self) -> str:
        """Digest of everything that decides the scores."""
        return self._digest

    def start(self) -> LinearState:
        """Return the state of a row that has read nothing."""
        return LinearState(self)

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities [row, output] of whole texts, through onnxruntime.

        The empty text gets what the model says of it, whereas a state that has read nothing says
        0.0. Raises ``ClassifierError`` when the graph disagrees with the table of weights.
        """
        if self._graph is None:
            from guardsteer.errors import ClassifierError

            raise ClassifierError("this classifier was built in memory, without a graph; save it and load it")
        return self._graph.run([self.vectorizer.transform(text) for text in texts], self._whole_text_scores)

    def _whole_text_scores(self, indices: Sequence[int], values: Sequence[float]) -> list[float]:
        weight = self._weight[list(indices)].astype(np.float64)
        return self.probabilities((np.asarray(values) @ weight).tolist(), 1.0)

    def tally(self) -> Tally:
        """Return empty running sums for these settings."""
        settings, outputs = self.vectorizer.settings, len(self._outputs)
        if settings.curved:
            return CurvedTally(outputs, zeros(settings.features), binary=settings.binary)
        return ProportionalTally(outputs, zeros(settings.features)) if settings.norm else PlainTally(outputs)

    def step(self, place: Place, text: str) -> Step:
        """Return what reading ``text``, without a capital sigma, from ``place`` comes to."""
        reader = self.vectorizer.reader
        behind, units, before = self.read(place, text)
        opened = reader.open_unit(behind)
        units = units if opened is None else [*units, opened]
        return behind, self.packer.change(reader.open_unit(place), units), before

    def read(self, place: Place, text: str) -> tuple[Place, Sequence[Unit], str]:
        """Return the place behind ``text``, the units that it finished, and the last item of its step.

        There is no capital sigma in ``text``.
        """
        vectorizer = self.vectorizer
        # Where lowering never looks around, nobody asks for this.
        before = text[-1] if text[-1] in PLAIN or not vectorizer.sigma_matters else ""
        read = vectorizer.strip(text.lower() if vectorizer.lowercase else text)
        if not read:
            return place, (), before
        return (*vectorizer.reader.read(place, read), before)

    def probabilities(self, products: Sequence[float], square: float) -> list[float]:
        """Return the probabilities [output] from v.w and v.v."""
        scale = 1.0 / sqrt(square) if self._norm and square > _NO_NORM else 1.0
        if len(products) == 1:
            decision = products[0] * scale + self.bias[0]
            return [1.0 / (1.0 + exp(-decision)) if decision > -_FAR else 0.0]
        decisions = [product * scale + bias for product, bias in zip(products, self.bias, strict=True)]
        if self.activation == "softmax":
            highest = max(decisions)
            parts = [exp(decision - highest) for decision in decisions]
        else:
            parts = [_sigmoid(decision) for decision in decisions]
            if self.activation == "sigmoid":
                return parts
        total = sum(parts)
        return [part / total for part in parts] if total else [1.0 / len(parts)] * len(parts)


class LinearState:
    """What one row has read: the place in the text and the running sums.

    Memory: two bytes for each feature of the model (see ``counts``), and an unfinished word.
    """

    __slots__ = (
        *("_before", "_classifier", "_difference", "_nothing_read", "_other", "_packer", "_place"),
        *("_reader", "_start", "_steps", "_tally"),
    )

    def __init__(self, classifier: LinearClassifier) -> None:
        self._classifier = classifier
        self._packer = classifier.packer
        self._steps = classifier.steps
        self._reader = classifier.vectorizer.reader
        self._start = self._reader.cuts_to
        self._place: Place = self._reader.start
        self._tally: Tally = classifier.tally()
        self._nothing_read = True
        self._before = ""
        # Open question of a capital sigma: the place in the text had it been read the other way, and
        # the n-grams that the other way has more or less of.
        self._other: Place | None = None
        self._difference: Counter[Gram] = Counter()

    def push(self, text: str) -> None:
        """Append ``text``; costs the same however much came before."""
        if not text:
            return
        self._nothing_read = False
        if self._other is not None or CAPITAL_SIGMA in text:
            self._push_slowly(text)
            return
        place = self._place
        if text[0] in GAPS:
            # The open unit stays as it is, so what it was does not matter.
            place = self._start or self._reader.cut(place) or place
        key = (place, text)
        self._place, pack, before = self._steps.young.get(key) or self._step(key)
        if pack is not None:
            self._tally.add(pack)
        self._before = before or case_context(self._before, text)

    def scores(self) -> Sequence[float]:
        """Return the probabilities [output] of the text so far; 0.0 each where nothing was read."""
        classifier, tally = self._classifier, self._tally
        if self._nothing_read:
            return (0.0,) * len(classifier.outputs)
        if classifier.plain:
            # As ``probabilities`` has it, without the call.
            square = tally.square
            scale = 1.0 / sqrt(square) if square > _NO_NORM else 1.0
            decision = tally.products[0] * scale + classifier.bias[0]
            return (1.0 / (1.0 + exp(-decision)),) if decision > -_FAR else _ZERO
        return classifier.probabilities(tally.products, tally.square)

    def fork(self) -> LinearState:
        """Return an independent copy; costs a copy of the counts."""
        twin = LinearState(self._classifier)
        twin._place, twin._tally = self._place, self._tally.fork()
        twin._nothing_read, twin._before = self._nothing_read, self._before
        twin._other, twin._difference = self._other, self._difference.copy()
        return twin

    def _step(self, key: tuple[Place, str]) -> Step:
        """Return what reading a text from a place comes to; cached."""
        step = self._steps.older(key)
        if step is None:
            if len(key[1]) > _CACHED_CHARACTERS:
                return self._long_step(*key)
            step = self._classifier.step(*key)
            # A place is short whatever came before it.
            self._steps.put(key, step)
        return step

    def _long_step(self, place: Place, text: str) -> Step:
        """Take in a text that does not come again, unit by unit; return where it leads."""
        self._count(self._reader.open_unit(place), -1)
        place, units, before = self._classifier.read(place, text)
        for unit in units:
            self._tally.add(self._packer.unit(unit))
        self._count(self._reader.open_unit(place), 1)
        return place, None, before

    def _count(self, unit: Unit | None, times: Literal[1, -1]) -> None:
        """Add the unit that the text's end leaves open, or take it back."""
        if unit is None:
            return
        self._add(self._packer.unit(unit) if times > 0 else self._packer.change(unit, ()))

    def _add(self, pack: Pack | None) -> None:
        if pack is not None:
            self._tally.add(pack)

    def _feed(self, text: str) -> None:
        if not text:
            return
        self._place, units = self._reader.read(self._place, text)
        for unit in units:
            self._tally.add(self._packer.unit(unit))

    def _push_slowly(self, text: str) -> None:
        """Read text for which no step can be kept, since its lowering depends on what is around it."""
        self._count(self._reader.open_unit(self._place), -1)
        vectorizer = self._classifier.vectorizer
        if vectorizer.sigma_matters:
            self._push_with_sigma(text)
        else:
            self._feed(vectorizer.strip(text.lower() if vectorizer.lowercase else text))
        self._count(self._reader.open_unit(self._place), 1)

    def _push_with_sigma(self, text: str) -> None:
        """Read text with a capital sigma in it, or after one whose small form is still open.

        It is final (ς) after a cased character unless one follows, case-ignorable ones aside. While
        that is open it is read as final, which is right for a text that ends here, and the other
        reading (σ) is carried along as a difference, taken over when a cased character follows.
        """
        start = 0
        for position, character in enumerate(text):
            kind = case_of(character)
            if kind == "ignorable":
                continue
            if self._other is not None:
                self._feed_both(self._other, text[start:position])
                self._close(self._other, taken=kind == "cased")
                start = position
            if character == CAPITAL_SIGMA:
                self._feed_lowered(text[start:position])
                start = position + 1
                if self._before and case_of(self._before) == "cased":
                    self._open()
                else:
                    self._feed(SMALL_SIGMA)
            self._before = character
        if self._other is not None:
            self._feed_both(self._other, text[start:])
        else:
            self._feed_lowered(text[start:])

    def _feed_lowered(self, text: str) -> None:
        self._feed(self._classifier.vectorizer.strip(text.lower()))

    def _open(self) -> None:
        self._advance(self._place, SMALL_SIGMA_FINAL, SMALL_SIGMA)

    def _feed_both(self, other: Place, text: str) -> None:
        lowered = self._classifier.vectorizer.strip(text.lower())
        if lowered:
            self._advance(other, lowered, lowered)

    def _advance(self, other: Place, text: str, other_text: str) -> None:
        reader = self._reader
        self._place, units = reader.read(self._place, text)
        grams = [gram for unit in units for gram in reader.grams(unit)]
        self._add(self._packer.grams(grams))
        self._other, other_units = reader.read(other, other_text)
        other_grams = [gram for unit in other_units for gram in reader.grams(unit)]
        difference = self._difference
        difference.update(other_grams)
        difference.subtract(grams)
        for gram in {*grams, *other_grams}:
            if not difference[gram]:
                del difference[gram]

    def _close(self, other: Place, *, taken: bool) -> None:
        if taken:
            difference = self._difference
            self._add(self._packer.grams(difference.elements(), list((-difference).elements())))
            self._place = other
        self._other = None
        self._difference.clear()


def _sigmoid(decision: float) -> float:
    return 1.0 / (1.0 + exp(-decision)) if decision > -_FAR else 0.0
