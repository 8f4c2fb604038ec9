"""What happens where something turned: bits, ages of schedules, actions, and what to tell of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import NamedTuple, TypeAlias

from guardsteer.core.policy import Mode, ReviseSpec
from guardsteer.rules.codegen import Decide, Fixed, Key, Sense, State
from guardsteer.rules.planning import Action
from guardsteer.rules.telling import (
    NOTHING,
    Change,
    Scores,
    Told,
    Truth,
    differing,
    scores_of,
    truths_of,
)

__all__ = ["Moment", "Revisions", "Setup", "Stage", "Turned", "turn"]

Age: TypeAlias = tuple[int, int] | None
"""Steps since a rule's steering began to act, and how many sentences had ended then."""

Revisions: TypeAlias = Mapping[int, tuple[int, float]]
"""For each rule that took text back: how often, and up to which step its steering acts whatever holds."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The flags and rules that are decided together: before the pass, or within it.

    ``flags`` holds the signal's index and the name of each flag, in the order of the key's first places.
    ``actions`` and ``rules`` go with the decided bits: what each sets off, and which rule it says to
    fire or not (-1: another bit of the same rule does). ``steers`` says which bit is a rule's steering,
    ``clocks`` which bits have schedules, ``used`` which signals count.
    """

    sense: Sense
    decide: Decide
    initial: State
    width: int
    late: bool
    flags: tuple[tuple[int, str], ...]
    rules: tuple[int, ...]
    actions: tuple[Action, ...]
    steers: Mapping[int, int]
    clocks: tuple[int, ...]
    told: tuple[Told, ...]
    used: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Setup:
    """What is fixed for a row, and shared by its forks until a rule has taken text back once more.

    ``before`` and ``within`` are the stages' actions at this row's strengths; ``shadowed`` holds the rules
    that have no effect.
    """

    fixed: Fixed
    before: tuple[Action, ...]
    within: tuple[Action, ...]
    shadowed: frozenset[int]
    explain: bool

    def spent(self, revises: Mapping[int, ReviseSpec], revisions: Revisions) -> Setup:
        """Return the setup in which rules with no revisions left do what comes instead."""
        done = {
            rule: revises[rule].then for rule, (count, _) in revisions.items() if count >= revises[rule].most
        }

        def without(action: Action) -> Action:
            if not action.revises or action.rule not in done:
                return action
            return replace(action, revises=False, halts=action.halts or done[action.rule] == "halt")

        return replace(self, before=tuple(map(without, self.before)), within=tuple(map(without, self.within)))


class Turned(NamedTuple):
    """A stage as it was left when something last turned in it.

    ``key`` is the whole key, ``base`` its part that rules read. ``moving``: the next step has to look
    again though the key may be the same.
    """

    early: Key
    key: Key | None
    base: Key
    bits: Key
    ages: tuple[Age, ...]
    fired: tuple[Action, ...]
    truths: tuple[Truth, ...]
    moving: bool

    @classmethod
    def initial(cls, stage: Stage) -> Turned:
        """Return a stage that has seen nothing."""
        nothing = (False,) * len(stage.actions)
        unknown: Truth = ""
        return cls(
            (),
            None,
            (False,) * stage.width,
            nothing,
            (None,) * len(stage.clocks),
            (),
            (unknown,) * len(stage.told),
            False,
        )


class Moment(NamedTuple):
    """A step as a stage sees it; ``early`` is what was decided before the pass, for the stage within it."""

    step: int
    sentences: int
    signals: Sequence[float]
    early: Key
    key: Key


def turn(
    stage: Stage,
    setup: Setup,
    old: Turned,
    now: Moment,
    revisions: Revisions,
    names: tuple[tuple[str, ...], tuple[Scores, ...]],
) -> tuple[Turned, Sequence[Change]]:
    """Return what the stage came to and what changed; ``names`` are the rules' ids and signals."""
    changes: Sequence[Change] = NOTHING
    bits, base = old.bits, old.base
    truths = old.truths
    if now.key != old.key or now.early != old.early:
        base = now.key if len(now.key) == stage.width else now.key[: stage.width]
        first = (now.early, base) if stage.late else (base, ())
        bits = stage.decide(*first, setup.fixed, old.bits)
        changes = _changes(stage, setup, (old.base, base), (old.bits, bits), now.signals, names)
        if setup.explain:
            truths, more = truths_of(stage.told, old.truths, base, now.signals, setup.fixed)
            changes = [*more, *changes]
    acting, moving = (bits, False) if not revisions else _forced(stage, bits, now.step, revisions)
    actions = setup.within if stage.late else setup.before
    ages = old.ages
    fired = tuple(compress(actions, acting))
    if stage.clocks:
        ages = tuple(
            _aged(age, acting[bit], now.sentences) for age, bit in zip(ages, stage.clocks, strict=True)
        )
        fired, changing = _scheduled(fired, ages, now.sentences)
        moving = moving or changing
    return Turned(now.early, now.key, base, bits, ages, fired, truths, moving), changes


def _changes(
    stage: Stage,
    setup: Setup,
    bases: tuple[Key, Key],
    bits: tuple[Key, Key],
    signals: Sequence[float],
    names: tuple[tuple[str, ...], tuple[Scores, ...]],
) -> list[Change]:
    found: list[Change] = []
    count = len(stage.flags)
    for place in differing(bases[0][:count], bases[1][:count]):
        signal, name = stage.flags[place]
        score = signals[signal]
        found.append(Change("flag", name, bases[1][place], None if math.isnan(score) else score))
    if bits[0] == bits[1]:
        return found
    ids, scores = names
    for bit in differing(*bits):
        rule = stage.rules[bit]
        if rule >= 0:
            mode: Mode = "shadow" if rule in setup.shadowed else "enforce"
            up = bits[1][bit]
            found.append(Change("rule", ids[rule], up, scores_of(scores[rule], signals), mode))
    return found


def _forced(stage: Stage, bits: Key, step: int, revisions: Revisions) -> tuple[Key, bool]:
    """Return the bits with the steering of rules that took text back, and whether that ends some time."""
    acting, ends = list(bits), False
    for rule, (_, until) in revisions.items():
        bit = stage.steers.get(rule)
        if bit is not None and step <= until:
            acting[bit] = True
            ends = ends or until != math.inf
    return tuple(acting), ends


def _aged(age: Age, acts: bool, sentences: int) -> Age:
    if not acts:
        return None
    return (0, sentences) if age is None else (age[0] + 1, age[1])


def _scheduled(
    fired: tuple[Action, ...], ages: tuple[Age, ...], sentences: int
) -> tuple[tuple[Action, ...], bool]:
    """Return the actions as their schedules have them now, and whether one is still in motion."""
    found, moving = [], False
    for action in fired:
        age = ages[action.clock] if action.clock >= 0 else None
        if age is None:
            found.append(action)
            continue
        ended = sentences > age[1]
        found.append(action.at(age[0], ended))
        moving = moving or not action.rests(age[0], ended)
    return tuple(found), moving
