"""Strengths that go with the age of what they belong to, and text that is taken back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.core.plan import Plan
from guardsteer.core.policy import (
    FlagSpec,
    ReviseSpec,
    RuleSpec,
    ScheduleSpec,
    SteerSpec,
    VectorSpec,
)
from guardsteer.rules import Program, compile_policy
from guardsteer.rules.schedules import Use
from tests.rules.random_policies import OUTPUTS, policy_of, schedules

UP, DOWN = (1.0, 0.0, 0.0), (0.0, 0.0, 0.0)


def program_of(*rules: RuleSpec, **fields: Any) -> Program:
    """Return the program of these rules; ``f`` is up while the first score is at least a half."""
    flag = FlagSpec("f", "s.a", 0.5, 0.5)
    return compile_policy(policy_of(flags=(flag,), rules=rules, **fields), OUTPUTS)


def steer(schedule: ScheduleSpec | None = None, operator: Any = "add", **fields: Any) -> SteerSpec:
    return SteerSpec("v0", operator, **{"strength": 0.8, **fields}, schedule=schedule)


@pytest.mark.parametrize(
    ("schedule", "most", "expected"),
    [
        (ScheduleSpec(), None, [0.8] * 6),
        (ScheduleSpec(ramp=4), None, [0.2, 0.4, 0.6, 0.8, 0.8, 0.8]),
        (ScheduleSpec(ramp=1), None, [0.8] * 6),
        (ScheduleSpec(half_life=1), None, [0.8, 0.4, 0.2, 0.1, 0.05, 0.025, 0.0125, 0.0, 0.0]),
        (ScheduleSpec(every=2, by=0.1), 1.0, [0.8, 0.8, 0.9, 0.9, 1.0, 1.0, 1.0]),
        (ScheduleSpec(every=1, by=0.1), None, [0.8, 0.9, 1.0, 1.1, 1.2]),
        (ScheduleSpec(ramp=2, half_life=1), None, [0.4, 0.4, 0.2, 0.1]),
        (ScheduleSpec(ramp=2, every=2, by=0.2), None, [0.4, 0.8, 1.0, 1.0, 1.2]),
    ],
)
def test_a_strength_goes_with_its_age(
    schedule: ScheduleSpec, most: float | None, expected: list[float]
) -> None:
    vectors = (VectorSpec("v0", "v", max_strength=most), VectorSpec("v1", "v"))
    row = program_of(RuleSpec("r", "f", steer=(steer(schedule),)), vectors=vectors).start()
    assert [row.before(UP).strengths[0] for _ in expected] == pytest.approx(expected)


def test_a_schedule_begins_anew_when_its_rule_fires_again() -> None:
    row = program_of(RuleSpec("r", "f", steer=(steer(ScheduleSpec(ramp=2)),))).start()
    found = [row.before(signals).strengths[0] for signals in (UP, UP, DOWN, UP, UP)]
    assert found == [0.4, 0.8, 0.0, 0.4, 0.8]


def test_a_schedule_goes_on_while_another_rule_decides_its_vector() -> None:
    """Its age is that of its rule's steering, not of what came of it."""
    ramp = RuleSpec("ramp", "f", steer=(steer(ScheduleSpec(ramp=4)),))
    over = RuleSpec("over", "step == 1", priority=1, steer=(steer(operator="subtract"),))
    row = program_of(ramp, over).start()
    assert [row.before(UP).strengths[0] for _ in range(4)] == pytest.approx([0.2, -0.8, 0.6, 0.8])


def test_until_the_sentence_ends_in_which_the_rule_fired() -> None:
    program = program_of(RuleSpec("r", "f", steer=(steer(ScheduleSpec(until_sentence_end=True)),)))
    assert program.needs_sentences
    row = program.start()
    told = [(DOWN, 0), (UP, 1), (UP, 1), (UP, 2), (UP, 2), (DOWN, 2), (UP, 2), (UP, 3)]
    found = [row.before(signals, sentences).strengths[0] for signals, sentences in told]
    assert found == [0.0, 0.8, 0.8, 0.0, 0.0, 0.0, 0.8, 0.0]


def test_only_what_counts_sentences_needs_them() -> None:
    plain = RuleSpec("r", "f", steer=(steer(ScheduleSpec(ramp=2)),))
    assert not program_of(plain).needs_sentences
    assert program_of(RuleSpec("r", "f", revise=ReviseSpec())).needs_sentences
    assert not program_of(RuleSpec("r", "f", revise=ReviseSpec(tokens=3))).needs_sentences


def test_shares_go_to_one_and_a_clamp_acts_until_its_strength_is_spent() -> None:
    program = program_of(
        RuleSpec("r", "f", steer=(steer(ScheduleSpec(every=1, by=0.15), "ablate"),)),
        RuleSpec(
            "c",
            "f",
            steer=(SteerSpec("v1", "clamp", low=0.0, schedule=ScheduleSpec(half_life=0.3)),),
        ),
    )
    row = program.start()
    found = [row.before(UP).strengths for _ in range(4)]
    assert [strengths[0] for strengths in found] == pytest.approx([0.8, 0.95, 1.0, 1.0])
    assert [strengths[1] for strengths in found] == [1.0, 1.0, 0.0, 0.0]


@given(schedules, st.sampled_from([0.1, 0.5]))
def test_a_schedule_at_rest_stays_there(schedule: ScheduleSpec, most: float) -> None:
    """So a strength takes finitely many values, and a row at rest need not look again."""
    use = Use.of(SteerSpec("v0", "subtract", strength=0.1, schedule=schedule), 0, 0.1, most)
    for ended in (False, True):
        ages = range(200)
        resting = next((age for age in ages if use.rests(age, ended)), None)
        if schedule.until_sentence_end and not ended and schedule.half_life is None:
            assert resting is None
        else:
            assert resting is not None
            assert {use.strength(age, ended) for age in range(resting, 200)} == {use.strength(resting, ended)}


def test_at_rest_the_same_plan_comes_back_without_another_look() -> None:
    row = program_of(RuleSpec("r", "f", steer=(steer(ScheduleSpec(ramp=3)),))).start()
    first, second, third, fourth, fifth = (row.before(UP) for _ in range(5))
    assert first != second != third
    assert third is fourth is fifth
    assert row._before_key is not None


def test_between_two_values_the_same_plan_comes_back() -> None:
    row = program_of(RuleSpec("r", "f", steer=(steer(ScheduleSpec(every=3, by=0.1)),))).start()
    plans = [row.before(UP) for _ in range(6)]
    assert plans[0] is plans[1] is plans[2] is not plans[3]
    assert plans[3] is plans[4] is plans[5]


REVISE = RuleSpec(
    "back",
    "f",
    steer=(steer(),),
    revise=ReviseSpec(tokens=2, most=2, steps=2, then="halt"),
)


def test_what_was_taken_back_is_written_again_under_the_rules_steering() -> None:
    row = program_of(REVISE).start()
    kept = [row.fork()]
    for signals in (DOWN, DOWN, DOWN, UP):
        plan = row.before(signals)
        kept.append(row.fork())
    assert plan == Plan((0.0, 0.0), (0, 0), revise=0)
    back = kept[2]
    back.take_revisions(row)
    back.revised(0)
    found = [back.before(DOWN) for _ in range(4)]
    assert [plan.strengths[0] for plan in found] == [0.8, 0.8, 0.0, 0.0]
    assert found[0].rules == (0, -1)
    assert found[0] is found[1]


def test_after_the_last_revision_the_condition_halts_or_only_steers() -> None:
    for then in ("halt", "continue"):
        spec = ReviseSpec(tokens=1, most=2, steps=None, then=then)
        row = program_of(RuleSpec("back", "f", steer=(steer(),), revise=spec)).start()
        found = []
        for _ in range(3):
            kept = row.fork()
            plan = row.before(UP)
            found.append((plan.revise, plan.halt))
            if plan.revise >= 0:
                kept.take_revisions(row)
                kept.revised(plan.revise)
                row = kept
        assert found == [(0, -1), (0, -1), (-1, 0) if then == "halt" else (-1, -1)]
        assert row.before(DOWN).strengths[0] == 0.8


def test_step_numbers_go_on_over_a_revision() -> None:
    late = RuleSpec("late", "step >= 4", steer=(SteerSpec("v1", "add", strength=1.0),))
    row = program_of(REVISE, late).start()
    kept = row.fork()
    for signals in (DOWN, DOWN, DOWN, UP):
        row.before(signals)
    kept.take_revisions(row)
    kept.revised(0)
    assert kept.before(DOWN).strengths == (0.8, 1.0)


def test_only_a_rule_that_takes_text_back_can_have_done_so() -> None:
    row = program_of(RuleSpec("r", "f", steer=(steer(),)), REVISE).start()
    with pytest.raises(ValueError, match="rule number 0"):
        row.revised(0)


def test_halt_beats_revise_and_revise_beats_disable_and_steering() -> None:
    rules = (
        RuleSpec("push", "true", priority=9, steer=(steer(),)),
        RuleSpec("mute", "s.b > 0.5", disable=("v0",)),
        RuleSpec("back", "s.a > 0.5", revise=ReviseSpec(tokens=1)),
        RuleSpec("stop", "p.c > 0.5", priority=-9, halt=True),
    )
    row = program_of(*rules).start()
    assert row.before((0.0, 0.0, 0.0)) == Plan((0.8, 0.0), (0, -1))
    assert row.before((0.0, 1.0, 0.0)) == Plan((0.0, 0.0), (1, -1))
    assert row.before((1.0, 1.0, 0.0)) == Plan((0.0, 0.0), (2, 2), revise=2)
    assert row.before((1.0, 1.0, 1.0)) == Plan((0.0, 0.0), (3, 3), halt=3)
