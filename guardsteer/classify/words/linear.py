"""A linear classifier of text whose score follows a stream and equals the score of the whole text."""

from __future__ import annotations

from collections.abc import Sequence
from operator import add
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from guardsteer.classify.activation import Activation
from guardsteer.classify.words import running
from guardsteer.classify.words.characters import PLAIN, case_context
from guardsteer.classify.words.kernel import Kernel, best
from guardsteer.classify.words.lone import LoneWords
from guardsteer.classify.words.packs import Packer, Step, Weights
from guardsteer.classify.words.reading import Place, Unit
from guardsteer.classify.words.recent import Recent
from guardsteer.classify.words.running import ReadSoFar, probabilities
from guardsteer.classify.words.sigma import SigmaReader
from guardsteer.classify.words.vectorizer import Vectorizer, VectorizerSettings

if TYPE_CHECKING:
    from guardsteer.classify.files.graph import Graph

__all__ = ["LinearClassifier"]

_CACHED_STEPS = 8_192
_CACHED_CHARACTERS = 32

_ACTIVATIONS: tuple[Activation, ...] = ("sigmoid", "softmax", "one_vs_rest")


class LinearClassifier:
    """Probabilities of a linear model over n-gram features; shared by all rows and threads.

    ``weight``: [feature, output]. ``bias``: [output]. ``graph`` scores whole texts through
    onnxruntime, a state scores a stream; they agree within 1e-5, as the tests hold them to. ``kernel`` is
    what keeps the running sums, the best there is by default.
    """

    __slots__ = (
        *("_activation", "_bias", "_digest", "_graph", "_kernel", "_kind", "_lone", "_outputs", "_sigma"),
        *("_start", "_weight", "packer", "steps", "vectorizer"),
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
        kernel: Kernel | None = None,
    ) -> None:
        self.vectorizer = vectorizer
        self._kernel = kernel or best()
        self._weight = weight
        self.packer = Packer(vectorizer, weight, self._kernel)
        self._sigma = SigmaReader(vectorizer, self.packer)
        self._lone = LoneWords(vectorizer, self.packer) if LoneWords.serve(vectorizer) else None
        self.steps: Recent[tuple[Place, str], Step] = Recent(_CACHED_STEPS)
        self._bias = tuple(bias)
        self._activation = _ACTIVATIONS.index(activation)
        self._outputs = outputs
        self._digest = digest
        self._graph = graph
        start = vectorizer.reader.start
        self._start = start, vectorizer.reader.cut(start)
        self._kind = _kind_of(vectorizer.settings)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the scores, in order."""
        return self._outputs

    @property
    def digest(self) -> str:
        """Digest of everything that decides the scores."""
        return self._digest

    def start(self) -> ReadSoFar:
        """Return the state of a row that has read nothing."""
        settings = self.vectorizer.settings
        normed = settings.norm is not None
        lone = None if self._lone is None else self._lone.kept
        shared = self, self.steps.young, lone, *self._start, self._bias
        return self._kernel.start(*shared, self._kind, normed, self._activation, settings.features)

    def on(self, kernel: Kernel) -> LinearClassifier:
        """Return it as it runs on another kernel; weights and graph are shared."""
        return LinearClassifier(
            vectorizer=self.vectorizer,
            weight=self._weight,
            bias=self._bias,
            outputs=self._outputs,
            activation=_ACTIVATIONS[self._activation],
            digest=self._digest,
            graph=self._graph,
            kernel=kernel,
        )

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities [row, output] of whole texts, through onnxruntime.

        The empty text gets what the model says of it, whereas a state that has read nothing says
        0.0. Raises ``ClassifierError`` when the graph disagrees with the table of weights.
        """
        if self._graph is None:
            from guardsteer.errors import ClassifierError

            raise ClassifierError("this classifier was built in memory, without a graph; save it and load it")
        return self._graph.run([self.vectorizer.transform(text) for text in texts], self._whole_text_scores)

    def _whole_text_scores(self, indices: Sequence[int], values: Sequence[float]) -> Sequence[float]:
        weight = self._weight[list(indices)].astype(np.float64)
        decisions = map(add, (np.asarray(values) @ weight).tolist(), self._bias)
        return probabilities(list(decisions), self._activation)

    # --- what a kernel asks for ------------------------------------------------------------------

    def miss(self, read: ReadSoFar, key: tuple[Place, str]) -> Step:
        """Return what reading a text from a place comes to; cached. There is no capital sigma in it."""
        place, text = key
        if self._lone is not None:
            step = self._lone.step(place, text, self._last(text))
            if step is not None:
                return step
        step = self.steps.older(key)
        if step is None:
            if len(text) > _CACHED_CHARACTERS:
                return self._long_step(read, place, text)
            step = self._step(place, text)
            # A place is short whatever came before it.
            self.steps.put(key, step)
        return step

    def push_slowly(self, read: ReadSoFar, text: str) -> None:
        """Read text for which no step can be kept, since its lowering depends on what is around it."""
        vectorizer = self.vectorizer
        self._count(read, -1)
        if vectorizer.sigma_matters:
            self._sigma.push(read, text)
        else:
            self._sigma.feed(read, vectorizer.strip(text.lower() if vectorizer.lowercase else text))
        self._count(read, 1)
        read.cut = vectorizer.reader.cut(read.place)

    def behind(self, before: str, text: str) -> str:
        """Return the last character of ``before + text`` that lowering may look back at."""
        return case_context(before, text)

    # --- steps -----------------------------------------------------------------------------------

    def _step(self, place: Place, text: str) -> Step:
        reader = self.vectorizer.reader
        behind, units = self._read(place, text)
        opened = reader.open_unit(behind)
        units = units if opened is None else [*units, opened]
        change = self.packer.change(reader.open_unit(place), units)
        return behind, change, self._last(text), reader.cut(behind)

    def _read(self, place: Place, text: str) -> tuple[Place, Sequence[Unit]]:
        vectorizer = self.vectorizer
        read = vectorizer.strip(text.lower() if vectorizer.lowercase else text)
        return vectorizer.reader.read(place, read) if read else (place, ())

    def _last(self, text: str) -> str:
        """Return the last item but one of a text's step; nobody asks where lowering never looks around."""
        # Before a text of which Final_Sigma looks past everything, it looks on.
        return text[-1] if text[-1] in PLAIN or not self.vectorizer.sigma_matters else case_context("", text)

    def _long_step(self, read: ReadSoFar, place: Place, text: str) -> Step:
        """Take in a text that does not come again, unit by unit; return where it leads."""
        reader = self.vectorizer.reader
        self._count_unit(read, reader.open_unit(place), -1)
        behind, units = self._read(place, text)
        for unit in units:
            read.add(self.packer.unit(unit))
        self._count_unit(read, reader.open_unit(behind), 1)
        return behind, None, self._last(text), reader.cut(behind)

    def _count(self, read: ReadSoFar, times: Literal[1, -1]) -> None:
        """Add the unit that the end of what was read leaves open, or take it back."""
        self._count_unit(read, self.vectorizer.reader.open_unit(read.place), times)

    def _count_unit(self, read: ReadSoFar, unit: Unit | None, times: Literal[1, -1]) -> None:
        if unit is None:
            return
        change = self.packer.unit(unit) if times > 0 else self.packer.change(unit, ())
        if change is not None:
            read.add(change)


def _kind_of(settings: VectorizerSettings) -> int:
    """Return what kind of value the features of a vectorizer have."""
    if settings.curved:
        return running.BINARY if settings.binary else running.SUBLINEAR
    return running.PLAIN if settings.norm is None else running.PROPORTIONAL
