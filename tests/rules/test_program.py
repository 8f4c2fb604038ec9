"""Rules become plans: priorities, disabling, halting, caps, stages, changes and forks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.core.plan import Plan
from guardsteer.errors import PolicyError, RequestError
from guardsteer.rules import Change, compile_policy, load_policy, parse_policy
from tests.rules.support import NAN, SUPPORT, changed, outputs_of, plans, policy_of, program_of, step

TWO = {"s": ("a", "b"), "p": ("c", "d")}


def test_the_highest_priority_decides_a_vector_and_the_first_among_equals() -> None:
    rules = """
  - {id: low, when: "s.a > 0.1", priority: -1, add: {vector: v0, strength: 0.1}}
  - {id: first, when: "s.a > 0.3", add: {vector: v0, strength: 0.2}}
  - {id: second, when: "s.a > 0.2", subtract: {vector: v0, strength: 0.3}}
  - id: high
    when: s.a > 0.4
    priority: 5
    add: [{vector: v0, strength: 0.4}, {vector: v2, strength: 0.5}]
"""
    found = plans(program_of(rules), [[a, 0, 0] for a in (0.1, 0.2, 0.25, 0.35, 0.45)])
    assert found == [
        Plan((0.0, 0.0, 0.0), (-1, -1, -1)),
        Plan((0.1, 0.0, 0.0), (0, -1, -1)),
        Plan((-0.3, 0.0, 0.0), (2, -1, -1)),
        Plan((0.2, 0.0, 0.0), (1, -1, -1)),
        Plan((0.4, 0.0, 0.5), (3, -1, 3)),
    ]


def test_disable_beats_every_priority_for_the_vectors_it_names() -> None:
    rules = """
  - {id: push, when: "true", priority: 9, add: [{vector: v0, strength: 1}, {vector: v1, strength: 1}]}
  - {id: mute, when: "s.a > 0.5", priority: -9, disable: [v0, v2]}
  - {id: all-off, when: "s.b > 0.5", disable: all}
"""
    found = plans(program_of(rules), [[0, 0, 0], [1, 0, 0], [1, 1, 0]])
    assert found == [
        Plan((1.0, 1.0, 0.0), (0, 0, -1)),
        Plan((0.0, 1.0, 0.0), (1, 0, 1)),
        Plan((0.0, 0.0, 0.0), (2, 2, 2)),
    ]


def test_halt_beats_all_and_names_the_rule_of_highest_priority() -> None:
    rules = """
  - {id: push, when: "true", priority: 9, add: {vector: v0, strength: 1}}
  - {id: stop, when: "s.a > 0.5", halt: true}
  - {id: stop-first, when: "s.b > 0.5", priority: 1, halt: true}
"""
    found = plans(program_of(rules), [[0, 0, 0], [1, 0, 0], [1, 1, 0]])
    assert [plan.halt for plan in found] == [-1, 1, 2]
    assert [any(plan.strengths) for plan in found] == [True, False, False]


def test_missing_scores_fail_closed() -> None:
    """What cannot be decided steers nothing, disables and halts."""
    rules = """
  - {id: push, when: "s.a > 0.5", add: {vector: v0, strength: 1}}
  - {id: other, when: "true", add: {vector: v1, strength: 1}}
  - {id: mute, when: "s.b > 0.5", disable: v1}
  - {id: stop, when: "s.c > 0.5", halt: true}
"""
    found = plans(program_of(rules), [[1, 0, 0], [NAN, 0, 0], [1, NAN, 0], [1, 0, NAN]])
    assert found == [
        Plan((1.0, 1.0, 0.0), (0, 1, -1)),
        Plan((0.0, 1.0, 0.0), (-1, 1, -1)),
        Plan((1.0, 0.0, 0.0), (0, 2, -1)),
        Plan((0.0, 0.0, 0.0), (3, 3, 3), 3),
    ]


rule_lists = st.lists(
    st.fixed_dictionaries(
        {
            "score": st.sampled_from(["s.a", "s.b", "s.c"]),
            "priority": st.integers(-2, 2),
            "vector": st.integers(0, 2),
            "action": st.sampled_from(["add", "subtract", "disable", "all", "halt"]),
        }
    ),
    min_size=1,
    max_size=8,
)


def rules_text(rules: list[dict[str, Any]]) -> str:
    """Return rules whose conditions are that a score is above one half."""
    lines = []
    for i, rule in enumerate(rules):
        action = {
            "add": f"add: {{vector: v{rule['vector']}, strength: 0.{i + 1}}}",
            "subtract": f"subtract: {{vector: v{rule['vector']}, strength: 0.{i + 1}}}",
            "disable": f"disable: v{rule['vector']}",
            "all": "disable: all",
            "halt": "halt: true",
        }[rule["action"]]
        lines.append(f"  - {{id: r{i}, when: {rule['score']} > 0.5, priority: {rule['priority']}, {action}}}")
    return "\n".join(lines)


def expected_plan(rules: list[dict[str, Any]], signals: list[float]) -> Plan:
    """Return the plan by the definition: each vector asks each rule that holds."""

    def holds(rule: dict[str, Any]) -> bool:
        value = signals["abc".index(rule["score"][-1])]
        if rule["action"] in ("add", "subtract"):
            return value > 0.5
        return not value <= 0.5

    order = sorted(range(len(rules)), key=lambda i: (-rules[i]["priority"], i))
    held = [i for i in order if holds(rules[i])]
    halts = [i for i in held if rules[i]["action"] == "halt"]
    if halts:
        return Plan((0.0,) * 3, (halts[0],) * 3, halts[0])
    strengths, decided = [], []
    for vector in range(3):
        off = [
            i
            for i in held
            if rules[i]["action"] == "all" or (rules[i]["action"], rules[i]["vector"]) == ("disable", vector)
        ]
        on = [i for i in held if rules[i]["action"] in ("add", "subtract") and rules[i]["vector"] == vector]
        chosen = (off or on or [-1])[0]
        sign = 1 if chosen >= 0 and rules[chosen]["action"] == "add" else -1
        strengths.append(0.0 if off or not on else sign * float(f"0.{chosen + 1}"))
        decided.append(chosen)
    return Plan(tuple(strengths), tuple(decided))


signal_rows = st.lists(
    st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=3, max_size=3), min_size=1, max_size=5
)


@given(rule_lists, signal_rows)
def test_the_plan_is_the_one_of_the_definition(rules: list[dict[str, Any]], rows: list[list[float]]) -> None:
    assert plans(program_of(rules_text(rules)), rows) == [expected_plan(rules, row) for row in rows]


@given(rule_lists, signal_rows)
def test_equal_plans_of_a_row_in_a_row_are_one_object(
    rules: list[dict[str, Any]], rows: list[list[float]]
) -> None:
    found = plans(program_of(rules_text(rules)), [row for row in rows for _ in range(2)])
    for earlier, later in pairwise(found):
        assert (earlier is later) == (earlier == later)


@given(rule_lists, signal_rows)
def test_equal_completed_plans_in_a_row_are_one_object_too(
    rules: list[dict[str, Any]], rows: list[list[float]]
) -> None:
    program = program_of(staged(rules, "bc"), classifiers={"s": ("a",), "p": ("b", "c")}, probes={"p": 2})
    found = plans(program, [row for row in rows for _ in range(2)])
    for earlier, later in pairwise(found):
        assert (earlier is later) == (earlier == later)


def staged(rules: list[dict[str, Any]], late: str) -> str:
    """Return rules in which the scores ``late`` come from the classifier p."""
    text = rules_text(rules)
    for score in late:
        text = text.replace(f"s.{score} ", f"p.{score} ")
    return text


@given(rule_lists, signal_rows, st.sets(st.sampled_from("abc"), min_size=1))
def test_two_stages_decide_what_one_stage_would(
    rules: list[dict[str, Any]], rows: list[list[float]], late: set[str]
) -> None:
    """Only a late halt differs: vectors decided before the pass were applied already."""
    outputs = {"s": tuple(sorted(set("abc") - late)) or ("x",), "p": tuple(sorted(late))}
    program = program_of(staged(rules, "".join(late)), classifiers=outputs, probes={"p": 2})
    row = program.start()
    late_rules = {i for i, rule in enumerate(rules) if rule["score"][-1] in late}
    for signals in rows:
        values = dict(zip("abc", signals, strict=True))
        early = {
            name: values.get(name.partition(".")[2], 0.0) for name in program.signal_index if name[0] == "s"
        }
        blind = [early.get(name, NAN) for name in program.signal_index]
        full = [values.get(name.partition(".")[2], 0.0) for name in program.signal_index]
        first = row.before(blind)
        last = row.within(full) if program.has_within else first
        expected = expected_plan(rules, signals)
        for v, waits in enumerate(program.within_vectors):
            assert not (waits and first.strengths[v])
            if not waits:
                assert last.strengths[v] == first.strengths[v]
            if expected.halt < 0 or waits:
                assert last.strengths[v] == expected.strengths[v]
        assert (last.halt >= 0) == (expected.halt >= 0)
        assert first.halt not in late_rules


def test_before_leaves_alone_every_vector_that_waits_for_a_probe() -> None:
    rules = """
  - {id: early, when: "s.a > 0.5", add: [{vector: v0, strength: 0.1}, {vector: v1, strength: 0.1}]}
  - {id: late, when: "p.c > 0.5", disable: v1}
  - {id: later, when: "f && s.a > 0.5", add: {vector: v2, strength: 0.2}}
"""
    program = program_of(rules, flags="  f: {signal: p.d, enter: 0.5}", classifiers=TWO, probes={"p": 4})
    assert program.decision_block == 4
    assert program.within_vectors == (False, True, True)
    row = program.start()
    assert row.before([1, 0, NAN, NAN]) == Plan((0.1, 0.0, 0.0), (0, -1, -1))
    assert row.within([1, 0, 0, 1]) == Plan((0.1, 0.1, 0.2), (0, 0, 2))
    assert row.before([1, 0, NAN, NAN]) == Plan((0.1, 0.0, 0.0), (0, -1, -1))
    assert row.within([1, 0, 1, 1]) == Plan((0.1, 0.0, 0.2), (0, 1, 2))


def test_a_step_advances_a_late_flag_once_however_often_it_is_completed() -> None:
    rules = "  - {id: r, when: f, add: {vector: v0, strength: 1}}"
    program = program_of(
        rules, flags="  f: {signal: p.c, enter: 0.5, after: 2}", classifiers=TWO, probes={"p": 1}
    )
    row = program.start()
    row.before([0, 0, NAN, NAN])
    assert [row.within([0, 0, 1, 0]).strengths[0] for _ in range(3)] == [0.0, 0.0, 0.0]
    row.before([0, 0, NAN, NAN])
    assert row.within([0, 0, 1, 0]).strengths[0] == 1.0
    assert [change.kind for change in row.changes] == ["flag", "rule"]
    row.within([0, 0, 1, 0])
    assert list(row.changes) == []


def test_the_deepest_probe_in_use_decides_when_and_unused_probes_do_not_count() -> None:
    outputs = {"s": ("a",), "p": ("c",), "q": ("d",), "z": ("e",)}
    probes = {"p": 2, "q": 5, "z": 9}
    rules = '  - {id: r, when: "p.c > 0.5 && s.a > 0.5", add: {vector: v0, strength: 1}}'
    program = program_of(rules, classifiers=outputs, probes=probes)
    assert program.decision_block == 2
    with_flag = program_of(rules, flags="  f: {signal: q.d, enter: 0.5}", classifiers=outputs, probes=probes)
    assert with_flag.decision_block == 5
    without = program_of('  - {id: r, when: "s.a > 0.5", disable: v0}', classifiers=outputs, probes=probes)
    assert (without.decision_block, without.has_within) == (None, False)


def test_within_without_a_step_or_a_probe_is_an_error() -> None:
    plain = program_of('  - {id: r, when: "true", disable: v0}').start()
    plain.before([0, 0, 0])
    with pytest.raises(RuntimeError):
        plain.within([0, 0, 0])
    late = program_of('  - {id: r, when: "p.c > 0", disable: v0}', classifiers=TWO, probes={"p": 1}).start()
    with pytest.raises(RuntimeError):
        late.within([0, 0, 0, 0])


def test_strengths_are_capped_and_alpha_is_turned_into_strength() -> None:
    rules = """
  - id: r
    when: "true"
    add: [{vector: v0, alpha: 4.0}, {vector: v1, alpha: 2.0}]
    subtract: {vector: v2, alpha: 8}
"""
    vectors = ("{use: v, max_strength: 0.3}", "{use: v}", "{use: v, max_strength: 0.5}")
    policy = policy_of(rules, vectors=vectors)
    scales = {"v0": 0.1, "v1": 0.1, "v2": 0.05}
    program = compile_policy(policy, {"s": ("a", "b", "c")}, alpha_to_strength=scales)
    assert program.start().before([0, 0, 0]).strengths == (0.3, 0.2, -0.4)


def test_changes_tell_flags_and_rules_with_the_scores_they_depend_on() -> None:
    rules = """
  - {id: warm, when: "f && s.b < 0.5", add: {vector: v0, strength: 1}}
  - {id: mute, when: f, disable: v1}
"""
    program = program_of(rules, flags="  f: {signal: s.a, enter: 0.5}")
    row = program.start()
    row.before([0.1, 0.2, 0.3])
    assert list(row.changes) == []
    row.before([0.7, 0.2, 0.3])
    assert list(row.changes) == [
        Change("flag", "f", True, 0.7),
        Change("rule", "warm", True, {"s.a": 0.7, "s.b": 0.2}),
        Change("rule", "mute", True, {"s.a": 0.7}),
    ]
    row.before([0.8, 0.2, 0.3])
    assert list(row.changes) == []
    row.before([NAN, 0.2, 0.3])
    assert list(row.changes) == [
        Change("flag", "f", False, None),
        Change("rule", "warm", False, {"s.a": None, "s.b": 0.2}),
    ]
    assert program.scores_of(0, [0.8, NAN, 0.3]) == {"s.a": 0.8, "s.b": None}


def test_a_rule_that_steers_and_halts_fires_where_it_may_hold() -> None:
    rules = '  - {id: r, when: "s.a > 0.5", add: {vector: v0, strength: 1}, halt: true}'
    row = program_of(rules).start()
    assert row.before([NAN, 0, 0]).halt == 0
    assert [change.up for change in row.changes] == [True]
    row.before([1, 0, 0])
    assert list(row.changes) == []
    row.before([0, 0, 0])
    assert [change.up for change in row.changes] == [False]


@given(rule_lists, signal_rows, signal_rows, signal_rows)
def test_a_fork_goes_its_own_way(
    rules: list[dict[str, Any]], past: list[list[float]], one: list[list[float]], other: list[list[float]]
) -> None:
    """After a fork each row is as if it had been alone, whatever the other one sees, and in any order."""
    text = rules_text(rules).replace("s.a >", "p.a >").replace("p.a > 0.5", "f")
    program = program_of(
        text,
        flags="  f: {signal: p.a, enter: 0.5, after: 2, hold: 2}",
        classifiers={"p": ("a",), "s": ("b", "c")},
        probes={"p": 1},
    )
    row = program.start()
    for signals in past:
        step(row, signals)
    fork = row.fork()
    mixed: dict[str, list[Plan]] = {"one": [], "other": []}
    for i in range(max(len(one), len(other))):
        if i < len(other):
            mixed["other"].append(step(fork, other[i]))
        if i < len(one):
            mixed["one"].append(step(row, one[i]))
    assert mixed["one"] == plans(program, past + one)[len(past) :]
    assert mixed["other"] == plans(program, past + other)[len(past) :]


def test_rows_do_not_share_state() -> None:
    program = program_of(
        "  - {id: r, when: f, add: {vector: v0, strength: 1}}",
        flags="  f: {signal: s.a, enter: 0.5, latch: true}",
    )
    up, down = program.start(), program.start()
    up.before([1, 0, 0])
    assert down.before([0, 0, 0]).strengths[0] == 0.0
    assert up.before([0, 0, 0]).strengths[0] == 1.0


def test_the_request_is_read_once_and_checked() -> None:
    rules = (
        "  - {id: r, when: \"request.tenant in ['x'] && request.tier > 1\", add: {vector: v0, strength: 1}}"
    )
    program = program_of(rules, context="{tier: int, share: float, beta: bool}")

    def strength(**context: Any) -> float:
        return program.start(context).before([0, 0, 0]).strengths[0]

    assert strength(tenant="x", tier=2) == 1.0
    assert strength(tenant="y", tier=2) == 0.0
    assert strength(tier=2) == 0.0
    assert strength(tenant="x", tier=2, share=1) == 1.0
    for wrong in ({"tier": True}, {"tier": 1.5}, {"tenant": 3}, {"beta": 1}, {"share": NAN}, {"teir": 2}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            program.start(wrong)


def test_a_policy_without_rules_leaves_everything_alone() -> None:
    policy = parse_policy("guardsteer: 1\nname: empty\nvectors: {v: {use: v}}\n", "p.yaml")
    row = compile_policy(policy, {}).start()
    assert row.before([]) == Plan((0.0,), (-1,))
    assert row.before([]).idle


def test_compiled_code_can_reach_no_builtins() -> None:
    program = program_of('  - {id: r, when: "s.a > 0.5", disable: v0}')
    for function in (program.before.sense, program.before.decide):
        assert getattr(function, "__globals__") == {"__builtins__": {}}  # noqa: B009  # a function at run time
        assert getattr(function, "__code__").co_names == ()  # noqa: B009  # a function at run time


LATE = """\
guardsteer: 1
name: late
classifiers: {p: {use: p, on: all}, s: {use: s, on: all}}
flags: {f: {signal: p.c, enter: 0.5}}
vectors:
  v0: {use: v}
  v1: {use: v, blocks: [3, 6], positions: [generated, all]}
rules:
  - {id: early, when: s.a > 0.5, add: {vector: v0, strength: 1}}
  - {id: late, when: f || s.a > 0.5, add: [{vector: v0, strength: 1}, {vector: v1, strength: 1}]}
"""


@pytest.mark.parametrize("there", ["same", "changed", "gone"])
def test_a_rule_that_is_decided_too_late_is_refused_with_its_place(tmp_path: Path, there: str) -> None:
    """The exact place comes from the file; where that is gone or another by now, the rule's line."""
    path = tmp_path / "policy.yaml"
    path.write_text(LATE)
    policy = load_policy(path)
    if there == "gone":
        path.unlink()
    elif there == "changed":
        path.write_text("# first\n" + LATE)
    with pytest.raises(PolicyError) as caught:
        compile_policy(
            policy, {"p": ("c",), "s": ("a",)}, probes={"p": 5}, vector_blocks={"v0": (4,), "v1": (3, 6)}
        )
    found = [(p.file, p.line, p.column) for p in caught.value.problems]
    line = LATE.split("\n")[9]
    columns = (
        (line.index("v0") + 1, line.index("v1") + 1, line.index("v1") + 1) if there == "same" else (1, 1, 1)
    )
    assert found == [(str(path), 10, column) for column in columns]
    messages = [p.message for p in caught.value.problems]
    assert "'v0' acts on earlier blocks (4)" in messages[0]
    assert "'v1' acts on earlier blocks (3)" in messages[1]
    assert "acts on positions processed before (all)" in messages[2]


def test_a_late_rule_with_later_blocks_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(LATE.replace("[3, 6]", "[5, 6]").replace(", all]", "]"))
    program = compile_policy(
        load_policy(path), {"p": ("c",), "s": ("a",)}, probes={"p": 5}, vector_blocks={"v0": (5,)}
    )
    assert program.within_vectors == (True, True)


def test_outputs_that_turn_out_otherwise_are_refused_with_every_place(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(LATE)
    with pytest.raises(PolicyError) as caught:
        compile_policy(load_policy(path), {"p": ("x",), "s": ("a_",)})
    assert [(p.line, p.column) for p in caught.value.problems] == [(4, 21), (9, 23), (10, 27)]
    assert "has no output 'c'" in str(caught.value)


def test_a_classifier_that_was_not_loaded_and_an_alpha_without_norms_are_refused() -> None:
    with pytest.raises(PolicyError, match="'intent' was not loaded"):
        compile_policy(parse_policy(SUPPORT, "p.yaml", outputs=outputs_of), {})
    text = changed("strength: 0.30", "alpha: 3.0")
    with pytest.raises(PolicyError, match="'alpha' needs the norms of the vector 'empathy'") as caught:
        compile_policy(parse_policy(text, "p.yaml", outputs=outputs_of), {"intent": ("billing", "other")})
    assert caught.value.problems[0].line == text.split("\n").index("  - id: warm") + 1
