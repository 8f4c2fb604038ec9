"""Uses of two vectors meet where their rules may act at once on one position, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardsteer.core.policy import Policy
from guardsteer.rules import parse_policy
from guardsteer.rules.meetings import Meetings
from tests.rules.random_policies import VECTORS, contexts, policies, signals
from tests.rules.support import outputs_of
from tests.rules.test_engine import Run

HEAD = """\
guardsteer: 1
name: meeting
context: {tier: int}
classifiers:
  intent: {use: support-intent, on: user}
  said:   {literals: [damn], on: generation}
flags:
  billing:   {signal: intent.billing, enter: 0.6}
  technical: {signal: intent.other, enter: 0.6}
  swears:    {signal: said.match, enter: 1}
vectors:
  warm: {use: warm, max_strength: 0.5, positions: [POSITIONS]}
  calm: {use: calm, max_strength: 0.5, positions: [generated]}
"""
WARM = "add: {vector: warm, strength: 0.3}"
CALM = "subtract: {vector: calm, strength: 0.2}"


def meetings(*rules: str, positions: str = "generated", tail: str = "") -> list[tuple[str, str]]:
    """Return the rules of the meetings of warm and calm."""
    listed = "".join(f"  - {{{rule}}}\n" for rule in rules)
    text = f"{HEAD.replace('POSITIONS', positions)}rules:\n{listed}{tail}fallback: 'No.'\n"
    found = list(Meetings(parse_policy(text, "p.yaml", outputs=outputs_of)).of("warm", "calm"))
    assert all((each.first.vector, each.second.vector) == ("warm", "calm") for each in found)
    return [(each.first_rule, each.second_rule) for each in found]


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("billing", "technical", True),
        ("billing", "'!billing'", False),
        ("billing && request.tier == 1", "billing && request.tier > 1", False),
        ("billing && request.tier >= 1", "billing && request.tier > 1", True),
        ("intent.billing > 0.7", "intent.billing < 0.7", False),
        ("billing", "intent.billing < 0.6", False),
        ("step < 8", "step >= 8", False),
        ("step < 8", "step >= 7", True),
    ],
)
def test_rules_that_exclude_each_other_do_not_meet(one: str, other: str, meet: bool) -> None:
    found = meetings(f"id: a, when: {one}, {WARM}", f"id: b, when: {other}, {CALM}")
    assert found == ([("a", "b")] if meet else [])


def test_two_routes_of_one_rule_never_meet_and_one_route_meets_itself() -> None:
    profiles = f"profiles:\n  one: {{{WARM}}}\n  two: {{{CALM}}}\n  both: {{{WARM}, {CALM}}}\n"
    apart = "id: r, when: 'true', route: {billing: one, technical: two, otherwise: two}"
    assert meetings(apart, tail=profiles) == []
    together = "id: r, when: 'true', route: {billing: one, technical: both}"
    assert meetings(together, tail=profiles) == [("r/technical", "r/technical")]


def test_a_rule_that_is_beaten_whenever_both_fire_does_not_meet() -> None:
    pair = (f"id: a, when: billing, {WARM}", f"id: b, when: technical, {CALM}")
    assert meetings(*pair) == [("a", "b")]
    for ends in ("disable: warm", "disable: all", "halt: true"):
        assert meetings(*pair, f"id: c, when: billing && technical, {ends}") == []
        assert meetings(*pair, f"id: c, when: billing && swears, {ends}") == [("a", "b")]
    above = "id: c, when: technical, priority: 5, add: {vector: warm, strength: 0.1}"
    assert meetings(*pair, above) == [("c", "b")]
    below = above.replace("5", "-5")
    assert ("a", "b") in meetings(*pair, below)


def test_a_protection_that_is_only_shadowed_beats_nothing() -> None:
    pair = (f"id: a, when: billing, {WARM}", f"id: b, when: technical, {CALM}")
    guard = "id: c, when: billing && technical, disable: all"
    assert meetings(*pair, guard, tail="binding: {rules: {c: shadow}}\n") == [("a", "b")]
    assert meetings(*pair, tail="binding: {rules: {a: shadow}}\n") == []
    assert meetings(*pair, tail="binding: {rules: {a: shadow, b: shadow}}\n") == [("a", "b")]
    assert meetings(*pair, tail="binding: {rules: {a: 'off', b: 'off'}}\n") == []


def test_vectors_meet_on_positions_that_both_have() -> None:
    pair = (f"id: a, when: billing, {WARM}", f"id: b, when: technical, {CALM}")
    assert meetings(*pair, positions="last_prompt_token") == []
    assert meetings(*pair, positions="last_prompt_token, generated") == [("a", "b")]
    assert meetings(*pair, positions="all") == [("a", "b")]
    text = f"{HEAD.replace('POSITIONS', 'last_prompt_token')}rules:\n  - {{{pair[0]}}}\n  - {{{pair[1]}}}\n"
    found = Meetings(parse_policy(text, "p.yaml", outputs=outputs_of)).of("warm", "calm", anywhere=True)
    assert [(each.first_rule, each.second_rule) for each in found] == [("a", "b")]
    later = (f"id: a, when: billing && step < 1, {WARM}", pair[1])
    assert meetings(*later, positions="last_prompt_token, generated") == []


def test_what_goes_on_after_a_revision_meets_what_excludes_its_condition() -> None:
    revising = f"id: a, when: swears, revise: {{tokens: 4}}, {WARM}"
    assert meetings(revising, f"id: b, when: '!swears', {CALM}") == [("a", "b")]


def test_a_rule_that_keeps_its_last_state_may_meet_what_excludes_it_when_decided() -> None:
    keeping = f"id: a, when: billing, on_error: last_state, {WARM}"
    excluded = f"id: b, when: '!billing || request.tier == 1', {CALM}"
    assert meetings(keeping, excluded) == [("a", "b")]


@settings(max_examples=300, deadline=None)
@given(policy=policies(), context=contexts, rows=st.lists(st.tuples(signals, st.integers(0, 3)), max_size=10))
def test_whatever_acts_at_once_in_a_run_was_foreseen(
    policy: Policy, context: dict[str, Any], rows: list[tuple[tuple[float, ...], int]]
) -> None:
    everywhere = tuple(replace(vector, positions=("all",)) for vector in policy.vectors)
    policy = replace(policy, vectors=everywhere)
    foreseen = {(each.first_rule, each.second_rule) for each in Meetings(policy).of(*VECTORS)}
    run = Run.of(policy, {"context": context, "overrides": {}, "mode": "enforce"}, {})
    for scores, drop in rows:
        _, plan = run.step({"signals": scores, "sentence": False})
        first, second = (
            {policy.rules[plan.rules[channel]].id for channel in channels if plan.strengths[channel]}
            for channels in run.program.of_vector
        )
        assert set(product(first, second)) <= foreseen
        if plan.revise >= 0:
            run.revise(plan.revise, drop)


def test_a_policy_of_hundreds_of_rules_is_looked_through_in_bounded_work() -> None:
    searches = 0

    def counted(*goals: Any) -> bool:
        nonlocal searches
        searches += len(goals) > 0
        return True

    rules = [
        f"  - {{id: {name}{number}, when: request.tier == {2 * number + (name == 'b')}, {use}}}\n"
        for number in range(150)
        for name, use in (("a", WARM), ("b", CALM))
    ]
    text = f"{HEAD.replace('POSITIONS', 'generated')}rules:\n{''.join(rules)}"
    found = Meetings(parse_policy(text, "p.yaml", outputs=outputs_of))
    found._worlds.impossible = counted  # type: ignore[method-assign]  # to count calls
    met = list(found.of("warm", "calm"))
    assert searches == 20_000
    assert len(met) == 150 * 150 - 20_000
