"""A classifier over an encoder: a table of weights on its embedding, or its own head, window by window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardsteer.classify.activation import Activation
from guardsteer.classify.encoders.encoder import Encoder, Vector
from guardsteer.classify.encoders.windows import Cutter, WordBreaker
from guardsteer.classify.pace.schedule import Schedule
from guardsteer.core.digests import digest_json
from guardsteer.errors import ClassifierError

__all__ = ["EncoderClassifier", "EncoderState", "Head", "Over"]

Over: TypeAlias = Literal["max", "mean"]
"""What counts of a text's windows: the highest score of any, output by output, or the mean."""

Scores: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Head:
    """What makes scores of an encoder's numbers.

    ``weight``: [width, output] and ``bias``: [output], None where the numbers are log-odds or logits already.
    """

    outputs: tuple[str, ...]
    activation: Activation
    weight: NDArray[np.float64] | None = None
    bias: NDArray[np.float64] | None = None

    def scores(self, vector: Vector) -> Scores:
        """Return the probabilities [output] of a vector [width]."""
        decisions = vector.astype(np.float64)
        if self.weight is not None and self.bias is not None:
            decisions = decisions @ self.weight + self.bias
        if self.activation == "softmax":
            parts: Scores = np.exp(decisions - decisions.max())
        else:
            # Where a sigmoid is nothing but zero, and further out its exponential would overflow.
            parts = 1.0 / (1.0 + np.exp(-np.clip(decisions, -700.0, 700.0)))
            if self.activation == "sigmoid":
                return parts
        total = float(parts.sum())
        return parts / total if total else np.full(len(parts), 1.0 / len(parts))


class EncoderClassifier:
    """Scores of texts by an encoder; shared by all rows.

    ``window``: tokens of a window, special ones included. ``schedule``: where a stream is read; between such
    places the scores stay.
    """

    __slots__ = ("_own", "cutter", "digest", "encoder", "head", "outputs", "over", "schedule", "window")

    def __init__(
        self, *, encoder: Encoder, head: Head, window: int, over: Over, schedule: Schedule, digest: str
    ) -> None:
        content = window - encoder.special
        if window > encoder.manifest.max_tokens or content < 4:
            raise ClassifierError(
                f"window: got {window} tokens, expected {encoder.special + 4} to "
                f"{encoder.manifest.max_tokens}, {encoder.special} of them special, for the encoder "
                f"{encoder.manifest.name}"
            )
        self.encoder = encoder
        self.head = head
        self.window = window
        self.over: Over = over
        self.schedule = schedule
        self.cutter = Cutter(encoder, content)
        self.outputs = head.outputs
        self.digest = digest
        self._own = (schedule, digest)

    def start(self) -> EncoderState:
        """Return the state of a row that has read nothing."""
        return EncoderState(self)

    def read_at(self, schedule: Schedule) -> EncoderClassifier:
        """Return it with another schedule; encoder and table are shared."""
        twin: EncoderClassifier = EncoderClassifier.__new__(EncoderClassifier)
        for name in EncoderClassifier.__slots__:
            setattr(twin, name, getattr(self, name))
        own, digest = self._own
        twin.schedule = schedule
        wanted = {"classifier": digest, "read": str(schedule), "opening": schedule.opening}
        twin.digest = digest if schedule == own else digest_json(wanted)
        return twin

    def predict(self, texts: Sequence[str]) -> Scores:
        """Return the probabilities [row, output] of whole texts.

        The empty text gets what the encoder says of it, whereas a state that has read nothing says 0.0.
        """
        result = np.empty((len(texts), len(self.outputs)))
        for row, text in enumerate(texts):
            result[row] = self._whole(text)
        return result

    def _whole(self, text: str) -> Scores:
        reading = Windows(self)
        reading.push(text)
        scores = reading.scores()
        return self.score(()) if scores is None else scores

    def score(self, ids: Sequence[int]) -> Scores:
        """Return the probabilities [output] of one window's tokens."""
        return self.head.scores(self.encoder.vector(ids))


class Windows:
    """The windows of one text as it grows: what the settled ones came to, and the text behind them."""

    __slots__ = ("_best", "_breaker", "_classifier", "_count", "_rest", "_sum")

    def __init__(self, classifier: EncoderClassifier) -> None:
        self._classifier = classifier
        self._breaker = WordBreaker()
        self._rest = ""
        self._best: Scores | None = None
        self._sum: Scores | None = None
        self._count = 0

    def push(self, text: str) -> None:
        """Append ``text``; reads nothing."""
        self._rest += self._breaker.push(text)

    def scores(self) -> Scores | None:
        """Return the scores [output] of the text, None where it holds no token.

        Runs the encoder over the windows that are settled by now, once each, and those at the end.
        """
        classifier = self._classifier
        while True:
            windows, begin = classifier.cutter.next(self._rest)
            found = [classifier.score(window.ids) for window in windows]
            if begin < 0:
                return self._with(found)
            self._best, self._sum, self._count = self._taken(found)
            self._rest = self._rest[begin:]

    def fork(self) -> Windows:
        """Return an independent copy."""
        twin = Windows.__new__(Windows)
        twin._classifier, twin._breaker = self._classifier, self._breaker.fork()
        twin._rest, twin._best = self._rest, self._best
        twin._sum, twin._count = self._sum, self._count
        return twin

    def _with(self, found: list[Scores]) -> Scores | None:
        best, total, count = self._taken(found)
        if best is None or total is None:
            return None
        return best if self._classifier.over == "max" else total / count

    def _taken(self, found: list[Scores]) -> tuple[Scores | None, Scores | None, int]:
        best, total = self._best, self._sum
        for scores in found:
            best = scores if best is None else np.maximum(best, scores)
            total = scores if total is None else total + scores
        return best, total, self._count + len(found)


class EncoderState:
    """One row's text, and its scores up to the last place where a reading was due; 0.0 each before the first.

    ``scores`` runs the encoder where such a place has come since it last did; ``push`` never does. The
    scores are a function of the text alone, however it was cut. Memory: the text of two windows.
    """

    __slots__ = ("_classifier", "_clock", "_due", "_ready", "_scores", "_waiting", "_windows")

    def __init__(self, classifier: EncoderClassifier) -> None:
        self._classifier = classifier
        self._clock = classifier.schedule.start()
        self._windows = Windows(classifier)
        # Behind the last place that was due, and up to it.
        self._waiting: list[str] = []
        self._ready: list[str] = []
        self._due = False
        self._scores: Sequence[float] = (0.0,) * len(classifier.outputs)

    def push(self, text: str) -> None:
        """Append ``text``; reads nothing."""
        due = self._clock.push(text)
        if not due:
            if not self._clock.over:
                self._waiting.append(text)
            return
        self._due = True
        self._ready += [*self._waiting, text[:due]]
        self._waiting = [text[due:]] if due < len(text) else []

    def scores(self) -> Sequence[float]:
        """Return the scores of the text up to the last place where a reading is due."""
        if self._due:
            self._windows.push("".join(self._ready))
            self._ready = []
            self._due = False
            found = self._windows.scores()
            if found is not None:
                self._scores = tuple(found.tolist())
        return self._scores

    def fork(self) -> EncoderState:
        """Return an independent copy."""
        twin = EncoderState.__new__(EncoderState)
        twin._classifier, twin._clock = self._classifier, self._clock.fork()
        twin._windows = self._windows.fork()
        twin._waiting, twin._ready = list(self._waiting), list(self._ready)
        twin._due, twin._scores = self._due, self._scores
        return twin
