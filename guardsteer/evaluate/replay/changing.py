"""Policies that differ from the recorded one in what a counterfactual asks about."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from guardsteer.core.policy import Mode, Policy, RuleSpec, SteerSpec
from guardsteer.errors import ReplayError
from guardsteer.rules.routing import base_of

__all__ = ["UNCHANGED", "Changes", "changed"]


@dataclass(frozen=True, slots=True)
class Changes:
    """What would have been: ``without`` these rules, with these ``strengths`` by vector, or ``bare``.

    A rule that routes is named as the file has it, or route by route. A strength is in the unit that the
    policy gives it in (for ``ablate`` the share); 0 leaves the vector out. ``bare``: without the guard.
    """

    without: Sequence[str] = ()
    strengths: Mapping[str, float] = field(default_factory=dict)
    bare: bool = False

    @property
    def of_policy(self) -> bool:
        """True where the policy is to be another."""
        return bool(self.without or self.strengths)

    @property
    def name(self) -> str:
        """What is changed about the policy, in words."""
        rules = [f"without {rule}" for rule in self.without]
        return ", ".join([*rules, *(f"{vector} at {value:g}" for vector, value in self.strengths.items())])


UNCHANGED = Changes()
"""Nothing is changed."""


def changed(policy: Policy, changes: Changes) -> Policy:
    """Return ``policy`` with ``changes``; raises ``ReplayError`` with everything that does not fit it."""
    problems = [*_unknown_rules(policy, changes), *_unfit_strengths(policy, changes)]
    if problems:
        raise ReplayError("\n".join(problems))
    off: dict[str, Mode] = {rule.id: "off" for rule in policy.rules if _named(rule, changes.without)}
    held = dict(policy.binding.rules) | off
    rules = tuple(_rule(rule, changes.strengths) for rule in policy.rules)
    return replace(policy, rules=rules, binding=replace(policy.binding, rules=tuple(held.items())))


def _named(rule: RuleSpec, names: Sequence[str]) -> bool:
    return rule.id in names or base_of(rule.id) in names


def _unknown_rules(policy: Policy, changes: Changes) -> list[str]:
    known = {rule.id for rule in policy.rules} | {base_of(rule.id) for rule in policy.rules}
    listed = ", ".join(rule.id for rule in policy.rules)
    return [
        f"without {name!r}: the recorded policy {policy.name} has no such rule; it has {listed}"
        for name in changes.without
        if name not in known
    ]


def _unfit_strengths(policy: Policy, changes: Changes) -> list[str]:
    problems = []
    uses = [steer for rule in policy.rules for steer in rule.steer]
    for vector, strength in changes.strengths.items():
        mine = {steer.operator for steer in uses if steer.vector == vector}
        what = f"strength {vector}={strength:g}"
        if not mine:
            listed = ", ".join(sorted({steer.vector for steer in uses})) or "none"
            problems.append(f"{what}: no rule of the recorded policy uses such a vector; they use {listed}")
        elif not math.isfinite(strength) or strength < 0:
            problems.append(f"{what}: expected 0 or more; whether it is added or subtracted stays the rule's")
        elif strength and "clamp" in mine:
            problems.append(f"{what}: a clamp has bounds and no strength; 0 leaves it out")
        elif strength > 1 and "ablate" in mine:
            problems.append(f"{what}: an ablation takes a share, 0 to 1")
    return problems


def _rule(rule: RuleSpec, strengths: Mapping[str, float]) -> RuleSpec:
    if not any(steer.vector in strengths for steer in rule.steer):
        return rule
    steer = tuple(_steer(each, strengths) for each in rule.steer if strengths.get(each.vector) != 0)
    return replace(rule, steer=steer)


def _steer(each: SteerSpec, strengths: Mapping[str, float]) -> SteerSpec:
    if each.vector not in strengths:
        return each
    return replace(each, strength=strengths[each.vector], alpha=None)
