"""From the rules that hold to a plan.

Priorities decide among those that steer a vector, ``disable`` beats steering, ``revise`` beats that,
``halt`` beats all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from operator import attrgetter
from typing import TypeAlias

from guardsteer.core.plan import Plan
from guardsteer.rules.schedules import Use

__all__ = ["Action", "Claim", "claims_of", "complete_plan", "first_plan", "with_shadow"]

Claim: TypeAlias = tuple[tuple[int, ...], tuple[tuple[int, float], ...]]
"""All channels of one vector, and those of them that a rule uses, each with its signed strength."""

_RANK = attrgetter("rank")


@dataclass(frozen=True, slots=True)
class Action:
    """What a rule does on one truth value; ``rank`` orders actions, the deciding one first.

    ``disables`` holds channels. ``hold_back`` -1: none. ``clock``: which of its stage's ages tells how
    far its schedules are, -1 without schedules.
    """

    rank: int
    rule: int
    claims: tuple[Claim, ...] = ()
    uses: tuple[Use, ...] = ()
    disables: tuple[int, ...] = ()
    halts: bool = False
    revises: bool = False
    hold_back: int = -1
    clock: int = -1

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


def claims_of(uses: Sequence[Use], of_vector: Sequence[tuple[int, ...]]) -> tuple[Claim, ...]:
    """Return what the uses of one rule claim, vector by vector; of two on one channel the first counts."""
    mine: dict[tuple[int, ...], dict[int, float]] = {}
    vector_of = {channel: every for every in of_vector for channel in every}
    for use in uses:
        mine.setdefault(vector_of[use.channel], {}).setdefault(use.channel, use.strength())
    return tuple((every, tuple(pushes.items())) for every, pushes in mine.items())


def _resolve(
    fired: Iterable[Action], mine: Sequence[bool], first: Plan | None
) -> tuple[list[float], list[int], int, int, int]:
    """Decide the channels that are ``mine``; ``fired`` comes in rank order."""
    strengths, rules = [0.0] * len(mine), [-1] * len(mine)
    halt, revise, hold_back = (
        (first.halt, first.revise, first.hold_back) if first is not None else (-1, -1, -1)
    )
    disabled: set[int] = set()
    for action in fired:
        rule = action.rule
        if action.halts and halt < 0:
            halt = rule
        if action.revises and revise < 0:
            revise = rule
        if action.hold_back > hold_back:
            hold_back = action.hold_back
        for channel in action.disables:
            if mine[channel] and channel not in disabled:
                disabled.add(channel)
                strengths[channel], rules[channel] = 0.0, rule
        for every, pushes in action.claims:
            if mine[every[0]] and rules[every[0]] < 0:
                for channel in every:
                    rules[channel] = rule
                for channel, strength in pushes:
                    strengths[channel] = strength
    stopped = halt if halt >= 0 else revise
    if stopped >= 0:
        strengths = [0.0] * len(mine)
        rules = [stopped if own else -1 for own in mine]
    return strengths, rules, halt, revise if halt < 0 else -1, hold_back


def first_plan(fired: Iterable[Action], within: Sequence[bool]) -> Plan:
    """Return the plan before the pass: channels that are decided ``within`` it are left alone."""
    strengths, rules, halt, revise, hold_back = _resolve(fired, [not late for late in within], None)
    return Plan(tuple(strengths), tuple(rules), halt, revise, hold_back)


def complete_plan(
    first: Plan, fired_before: Iterable[Action], fired_within: Iterable[Action], within: Sequence[bool]
) -> Plan:
    """Return ``first`` with the channels that are decided ``within`` the pass; the others stay as they are.

    They were applied on earlier blocks already, so a ``halt`` decided here does not unmake them.
    """
    fired = merge(fired_before, fired_within, key=_RANK)
    strengths, rules, halt, revise, hold_back = _resolve(fired, within, first)
    return Plan(
        tuple(
            new if late else old for late, new, old in zip(within, strengths, first.strengths, strict=True)
        ),
        tuple(new if late else old for late, new, old in zip(within, rules, first.rules, strict=True)),
        halt,
        revise,
        hold_back,
    )


def with_shadow(plan: Plan, full: Plan) -> Plan:
    """Return ``plan`` with what it would be with the rules in shadow, where that is something else."""
    return plan if full == plan else replace(plan, shadow=full)
