"""Groups of examples that no split may tear apart: what shares a prompt, and what is nearly the same.

Nearly the same: sets of words, numbers aside, whose resemblance (Jaccard index) is ``NEARLY_THE_SAME`` or
more. Candidates come from locality-sensitive hashing (Broder, 1997; Indyk and Motwani, 1998) and are compared
exactly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from guardsteer.lab.classifiers.data import Example

__all__ = ["NEARLY_THE_SAME", "groups_of"]

NEARLY_THE_SAME = 0.7

_BANDS, _ROWS_OF_BAND = 12, 3
_WORD = re.compile(r"[^\W\d_]+")
_PRIME = (1 << 31) - 1


def groups_of(examples: Sequence[Example]) -> list[str]:
    """Return each example's group: the least text among those that it is joined with, in words.

    Joined are examples of one ``group`` and those that are nearly the same, and what is joined with them.
    """
    words = [frozenset(_WORD.findall(example.text.casefold())) for example in examples]
    leader = list(range(len(examples)))
    named: dict[str, int] = {}
    for place, example in enumerate(examples):
        if example.group:
            _join(leader, named.setdefault(example.group, place), place)
    for one, other in _candidates(words):
        first, second = words[one], words[other]
        if _root(leader, one) != _root(leader, other):
            shared = len(first & second)
            if shared >= NEARLY_THE_SAME * (len(first) + len(second) - shared):
                _join(leader, one, other)
    least: dict[int, str] = {}
    for place, example in enumerate(examples):
        root = _root(leader, place)
        text = " ".join(example.text.casefold().split())
        least[root] = min(least.get(root, text), text)
    return [least[_root(leader, place)] for place in range(len(examples))]


def _candidates(words: Sequence[frozenset[str]]) -> list[tuple[int, int]]:
    """Return pairs of examples that some band of their min-hashes makes alike, neighbours of a bucket."""
    filled = [place for place, found in enumerate(words) if found]
    if not filled:
        return []
    known: dict[str, int] = {}
    numbers = [
        np.array([known.setdefault(word, len(known)) for word in sorted(words[place])]) for place in filled
    ]
    hashes = np.array(
        [
            int.from_bytes(blake3(word.encode("utf-8", "replace")).digest(length=4), "big") % _PRIME
            for word in known
        ],
        dtype=np.int64,
    )
    flat = np.concatenate(numbers)
    starts = np.cumsum([0, *map(len, numbers[:-1])])
    generator = np.random.default_rng(0)
    pairs = []
    for _ in range(_BANDS):
        band: NDArray[np.int64] = np.empty((_ROWS_OF_BAND, len(filled)), dtype=np.int64)
        for row in range(_ROWS_OF_BAND):
            factor, shift = (int(number) for number in generator.integers(1, _PRIME, 2))
            band[row] = np.minimum.reduceat((hashes * factor + shift)[flat] % _PRIME, starts)
        buckets: dict[bytes, list[int]] = {}
        for column, place in enumerate(filled):
            buckets.setdefault(band[:, column].tobytes(), []).append(place)
        for bucket in buckets.values():
            # Each against the first and the one before: joining makes the rest of the bucket follow.
            for position in range(1, len(bucket)):
                pairs.append((bucket[0], bucket[position]))
                if position > 1:
                    pairs.append((bucket[position - 1], bucket[position]))
    return pairs


def _root(leader: list[int], place: int) -> int:
    while leader[place] != place:
        leader[place] = leader[leader[place]]
        place = leader[place]
    return place


def _join(leader: list[int], one: int, other: int) -> None:
    first, second = _root(leader, one), _root(leader, other)
    leader[max(first, second)] = min(first, second)
