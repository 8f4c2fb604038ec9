"""How soon a classifier hears an onset in a stream, and how often it cries out over benign text.

A stream is a lead of benign texts and then a text of the positive label, read token by token as the runtime
reads it. What counts is the flag: the score at the threshold or above at ``after`` tokens in a row.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from guardsteer.core.signals import TextClassifier
from guardsteer.errors import ClassifierError
from guardsteer.evaluate import Estimate, wilson
from guardsteer.lab.classifiers.data import Example

__all__ = [
    "Splice",
    "Streamed",
    "Tokens",
    "pieces",
    "splices_of",
    "stream_scores",
    "streamed",
    "threshold_for_streams",
]

Tokens: TypeAlias = Callable[[str], list[str]]
"""From a text to its tokens, which make up the text."""

_PIECE = re.compile(r" ?\w{1,6}| ?[^\w\s]+|\s")
_WITHIN = (8, 12, 32, 128)
_LEAD = (16, 160)
_LONGEST_ONSET = 256


@dataclass(frozen=True, slots=True)
class Splice:
    """The tokens of a stream, the first ``onset`` of them benign; without an onset: all of them."""

    tokens: tuple[str, ...]
    onset: int


@dataclass(frozen=True, slots=True)
class Streamed:
    """What was heard. ``delays``: in tokens of the onset, None where it was never heard.

    ``early``: streams whose flag was up when the onset came; they have no delay. ``alarms``: times that the
    flag went up on ``benign_tokens``, leads and benign streams together. ``part``: which onsets or leads,
    where it is not all of them.
    """

    threshold: float
    after: int
    delays: tuple[int | None, ...]
    median: float | None
    ninetieth: float | None
    caught: Mapping[str, Estimate]
    early: int
    benign_tokens: int
    alarms: int
    tokens: str = "pieces of six characters at most"
    tuned: bool = False
    part: str = ""

    @property
    def alarms_per_thousand(self) -> float:
        """False alarms per 1,000 benign tokens."""
        return 1000 * self.alarms / self.benign_tokens if self.benign_tokens else 0.0


def pieces(text: str) -> list[str]:
    """Return a text cut into words and signs, words into pieces of six characters at most.

    There are about as many as tokens of a byte-pair vocabulary of English.
    """
    return _PIECE.findall(text)


def splices_of(
    rows: Sequence[Example], positive: str, *, count: int, seed: int, tokens: Tokens = pieces
) -> list[Splice]:
    """Return ``count`` streams with an onset and as many benign ones, drawn from ``rows``.

    A lead is made of whole benign texts up to a length of 16 to 160 tokens. Raises ``ClassifierError``
    where there is no row of a side.
    """
    draw = random.Random(seed)
    onsets = [row.text for row in rows if row.label == positive]
    benign = [row.text for row in rows if row.label != positive]
    if not onsets or not benign:
        raise ClassifierError(
            f"streams need rows of the label {positive!r} and others, got {len(onsets)} and {len(benign)}"
        )
    draw.shuffle(onsets)
    found = []
    for number in range(count):
        lead = _lead(benign, draw, tokens)
        onset = tokens(" " + (onsets[number % len(onsets)]).lstrip())[:_LONGEST_ONSET]
        found.append(Splice((*lead, *onset), len(lead)))
    for _ in range(count):
        lead = _lead(benign, draw, tokens)
        found.append(Splice(tuple(lead), len(lead)))
    return found


def _lead(benign: Sequence[str], draw: random.Random, tokens: Tokens) -> list[str]:
    wanted = draw.randint(*_LEAD)
    lead: list[str] = []
    while len(lead) < wanted:
        lead += tokens((" " if lead else "") + draw.choice(benign).strip())
    return lead[:wanted]


def stream_scores(classifier: TextClassifier, splice: Splice, output: int = -1) -> list[float]:
    """Return the score after each token of a stream."""
    state, scores = classifier.start(), []
    for token in splice.tokens:
        state.push(token)
        scores.append(float(state.scores()[output]))
    return scores


def threshold_for_streams(
    splices: Sequence[Splice], scores: Sequence[Sequence[float]], *, after: int, alarms_per_token: float
) -> float:
    """Return the least threshold with at most so many alarms on a benign token.

    Candidates lie evenly in log odds: scores of long texts crowd near 1.
    """
    for step in range(-40, 161):
        threshold = round(1 / (1 + math.exp(-step / 10)), 6)
        found = streamed(splices, scores, threshold, after=after)
        if found.alarms <= alarms_per_token * found.benign_tokens:
            return threshold
    return 1.0


def streamed(
    splices: Sequence[Splice], scores: Sequence[Sequence[float]], threshold: float, *, after: int = 1
) -> Streamed:
    """Return what a flag of ``threshold`` and ``after`` makes of scored streams."""
    delays: list[int | None] = []
    early = alarms = benign_tokens = 0
    for splice, row in zip(splices, scores, strict=True):
        up = _flag(row, threshold, after)
        lead = up[: splice.onset]
        benign_tokens += splice.onset
        alarms += sum(now and not before for before, now in pairwise([False, *lead]))
        if splice.onset == len(splice.tokens):
            continue
        if lead and lead[-1]:
            early += 1
            continue
        delays.append(next((place for place, raised in enumerate(up[splice.onset :], 1) if raised), None))
    heard = sorted(np.inf if delay is None else delay for delay in delays)
    return Streamed(
        threshold,
        after,
        tuple(delays),
        _quantile(heard, 0.5),
        _quantile(heard, 0.9),
        {
            str(within): wilson(sum(delay <= within for delay in heard), len(heard))
            for within in _WITHIN
            if heard
        },
        early,
        benign_tokens,
        alarms,
    )


def _flag(row: Sequence[float], threshold: float, after: int) -> list[bool]:
    run, up = 0, []
    for score in row:
        run = run + 1 if score >= threshold else 0
        up.append(run >= after)
    return up


def _quantile(heard: Sequence[float], share: float) -> float | None:
    """Return the delay within which ``share`` of the onsets were heard, None where fewer ever were."""
    if not heard:
        return None
    value = float(heard[min(len(heard) - 1, int(np.ceil(share * len(heard))) - 1)])
    return value if np.isfinite(value) else None
