"""What happens where something turned: bits, ages of schedules, actions, and what to tell of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import NamedTuple, TypeAlias

from guardsteer.core.policy import Mode, ReviseSpec
from guardsteer.rules.cells import Grid
from guardsteer.rules.codegen import Decide, Fixed, Key, Sense, State
from guardsteer.rules.planning import Action, Actions, Fired
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
    fire or not, as number, name and signals (None: another bit of the same rule does). ``steers`` says
    which bit is a rule's steering, ``clocks`` which bits have schedules, ``used`` which signals count.
    ``grid`` says between which scores nothing can turn, None where that depends on more.
    """

    sense: Sense
    decide: Decide
    initial: State
    width: int
    late: bool
    flags: tuple[tuple[int, str], ...]
    rules: tuple[tuple[int, str, Scores] | None, ...]
    actions: Actions
    steers: Mapping[int, int]
    clocks: tuple[int, ...]
    told: tuple[Told, ...]
    used: tuple[int, ...]
    grid: Grid | None


@dataclass(frozen=True, slots=True)
class Setup:
    """What is fixed for a row, and shared by its forks until a rule has taken text back once more.

    ``before`` and ``within`` are the stages' actions at this row's strengths; ``shadowed`` holds the rules
    that have no effect.
    """

    fixed: Fixed
    before: Actions
    within: Actions
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

        before, within = (
            part._replace(guarding=tuple(map(without, part.guarding))) for part in (self.before, self.within)
        )
        return replace(self, before=before, within=within)


class Turned(NamedTuple):
    """A stage as it was left when something last turned in it.

    ``key`` is the whole key, ``base`` its part that rules read. ``bits`` say which conditions hold,
    ``acting`` which actions act; ``steering`` is what those that steer do now. ``moving``: the next step
    has to look again though the key may be the same.
    """

    early: Key
    key: Key | None
    base: Key
    bits: Key
    acting: Key
    ages: tuple[Age, ...]
    steering: tuple[Action, ...]
    truths: tuple[Truth, ...]
    moving: bool

    @classmethod
    def initial(cls, stage: Stage) -> Turned:
        """Return a stage that has seen nothing."""
        nothing = (False,) * len(stage.rules)
        ages: tuple[Age, ...] = (None,) * len(stage.clocks)
        unknown: Truth = ""
        return cls(
            (), None, (False,) * stage.width, nothing, (), ages, (), (unknown,) * len(stage.told), False
        )

    def fired(self, actions: Actions) -> Fired:
        """Return what acts; its parts can be read once."""
        guarding = actions.guarding
        return Fired(
            compress(self.steering, self.acting),
            compress(guarding, self.acting[-len(guarding) :]) if guarding else (),
        )


class Moment(NamedTuple):
    """A step as a stage sees it; ``early`` is what was decided before the pass, for the stage within it."""

    step: int
    sentences: int
    signals: Sequence[float]
    early: Key
    key: Key


def turn(
    stage: Stage, setup: Setup, old: Turned, now: Moment, revisions: Revisions
) -> tuple[Turned, Sequence[Change]]:
    """Return what the stage came to, and what changed."""
    _, sentences, signals, early, key = now
    changes: Sequence[Change] = NOTHING
    bits, base, truths = old.bits, old.base, old.truths
    if key != old.key or early != old.early:
        base = key if len(key) == stage.width else key[: stage.width]
        if stage.late:
            bits = stage.decide(early, base, setup.fixed, old.bits)
        else:
            bits = stage.decide(base, (), setup.fixed, old.bits)
        changes = _changes(stage, setup, old, base, bits, signals)
        if setup.explain:
            truths, more = truths_of(stage.told, old.truths, base, signals, setup.fixed)
            changes = [*more, *changes]
    acting, moving = (bits, False) if not revisions else _forced(stage, bits, now.step, revisions)
    ages, steering = old.ages, (setup.within if stage.late else setup.before).steering
    if ages:
        ages = tuple(_aged(age, acting[bit], sentences) for age, bit in zip(ages, stage.clocks, strict=True))
        steering, changing = _scheduled(steering, stage.clocks, ages, sentences)
        moving = moving or changing
    return Turned(early, key, base, bits, acting, ages, steering, truths, moving), changes


def _changes(
    stage: Stage, setup: Setup, old: Turned, base: Key, bits: Key, signals: Sequence[float]
) -> list[Change]:
    found: list[Change] = []
    flags, shadowed = stage.flags, setup.shadowed
    for place in differing(old.base, base, len(flags)):
        signal, name = flags[place]
        score = signals[signal]
        # Made without the help of its own constructor, which costs more than all the rest of this.
        found.append(_new(Change, ("flag", name, base[place], score if score == score else None, *_PLAINLY)))
    if bits == old.bits:
        return found
    for bit in differing(old.bits, bits, len(bits)):
        rule = stage.rules[bit]
        if rule is not None:
            number, name, which = rule
            scores = scores_of(which, signals)
            how = _SHADOWED if number in shadowed else _PLAINLY
            found.append(_new(Change, ("rule", name, bits[bit], scores, *how)))
    return found


_new = tuple.__new__
_PLAINLY: tuple[Mode, Truth] = ("enforce", "")
_SHADOWED: tuple[Mode, Truth] = ("shadow", "")


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
    steering: tuple[Action, ...], clocks: Sequence[int], ages: Sequence[Age], sentences: int
) -> tuple[tuple[Action, ...], bool]:
    """Return the actions as their schedules have them now, and whether one is still in motion."""
    found, moving = list(steering), False
    for bit, age in zip(clocks, ages, strict=True):
        if age is not None:
            ended = sentences > age[1]
            found[bit] = steering[bit].at(age[0], ended)
            moving = moving or not steering[bit].rests(age[0], ended)
    return tuple(found), moving
