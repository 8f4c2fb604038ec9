"""A linear classifier that reads the newest words alone: the highest of its scores over staggered windows.

What is said anew moves the score of a whole text little, since every word before it counts as much. A window
begins with every so-many-th word and is read by the classifier as if it were all there is; a few are open at
a time. The cost of a token is that of the windows that are open, whatever came before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from guardsteer.classify.words.linear import LinearClassifier
from guardsteer.classify.words.running import ReadSoFar
from guardsteer.core.digests import digest_json

__all__ = ["WindowedClassifier", "WindowedState", "Windows", "highest", "open_windows"]

_WORD = re.compile(r"\S+")


class Windows(BaseModel):
    """Where windows begin and how long they count, in words, which are what stands between white space.

    ``every``: words from the beginning of one window to that of the next. ``open``: windows that are read at
    a time, so that the longest holds ``every * open`` words. ``shortest``: words that a window must have
    begun to count, the text's first one aside.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    every: Annotated[int, Field(ge=1, le=1024)]
    open: Annotated[int, Field(ge=1, le=16)]
    shortest: Annotated[int, Field(ge=1, le=1024)] = 1

    @property
    def longest(self) -> int:
        """Words that a window holds at most."""
        return self.every * self.open


def open_windows(text: str, windows: Windows) -> list[str]:
    """Return the windows that count at the end of a text, the oldest first; none where it has no word.

    Written without the stream's bookkeeping, so that the two check each other.
    """
    begins = [found.start() for found in _WORD.finditer(text)]
    starts = range(0, len(begins), windows.every)[-windows.open :]
    return [text[begins[start] :] for start in starts if not start or len(begins) - start >= windows.shortest]


def highest(
    predict: Callable[[Sequence[str]], NDArray[np.float64]], texts: Sequence[str], windows: Windows
) -> NDArray[np.float64]:
    """Return the highest scores [row, output] of the windows that count at the end of each text, else 0.0."""
    found = [open_windows(text, windows) for text in texts]
    scores = predict([window for each in found for window in each])
    result, start = np.zeros((len(texts), scores.shape[1])), 0
    for row, each in enumerate(found):
        if each:
            result[row] = scores[start : start + len(each)].max(axis=0)
        start += len(each)
    return result


class WindowedClassifier:
    """The highest scores of ``classifier`` over the windows that count; shared by all rows and threads."""

    __slots__ = ("_digest", "classifier", "windows")

    def __init__(self, classifier: LinearClassifier, windows: Windows) -> None:
        self.classifier = classifier
        self.windows = windows
        self._digest = digest_json({"windows": windows.model_dump(mode="json"), "of": classifier.digest})

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the scores, in order."""
        return self.classifier.outputs

    @property
    def digest(self) -> str:
        """Digest of everything that decides the scores."""
        return self._digest

    def start(self) -> WindowedState:
        """Return the state of a row that has read nothing."""
        return WindowedState(self)

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the scores [row, output] at the end of whole texts, through onnxruntime.

        0.0 where a text has no word. Raises ``ClassifierError`` as ``LinearClassifier.predict`` does.
        """
        return highest(self.classifier.predict, texts, self.windows)


class WindowedState:
    """What one row has read: a state of the classifier for each open window.

    Memory: that of a linear state for each.
    """

    __slots__ = ("_begun", "_in_word", "_open", "_whole")

    def __init__(self, whole: WindowedClassifier) -> None:
        self._whole = whole
        self._open: list[tuple[int, ReadSoFar]] = []
        self._begun = 0
        self._in_word = False

    def push(self, text: str) -> None:
        """Append ``text``; costs the same however much came before."""
        if not text:
            return
        every, done = self._whole.windows.every, 0
        for found in _WORD.finditer(text):
            start = found.start()
            if start == 0 and self._in_word:
                continue
            if self._begun % every == 0:
                self._read(text[done:start])
                done = start
                self._begin()
            self._begun += 1
        self._read(text[done:])
        self._in_word = not text[-1].isspace()

    def scores(self) -> Sequence[float]:
        """Return the highest score of each output over the windows that count; 0.0 where there is none."""
        begun, shortest = self._begun, self._whole.windows.shortest
        found = [state.scores() for first, state in self._open if not first or begun - first >= shortest]
        if len(found) == 1:
            return found[0]
        return tuple(map(max, *found)) if found else (0.0,) * len(self._whole.outputs)

    def fork(self) -> WindowedState:
        """Return an independent copy; costs a copy of each open window's counts."""
        twin = WindowedState(self._whole)
        twin._begun, twin._in_word = self._begun, self._in_word
        twin._open = [(first, state.fork()) for first, state in self._open]
        return twin

    def _begin(self) -> None:
        kept = self._open[-(self._whole.windows.open - 1) :] if self._whole.windows.open > 1 else []
        self._open = [*kept, (self._begun, self._whole.classifier.start())]

    def _read(self, text: str) -> None:
        for _, state in self._open:
            state.push(text)
