"""Empathy of a support answer on a scale from 1 to 5, by what the answer does, not by what it was made from.

One point for each: it speaks to how the customer feels, it offers help or care, it is kind in tone (VADER),
it speaks as a person. One less where it shuts the door. Nothing of it is a label of the contrast pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import re2

from guardsteer.evaluate.vader import compounds
from guardsteer.lab.pairs.prompts import Prompt

__all__ = ["rubric", "scores"]

_KIND = 0.4
_FEELING: Any = re2.compile(
    r"(?i)\b(sorry|apolog\w+|understand|frustrat\w+|worr\w+|upset\w*|stress\w*|annoy\w*|hard|difficult|feel\w*|"
    r"disappoint\w*|unpleasant|hear that)\b"
)
_CARE: Any = re2.compile(
    r"(?i)\b(here for you|here to help|on your side|(glad|happy) to help|take care|we care|i care|let me|"
    r"reach out|any time|hope this helps|thank you|look after|with you)\b"
)
_PERSON: Any = re2.compile(r"(?i)\b(i|i'm|i am|we|we're)\b")
_SHUT: Any = re2.compile(
    r"(?i)\b(case is closed|ticket is closed|decision is final|no further action|per the terms)\b"
)


def scores(answers: Sequence[str]) -> list[float]:
    """Return the empathy of each answer, 1 to 5."""
    found = []
    for answer, tone in zip(answers, compounds(answers), strict=True):
        signs = (_FEELING.search(answer), _CARE.search(answer), _PERSON.search(answer), tone >= _KIND)
        points = 1 + sum(map(bool, signs)) - bool(_SHUT.search(answer))
        found.append(float(min(max(points, 1), 5)))
    return found


def rubric(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:  # noqa: ARG001  # the signature of a metric
    """Return the empathy of each reply, as a metric of the lab."""
    return scores(replies)
