"""From the rules that hold to a plan.

Priorities decide among those that steer a vector, ``disable`` beats steering, ``revise`` beats that,
``halt`` beats all.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from guardsteer.core.plan import Plan
from guardsteer.rules.schedules import Use

__all__ = ["Action", "Actions", "Claim", "Fired", "claims_of", "complete_plan", "first_plan", "with_shadow"]

Claim: TypeAlias = tuple[tuple[int, ...], tuple[tuple[int, float], ...]]
"""All channels of one vector, and those of them that a rule uses, each with its signed strength."""

_RANK = attrgetter("rank")


@dataclass(frozen=True, slots=True)
class Action:
    """What a rule does on one truth value; ``rank`` orders actions, the deciding one first.

    It either steers, by ``claims`` made from ``uses``, or guards: ``disables`` holds channels,
    ``hold_back`` is -1 for none.
    """

    rank: int
    rule: int
    claims: tuple[Claim, ...] = ()
    uses: tuple[Use, ...] = ()
    disables: tuple[int, ...] = ()
    halts: bool = False
    revises: bool = False
    hold_back: int = -1

    def at(self, age: int, ended: bool) -> Action:
        """Return the action with the strengths that its schedules give at this age."""
        strengths = {use.channel: use.strength(age, ended) for use in reversed(self.uses)}
        claims = tuple(
            (every, tuple((channel, strengths[channel]) for channel, _ in pushes))
            for every, pushes in self.claims
        )
        return self if claims == self.claims else replace(self, claims=claims)

    def rests(self, age: int, ended: bool) -> bool:
        """Return whether ``at`` gives the same from this age on."""
        return all(use.rests(age, ended) for use in self.uses)

    def overridden(self, strengths: dict[int, float], of_vector: Sequence[tuple[int, ...]]) -> Action:
        """Return the action with other strengths for the vectors of these channels."""
        if not any(use.channel in strengths for use in self.uses):
            return self
        uses = tuple(
            use.overridden(strengths[use.channel]) if use.channel in strengths else use for use in self.uses
        )
        return replace(self, uses=uses, claims=claims_of(uses, of_vector))


class Actions(NamedTuple):
    """What the bits of a stage set off, in their order: first those that steer, then those that guard."""

    steering: tuple[Action, ...] = ()
    guarding: tuple[Action, ...] = ()


class Fired(NamedTuple):
    """The actions whose bits are set, both in rank order."""

    steering: Iterable[Action]
    guarding: Iterable[Action]

    def without(self, rules: Container[int]) -> Fired:
        """Return those of other rules."""
        return Fired(*([action for action in part if action.rule not in rules] for part in self))


def claims_of(uses: Sequence[Use], of_vector: Sequence[tuple[int, ...]]) -> tuple[Claim, ...]:
    """Return what the uses of one rule claim, vector by vector; of two on one channel the first counts."""
    mine: dict[tuple[int, ...], dict[int, float]] = {}
    vector_of = {channel: every for every in of_vector for channel in every}
    for use in uses:
        mine.setdefault(vector_of[use.channel], {}).setdefault(use.channel, use.strength())
    return tuple((every, tuple(pushes.items())) for every, pushes in mine.items())


def _resolve(fired: Fired, mine: Sequence[bool], first: Plan) -> Plan:
    """Decide the channels that are ``mine``; the others stay as in ``first``."""
    strengths, rules = list(first.strengths), list(first.rules)
    halt, revise, hold_back = first.halt, first.revise, first.hold_back
    left = sum(mine)
    for action in fired.guarding:
        if action.halts and halt < 0:
            halt = action.rule
        if action.revises and revise < 0:
            revise = action.rule
        if action.hold_back > hold_back:
            hold_back = action.hold_back
        for channel in action.disables:
            if rules[channel] < 0 and mine[channel]:
                rules[channel] = action.rule
                left -= 1
    stopped = halt if halt >= 0 else revise
    if stopped >= 0:
        strengths = [0.0 if own else old for own, old in zip(mine, first.strengths, strict=True)]
        rules = [stopped if own else old for own, old in zip(mine, first.rules, strict=True)]
        return Plan(tuple(strengths), tuple(rules), halt, revise if halt < 0 else -1, hold_back)
    for action in fired.steering if left else ():
        for every, pushes in action.claims:
            if rules[every[0]] < 0 and mine[every[0]]:
                for channel in every:
                    rules[channel] = action.rule
                for channel, strength in pushes:
                    strengths[channel] = strength
                left -= len(every)
        if not left:
            break
    return Plan(tuple(strengths), tuple(rules), halt, revise, hold_back)


def first_plan(fired: Fired, mine: Sequence[bool], idle: Plan) -> Plan:
    """Return the plan before the pass; channels that are not ``mine`` stay as in ``idle``."""
    return _resolve(fired, mine, idle)


def complete_plan(first: Plan, before: Fired, within: Fired, mine: Sequence[bool]) -> Plan:
    """Return ``first`` with the channels that are ``mine``, which are decided within the pass.

    The others stay as they are: they were applied on earlier blocks already, so a ``halt`` decided here
    does not unmake them.
    """
    steering = merge(before.steering, within.steering, key=_RANK)
    guarding = merge(before.guarding, within.guarding, key=_RANK)
    return _resolve(Fired(steering, guarding), mine, first)


def with_shadow(plan: Plan, full: Plan) -> Plan:
    """Return ``plan`` with what it would be with the rules in shadow, where that is something else."""
    return plan if full == plan else replace(plan, shadow=full)
