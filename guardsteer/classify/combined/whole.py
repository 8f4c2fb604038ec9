"""Scores of whole texts, by a classifier of any kind that reads text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from guardsteer.classify.combined.combination import CombinationClassifier
from guardsteer.classify.pace.opening import OpeningClassifier, opening_of
from guardsteer.core.signals import TextClassifier

__all__ = ["score_whole"]


def score_whole(classifier: TextClassifier, texts: Sequence[str]) -> NDArray[np.float64]:
    """Return the scores [row, output] of whole texts, as if each were read at its end.

    By the classifier's own ``predict`` where it has one, member by member where it is a combination, else by
    a state that is given the text in one piece.
    """
    if isinstance(classifier, OpeningClassifier):
        return score_whole(classifier.classifier, [opening_of(text, classifier.words) for text in texts])
    if isinstance(classifier, CombinationClassifier):
        read = [score_whole(reader, texts) for reader in classifier.readers]
        values = np.hstack([read[place] for place in classifier.places])
        rows = [classifier.blend.of(row) for row in values.tolist()]
        return np.array(rows, dtype=np.float64).reshape(len(texts), len(classifier.outputs))
    predict = getattr(classifier, "predict", None)
    if predict is not None:
        return np.asarray(predict(texts), dtype=np.float64)
    scores = np.empty((len(texts), len(classifier.outputs)))
    for row, text in enumerate(texts):
        state = classifier.start()
        state.push(text)
        scores[row] = state.scores()
    return scores
