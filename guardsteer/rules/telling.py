"""What a step changed, for the audit: flags, rules, and the comparisons behind them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import ne
from typing import Literal, NamedTuple, TypeAlias

from guardsteer.core.policy import Mode
from guardsteer.rules.codegen import Fixed, Key

__all__ = [
    "NOTHING",
    "Change",
    "Scores",
    "Told",
    "Truth",
    "differing",
    "scores_of",
    "truths_of",
    "with_missing",
]

Truth: TypeAlias = Literal["", "true", "false", "undecided"]
Scores: TypeAlias = tuple[tuple[str, int], ...]
"""Signals by name and index."""

_CHUNK = 64


class Change(NamedTuple):
    """What changed at a step.

    ``kind`` "flag": ``up`` says whether the flag is certainly up, ``scores`` is its signal. ``kind``
    "rule": ``up`` says whether the rule fires, ``scores`` are the signals that it depends on, ``mode``
    says whether it acts. ``kind`` "condition": ``name`` is a comparison in the policy language, or a flag
    that became or ceased to be undecided; ``truth`` says what it is now, ``up`` whether that is true. A
    score of None is missing.
    """

    kind: Literal["flag", "rule", "condition"]
    name: str
    up: bool
    scores: dict[str, float | None] | float | None
    mode: Mode = "enforce"
    truth: Truth = ""


NOTHING: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """A comparison or flag of the rules whose truth can change.

    ``place`` is where the key holds its value; it is undecided where one of its ``signals`` is missing, or
    one of the row's ``fixed`` numbers. ``flag``: told only where it becomes or ceases to be undecided,
    and certain where the key says so.
    """

    text: str
    place: int
    signals: Scores
    fixed: tuple[int, ...] = ()
    flag: bool = False

    def truth(self, key: Key, signals: Sequence[float], fixed: Fixed) -> Truth:
        """Return what it is now."""
        value = key[self.place]
        if self.flag and value:
            return "true"
        missing = any(math.isnan(signals[index]) for _, index in self.signals)
        if missing or any(math.isnan(fixed[index]) for index in self.fixed):
            return "undecided"
        return "true" if value else "false"

    def differs(self, old: Truth, new: Truth) -> bool:
        """Return whether that is worth telling; ``old`` is "" at the first step."""
        if self.flag:
            return (old == "undecided") != (new == "undecided")
        return old != new


def truths_of(
    told: Sequence[Told], old: Sequence[Truth], key: Key, signals: Sequence[float], fixed: Fixed
) -> tuple[tuple[Truth, ...], list[Change]]:
    """Return what each comparison is now, and how that differs from ``old``."""
    truths = tuple(entry.truth(key, signals, fixed) for entry in told)
    changes = [
        Change("condition", entry.text, now == "true", scores_of(entry.signals, signals), truth=now)
        for entry, before, now in zip(told, old, truths, strict=True)
        if before != now and entry.differs(before, now)
    ]
    return truths, changes


def scores_of(which: Scores, signals: Sequence[float]) -> dict[str, float | None]:
    """Return the signals ``which`` by name; None: missing."""
    return {
        name: score if score == score else None  # NaN is missing
        for name, index in which
        for score in (signals[index],)
    }


def differing(old: Key, new: Key, count: int) -> Iterable[int]:
    """Return at which of their first ``count`` places two keys differ."""
    if count <= _CHUNK:
        return compress(range(count), map(ne, old, new))
    found: list[int] = []
    for start in range(0, count, _CHUNK):
        end = min(start + _CHUNK, count)
        first, second = old[start:end], new[start:end]
        if first != second:
            found += compress(range(start, end), map(ne, first, second))
    return found


def with_missing(key: Key, signals: Sequence[float], used: Sequence[int]) -> Key:
    """Return ``key`` with which of the signals ``used`` are missing, for a step at which some signal is.

    So a comparison that hangs on a missing score is told at the step at which it became undecided, also
    where that changes nothing else.
    """
    return (*key, *(signals[index] != signals[index] for index in used))
