"""What an encoder makes of texts, each text run once, whatever is fitted to it how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from guardsteer.classify.encoders.encoder import Encoder
from guardsteer.classify.encoders.reading import EncoderClassifier, Head
from guardsteer.classify.encoders.windows import WordBreaker
from guardsteer.lab.classifiers.figures import Floats

__all__ = ["Meaning"]


@dataclass(slots=True)
class Meaning:
    """The encoder's numbers for texts, each text run once: those of every window of it."""

    encoder: Encoder
    reads: EncoderClassifier
    _kept: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def windows(self, text: str) -> NDArray[np.float32]:
        """Return the numbers [window, width] of a text's windows; one of nothing where it has no token."""
        found = self._kept.get(text)
        if found is None:
            found = self._kept[text] = np.stack([self.encoder.vector(ids) for ids in self._ids(text)])
        return found

    def _ids(self, text: str) -> list[tuple[int, ...]]:
        """Return the tokens of the windows that the classifier cuts a whole text into."""
        rest, found = WordBreaker().push(text), list[tuple[int, ...]]()
        while True:
            windows, begin = self.reads.cutter.next(rest)
            found += [window.ids for window in windows]
            if begin < 0:
                return found or [()]
            rest = rest[begin:]

    def first(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the numbers [row, width] of each text's first window."""
        return np.stack([self.windows(text)[0] for text in texts]).astype(np.float64)

    def says(self, texts: Sequence[str], head: Head, over: str) -> Floats:
        """Return the probabilities [row, output], as a classifier over the windows gives them."""
        rows = []
        for text in texts:
            scores = np.stack([head.scores(vector) for vector in self.windows(text)])
            rows.append(scores.max(axis=0) if over == "max" else scores.mean(axis=0))
        return np.stack(rows)
