"""From the rules that hold to a plan: priorities, ``disable`` over steering, ``halt`` over all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import merge
from operator import attrgetter

from guardsteer.core.plan import Plan

__all__ = ["Action", "complete_plan", "first_plan"]

_RANK = attrgetter("rank")


@dataclass(frozen=True, slots=True)
class Action:
    """What a rule does on one truth value; ``rank`` orders actions, the deciding one first.

    ``steers`` holds vector and signed strength, ``disables`` vectors, both by index.
    """

    rank: int
    rule: int
    steers: tuple[tuple[int, float], ...] = ()
    disables: tuple[int, ...] = ()
    halts: bool = False


def _resolve(
    fired: Iterable[Action], mine: Sequence[bool], halted_by: int
) -> tuple[list[float], list[int], int]:
    """Decide the vectors that are ``mine``; ``fired`` comes in rank order."""
    strengths, rules = [0.0] * len(mine), [-1] * len(mine)
    disabled: set[int] = set()
    halt = halted_by
    for action in fired:
        if action.halts and halt < 0:
            halt = action.rule
        for vector in action.disables:
            if mine[vector] and vector not in disabled:
                disabled.add(vector)
                strengths[vector], rules[vector] = 0.0, action.rule
        for vector, strength in action.steers:
            if mine[vector] and rules[vector] < 0:
                strengths[vector], rules[vector] = strength, action.rule
    if halt >= 0:
        strengths = [0.0] * len(mine)
        rules = [halt if own else -1 for own in mine]
    return strengths, rules, halt


def first_plan(fired: Iterable[Action], within: Sequence[bool]) -> Plan:
    """Return the plan before the pass: vectors that are decided ``within`` it are left alone."""
    strengths, rules, halt = _resolve(fired, [not late for late in within], -1)
    return Plan(tuple(strengths), tuple(rules), halt)


def complete_plan(
    first: Plan, fired_before: Iterable[Action], fired_within: Iterable[Action], within: Sequence[bool]
) -> Plan:
    """Return ``first`` with the vectors that are decided ``within`` the pass; the others stay as they are.

    They were applied on earlier blocks already, so a ``halt`` decided here does not unmake them.
    """
    fired = merge(fired_before, fired_within, key=_RANK)
    strengths, rules, halt = _resolve(fired, within, first.halt)
    return Plan(
        tuple(
            new if late else old for late, new, old in zip(within, strengths, first.strengths, strict=True)
        ),
        tuple(new if late else old for late, new, old in zip(within, rules, first.rules, strict=True)),
        halt,
    )
