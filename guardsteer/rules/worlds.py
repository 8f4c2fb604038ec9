"""What can be true at once: a bounded search over what conditions tell apart.

A *world* gives each name that some conditions read a value, or says that it is missing. Numbers are
represented by the thresholds they are compared with and one value between each two; a comparison of two
names by which of them is greater. So there are finitely many worlds, each real situation looks like one
of them to the conditions, and what holds in none of them never holds. The reverse is not promised:
names that depend on one another in ways not modelled here make for worlds that never come about.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from guardsteer.core.policy import FlagSpec, Policy
from guardsteer.rules.readings import Name, Question, Reading, World, at_least

__all__ = ["Goal", "Worlds"]

_MOST_TRIED = 4_000

Goal: TypeAlias = tuple[Reading, int]
"""A condition, and the truth values that are wanted of it."""


class Worlds:
    """Answers what conditions of one policy can be at once."""

    def __init__(self, policy: Policy) -> None:
        self._flags: dict[Name, FlagSpec] = {("flag", flag.name): flag for flag in policy.flags}

    def family(self, name: Name) -> Name:
        """Return the signal on which a flag depends in a way that the search knows, else ``name``."""
        flag = self._flags.get(name)
        return ("signal", flag.signal) if flag is not None and _follows(flag) else name

    def impossible(self, *goals: Goal) -> bool:
        """Return True only if in no situation all ``goals`` are reached at once."""
        search = _Search(self._flags, goals)
        return search.world() is None and not search.gave_up

    def witness(self, *goals: Goal) -> World | None:
        """Return a world in which all ``goals`` are reached, None where none was found."""
        return _Search(self._flags, goals).world()


class _Search:
    """Depth first, signals before flags, so that whatever is consistent so far can be completed."""

    def __init__(self, flags: Mapping[Name, FlagSpec], goals: Sequence[Goal]) -> None:
        self.goals = [(reading.truths, wanted) for reading, wanted in goals]
        self.gave_up = False
        self.tried = 0
        tests: dict[Name, list[Question]] = {}
        for reading, _ in goals:
            for test in reading.tests:
                tests.setdefault(test.name, []).append(test)
        self.followers = _followers(flags, tests)
        for signal, mine in self.followers.items():
            tests.setdefault(signal, []).extend(_threshold_tests(signal, mine))
        self.names = sorted(tests, key=lambda name: (name[0] != "signal", -len(tests[name]), name))
        self.values = [_representatives(name, tests[name]) for name in self.names]
        self.bound: dict[Name, FlagSpec] = {
            ("flag", flag.name): flag for mine in self.followers.values() for flag in mine
        }

    def world(self) -> World | None:
        world: dict[Name, Any] = {}
        return world if self._extend(world, 0) else None

    def _extend(self, world: dict[Name, Any], depth: int) -> bool:
        reached = True
        for truths, wanted in self.goals:
            open_truths = truths(world)
            if not open_truths & wanted:
                return False
            reached = reached and not open_truths & ~wanted
        if reached:
            return True
        if depth == len(self.names):
            return False
        name = self.names[depth]
        for value in self.values[depth]:
            self.tried += 1
            if self.tried > _MOST_TRIED:
                self.gave_up = True
                return False
            flag = self.bound.get(name)
            if flag is not None and not _fits(flag, value, world["signal", flag.signal]):
                continue
            world[name] = value
            if self._extend(world, depth + 1):
                return True
            del world[name]
        return False


def _follows(flag: FlagSpec) -> bool:
    """Return whether a flag's state says something about the score of the moment."""
    plain = flag.smooth is None and flag.per == "token"
    return plain and not flag.latch and flag.hold <= 1


def _fits(flag: FlagSpec, up: bool | None, score: float | None) -> bool:
    if up is None or score is None:
        return up is None and score is None
    if up:
        return score >= flag.exit
    return score < flag.enter or flag.after > 1 or flag.cooldown > 0


def _followers(flags: Mapping[Name, FlagSpec], names: Iterable[Name]) -> dict[Name, list[FlagSpec]]:
    """Return the flags to hold to their signals: where a signal is read too, or two flags of it."""
    known = set(names)
    found: dict[Name, list[FlagSpec]] = {}
    for name, flag in flags.items():
        if name in known and _follows(flag):
            found.setdefault(("signal", flag.signal), []).append(flag)
    return {signal: mine for signal, mine in found.items() if len(mine) > 1 or signal in known}


def _threshold_tests(signal: Name, flags: Sequence[FlagSpec]) -> Iterable[Question]:
    for flag in flags:
        for bound in (flag.enter, flag.exit):
            yield at_least(signal, bound)


def _representatives(name: Name, tests: Sequence[Question]) -> list[Any]:
    """Return one value of each kind that the tests tell apart, missing last."""
    kept: dict[tuple[int, ...], Any] = {}
    for value in _candidates(name, tests):
        kept.setdefault(tuple(test.truth(value) for test in tests), value)
    return list(kept.values())


def _candidates(name: Name, tests: Sequence[Question]) -> list[Any]:
    constants = sorted({constant for test in tests for constant in test.constants}, key=_order)
    if name[0] == "pair":
        return ["<", "=", ">", None]
    if name[0] == "step":
        return [value for value in _whole_numbers(constants) if value >= 0]
    if name[0] == "signal":
        inside = [value for value in constants if 0 <= value <= 1]
        return [0.0, 1.0, *inside, *_between([0.0, *inside, 1.0]), None]
    kind = tests[0].kind
    if kind == "string":
        return [*constants, "".join(constants) + "?", None]
    if kind == "int":
        return [*_whole_numbers(constants), None]
    if kind == "float":
        return [*constants, *_between(constants), *_beyond(constants), *_whole_numbers(constants), None]
    return [True, False, None]


def _order(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value


def _whole_numbers(constants: Sequence[float]) -> list[int]:
    around = {
        number + extra for c in constants for number in (math.floor(c), math.ceil(c)) for extra in (-1, 0, 1)
    }
    return sorted(around | {0, 1})


def _between(constants: Sequence[float]) -> list[float]:
    middles = [(low, low + (high - low) / 2, high) for low, high in pairwise(constants)]
    return [middle for low, middle, high in middles if low < middle < high]


def _beyond(constants: Sequence[float]) -> list[float]:
    if not constants:
        return [0.0]
    return [math.nextafter(constants[0], -math.inf), math.nextafter(constants[-1], math.inf)]
