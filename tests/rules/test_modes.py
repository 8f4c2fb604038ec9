"""Who decides which channel, in which mode, at which strength, and what undecided rules do."""

from __future__ import annotations

from typing import Any

import pytest

from guardsteer.core.plan import Channel, Plan
from guardsteer.core.policy import Binding, FlagSpec, RuleSpec, SteerSpec, VectorSpec
from guardsteer.errors import RequestError
from guardsteer.rules import Change, Program, compile_policy
from tests.rules.random_policies import OUTPUTS, policy_of
from tests.rules.support import NAN

UP, DOWN, GONE = (1.0, 0.0, 0.0), (0.0, 0.0, 0.0), (NAN, 0.0, 0.0)


def program_of(*rules: RuleSpec, **fields: Any) -> Program:
    return compile_policy(policy_of(rules=rules, **fields), OUTPUTS)


def push(vector: str = "v0", operator: Any = "add", **fields: Any) -> SteerSpec:
    return SteerSpec(vector, operator, **{"strength": 0.5, **fields})


def test_each_way_of_using_a_vector_is_a_channel_and_both_signs_are_one() -> None:
    program = program_of(
        RuleSpec("a", "true", steer=(push("v1"), push("v1", "ablate"), push("v1", keep_norm=True))),
        RuleSpec("b", "true", steer=(push("v1", "subtract", strength=0.2), push("v1", "ablate"))),
        RuleSpec("c", "true", steer=(push("v1", "clamp", strength=None, low=-0.1),)),
    )
    assert program.channels == (
        Channel(0),
        Channel(1),
        Channel(1, "ablate"),
        Channel(1, keep_norm=True),
        Channel(1, "clamp", low=-0.1),
    )
    assert program.requested == {
        (0, 1): 0.5,
        (0, 2): 0.5,
        (0, 3): 0.5,
        (1, 1): -0.2,
        (1, 2): 0.5,
        (2, 4): 1.0,
    }


def test_the_rule_that_decides_a_vector_decides_all_its_channels() -> None:
    program = program_of(
        RuleSpec("a", "s.a > 0.5", priority=1, steer=(push(), push("v1"))),
        RuleSpec("b", "true", steer=(push("v0", "ablate"), push("v1", "clamp", strength=None, high=0.1))),
        RuleSpec("c", "s.b > 0.5", disable=("v0",)),
    )
    row = program.start()
    assert row.before(DOWN) == Plan((0.0, 0.5, 0.0, 1.0), (1, 1, 1, 1))
    assert row.before(UP) == Plan((0.5, 0.0, 0.5, 0.0), (0, 0, 0, 0))
    assert row.before((1.0, 1.0, 0.0)) == Plan((0.0, 0.0, 0.5, 0.0), (2, 2, 0, 0))


def test_the_largest_of_the_windows_that_fire_is_held_back() -> None:
    program = program_of(
        RuleSpec("a", "true", hold_back=0),
        RuleSpec("b", "s.a > 0.5", hold_back=8, priority=-1),
        RuleSpec("c", "s.b > 0.5", hold_back=4, priority=1),
    )
    row = program.start()
    shown = [DOWN, UP, (0.0, 1.0, 0.0), (1.0, 1.0, 0.0), GONE]
    assert [row.before(signals).hold_back for signals in shown] == [0, 8, 4, 8, 8]


@pytest.mark.parametrize(
    ("on_error", "after_up", "after_down"),
    [
        ("closed", (0.0, -1, 4), (0.0, -1, 4)),
        ("open", (0.0, -1, -1), (0.0, -1, -1)),
        ("last_state", (0.5, 0, 4), (0.0, -1, -1)),
    ],
)
def test_what_an_undecided_rule_does_is_what_on_error_says(
    on_error: Any, after_up: tuple[float, int, int], after_down: tuple[float, int, int]
) -> None:
    program = program_of(RuleSpec("r", "s.a > 0.5", steer=(push(),), hold_back=4, on_error=on_error))
    for decided, expected in ((UP, after_up), (DOWN, after_down)):
        row = program.start()
        row.before(decided)
        for _ in range(3):
            plan = row.before(GONE)
            assert (plan.strengths[0], plan.rules[0], plan.hold_back) == expected
    fresh = program.start().before(GONE)
    assert (fresh.strengths[0], fresh.hold_back) == (0.0, 4 if on_error == "closed" else -1)


def test_what_a_rule_did_last_goes_on_within_a_pass_too() -> None:
    rule = RuleSpec("r", "p.c > 0.5", steer=(push(),), on_error="last_state")
    row = compile_policy(policy_of(rules=(rule,)), OUTPUTS, probes={"p": 1}).start()
    found = []
    for score in (1.0, NAN, NAN, 0.0, NAN):
        row.before((0.0, 0.0, NAN))
        found.append(row.within((0.0, 0.0, score)).strengths[0])
    assert found == [0.5, 0.5, 0.5, 0.0, 0.0]


MIXED = (
    RuleSpec("live", "s.a > 0.5", steer=(push(),)),
    RuleSpec("tried", "s.a > 0.5", priority=1, steer=(push("v0", strength=0.3),), halt=False),
    RuleSpec("dead", "true", disable=("v0", "v1"), halt=True),
)


def test_a_rule_in_shadow_shows_in_the_shadow_alone_and_one_that_is_off_nowhere() -> None:
    program = program_of(*MIXED, binding=Binding(rules=(("tried", "shadow"), ("dead", "off"))))
    row = program.start()
    assert row.before(DOWN) == Plan((0.0, 0.0), (-1, -1))
    plan = row.before(UP)
    assert plan == Plan((0.5, 0.0), (0, -1), shadow=Plan((0.3, 0.0), (1, -1)))
    assert row.before(UP) is plan
    assert row.before(DOWN).shadow is None


def test_changes_say_whether_a_rule_has_an_effect() -> None:
    program = program_of(*MIXED[:2], binding=Binding(rules=(("tried", "shadow"),)))
    for mode, modes in (("enforce", ["shadow", "enforce"]), ("shadow", ["shadow", "shadow"])):
        row = program.start(mode=mode)  # type: ignore[arg-type]  # one of the modes
        row.before(UP)
        assert [change.mode for change in row.changes] == modes


def test_a_row_in_shadow_is_left_alone_and_its_shadow_is_what_would_be_done() -> None:
    program = program_of(*MIXED[:2], RuleSpec("stop", "s.b > 0.5", halt=True, hold_back=2))
    live, shadow = program.start(), program.start(mode="shadow")
    for signals in (DOWN, UP, (0.0, 1.0, 0.0), (NAN, NAN, 0.0), UP):
        done, left = live.before(signals), shadow.before(signals)
        assert left.idle
        assert (left.shadow or left) == done


def test_there_is_nothing_to_run_when_a_row_is_off() -> None:
    with pytest.raises(ValueError, match="off"):
        program_of(*MIXED).start(mode="off")


def test_a_rule_that_is_off_makes_nothing_wait_for_a_probe() -> None:
    rule = RuleSpec("r", "p.c > 0.5", steer=(push(),))
    off = policy_of(rules=(rule,), binding=Binding(rules=(("r", "off"),)))
    program = compile_policy(off, OUTPUTS, probes={"p": 4}, vector_blocks={"v0": (1,)})
    assert (program.has_within, program.within_channels) == (False, (False, False))


def test_a_request_chooses_strengths_but_not_signs_shares_or_more_than_the_most() -> None:
    program = program_of(
        RuleSpec("r", "true", steer=(push("v0", "subtract"), push("v0", "ablate"), push("v1"))),
        vectors=(VectorSpec("v0", "v"), VectorSpec("v1", "v", max_strength=0.6)),
    )

    def strengths(overrides: dict[str, float] | None) -> tuple[float, ...]:
        return program.start({}, overrides).before(DOWN).strengths

    assert strengths(None) == (-0.5, 0.5, 0.5)
    assert strengths({"v0": 0.9}) == (-0.9, 0.5, 0.5)
    assert strengths({"v0": 0.0, "v1": 0.7}) == (0.0, 0.5, 0.6)
    assert program.start().before(DOWN).strengths == (-0.5, 0.5, 0.5)
    for wrong in ({"v2": 0.1}, {"v0": -0.1}, {"v0": NAN}, {"v1": float("inf")}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            program.start({}, wrong)


def test_every_comparison_is_told_at_the_first_step_and_then_when_it_changes() -> None:
    program = program_of(
        RuleSpec("r", "f && (s.a > 0.5 || s.b < request.share)", steer=(push(),)),
        RuleSpec("q", 'request.tenant == "x" && step < 2', steer=(push("v1"),)),
        flags=(FlagSpec("f", "s.a", 0.5, 0.5),),
    )
    row = program.start({"tenant": "x"}, explain=True)
    row.before((0.2, 0.1, 0.0))
    assert list(row.changes) == [
        Change("condition", "s.a > 0.5", False, {"s.a": 0.2}, truth="false"),
        Change("condition", "s.b < request.share", False, {"s.b": 0.1}, truth="undecided"),
        Change("condition", "step < 2", True, {}, truth="true"),
        Change("rule", "q", True, {}),
    ]
    row.before((0.3, 0.1, 0.0))
    assert list(row.changes) == []
    row.before((NAN, 0.1, 0.0))
    assert list(row.changes) == [
        Change("condition", "f", False, {"s.a": None}, truth="undecided"),
        Change("condition", "s.a > 0.5", False, {"s.a": None}, truth="undecided"),
        Change("condition", "step < 2", False, {}, truth="false"),
        Change("rule", "q", False, {}),
    ]
    row.before((0.9, 0.1, 0.0))
    assert list(row.changes) == [
        Change("condition", "f", True, {"s.a": 0.9}, truth="true"),
        Change("condition", "s.a > 0.5", True, {"s.a": 0.9}, truth="true"),
        Change("flag", "f", True, 0.9),
        Change("rule", "r", True, {"s.a": 0.9, "s.b": 0.1}),
    ]
    assert not [c for c in plain_changes(program) if c.kind == "condition"]


def plain_changes(program: Program) -> list[Change]:
    """Return what a row tells that was not asked to explain."""
    row, found = program.start({"tenant": "x"}), list[Change]()
    for signals in (DOWN, UP, GONE, DOWN):
        row.before(signals)
        found += row.changes
    return found


def test_a_request_is_known_by_its_labels() -> None:
    program = program_of(
        RuleSpec("add", '"vip" in request.labels', steer=(push(),)),
        RuleSpec("hold", '"vip" in request.labels', hold_back=1),
    )

    def outcome(context: dict[str, Any]) -> tuple[bool, bool]:
        plan = program.start(context).before(DOWN)
        return plan.strengths[0] > 0, plan.hold_back >= 0

    assert outcome({"labels": ["a", "vip"]}) == (True, True)
    assert outcome({"labels": ["vi"]}) == (False, False)
    assert outcome({"labels": []}) == (False, False)
    assert outcome({}) == (False, True)
    for wrong in ("vip", ["vip", 3], 7):
        with pytest.raises(RequestError, match="labels"):
            program.start({"labels": wrong})  # type: ignore[dict-item]  # wrong on purpose
