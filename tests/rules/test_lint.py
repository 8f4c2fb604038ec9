"""Warnings are true: what is said never to happen happens in no situation, as the engine itself shows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardsteer.rules import Program, compile_policy, lint, parse_policy
from guardsteer.rules.lint_notes import LintWarning
from guardsteer.rules.parts import conditions_of
from guardsteer.rules.readings import FALSE, TRUE, UNDECIDED, read
from guardsteer.rules.worlds import Worlds
from tests.rules.flaws import CLEAN, FLAWS
from tests.rules.support import FILE, NAN, changed, step
from tests.rules.test_truth import Tree, part_context, text_of

CLASSIFIERS = {"s": ("a", "b", "c")}
HEAD = """\
guardsteer: 1
name: linted
context: {tier: int, share: float, beta: bool}
classifiers: {s: {use: s, on: all}}
"""
VECTORS = "vectors: {v0: {use: v}, v1: {use: v}, v2: {use: v}}\n"
THRESHOLDS = [0.25, 0.5, 0.75]

numbers = st.one_of(
    st.sampled_from(
        [("signal", "s.a"), ("signal", "s.a"), ("signal", "s.b"), ("step",), ("request", "tier")]
    ),
    st.sampled_from([("request", "share"), ("number", 0), ("number", 0.25), ("number", 0.5), ("number", 1)]),
)
texts = st.sampled_from([("request", "tenant"), ("request", "role"), ("text", "x"), ("text", "y")])
truths = st.sampled_from(
    [
        *(("flag", name) for name in ("fa", "fb", "fc")),
        ("request", "beta"),
        ("constant", True),
        ("constant", False),
    ]
)
simple = st.one_of(
    truths,
    st.tuples(st.just("compare"), st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), numbers, numbers),
    st.tuples(st.just("compare"), st.sampled_from(["==", "!="]), texts, texts),
    st.tuples(st.just("compare"), st.sampled_from(["==", "!="]), truths, truths),
    st.tuples(st.just("in"), numbers, st.lists(st.sampled_from([0, 0.25, 1]), min_size=1, max_size=2)),
    st.tuples(st.just("in"), texts, st.lists(st.sampled_from(["x", "z"]), min_size=1, max_size=2)),
)
varied = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "and", "or"]), inner, inner)
    ),
    max_leaves=4,
)
# Few names and few thresholds, so that conditions often exclude or imply one another.
close = st.one_of(
    st.sampled_from(
        [("flag", "fa"), ("flag", "fc"), ("flag", "fa"), ("request", "beta"), ("constant", True)]
    ),
    st.tuples(
        *(
            st.just("compare"),
            st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
            st.just(("signal", "s.a")),
        ),
        st.sampled_from([("number", 0), *(("number", t) for t in THRESHOLDS)]),
    ),
    st.tuples(
        *(st.just("compare"), st.sampled_from(["==", "!=", "<", ">="])),
        *(st.sampled_from([("step",), ("request", "tier")]), st.sampled_from([("number", 0), ("number", 1)])),
    ),
)
crowded = st.recursive(
    close,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), inner, inner)
    ),
    max_leaves=3,
)
conditions = st.one_of(crowded, crowded, varied)
GRID = (0.0, 0.1, 0.25, 0.3, 0.5, 0.6, 0.75, 1.0, NAN)
scores = st.sampled_from(GRID)


def situations(seed: int, rows: int = 40, steps: int = 6) -> list[tuple[list[list[float]], dict[str, Any]]]:
    """Return many rows of scores that stay for a while, each with a request that may lack keys."""
    draw = random.Random(seed)
    found = []
    for _ in range(rows):
        scores = [[draw.choice(GRID) for _ in range(3)]]
        while len(scores) < steps:
            last = scores[-1]
            scores.append([score if draw.random() < 0.4 else draw.choice(GRID) for score in last])
        whole: dict[str, Any] = {
            "tier": draw.randint(-1, 2),
            "share": draw.choice((0.0, 0.25, 0.5)),
            "beta": draw.random() < 0.5,
        }
        whole |= {"tenant": draw.choice("xyz"), "role": draw.choice("xy")}
        found.append((scores, {key: value for key, value in whole.items() if draw.random() < 0.8}))
    return found


@st.composite
def flag_lines(draw: st.DrawFn) -> str:
    """Flags of every kind, two of them on one signal."""
    lines = ["flags:"]
    for name, signal in (("fa", "s.a"), ("fb", "s.b"), ("fc", "s.a")):
        leave, enter = sorted((draw(st.sampled_from(THRESHOLDS)), draw(st.sampled_from(THRESHOLDS))))
        extra = draw(
            st.sampled_from(
                [
                    *(
                        "",
                        "",
                        "",
                        ", after: 2",
                        ", hold: 2",
                        ", latch: true",
                        ", cooldown: 2",
                        ", per: sentence",
                    ),
                    *(", after: 2, of_last: 3", ", smooth: {max: 2}", ", smooth: {ema: 0.5}"),
                ]
            )
        )
        lines.append(f"  {name}: {{signal: {signal}, enter: {enter}, exit: {leave}{extra}}}")
    return "\n".join(lines) + "\n"


def quoted(tree: Tree) -> str:
    """Return a condition in double quotes within single ones."""
    return "'" + text_of(tree).replace("'", '"') + "'"


def truth_program(flags: str, trees: Sequence[Tree]) -> Program:
    """Return a program that shows the truth of each condition.

    A rule that adds acts where its condition is true, one that disables where it is not false.
    """
    lines = [HEAD + flags + "vectors:"]
    lines += [f"  {letter}{i}: {{use: v}}" for i in range(len(trees)) for letter in "am"]
    lines.append("rules:")
    for i, tree in enumerate(trees):
        lines.append(f"- {{id: a{i}, when: {quoted(tree)}, add: {{vector: a{i}, strength: 1}}}}")
        lines.append(f"- {{id: m{i}, when: 'true', add: {{vector: m{i}, strength: 1}}}}")
        lines.append(f"- {{id: d{i}, when: {quoted(tree)}, disable: m{i}}}")
    return compile_policy(parse_policy("\n".join(lines), FILE), CLASSIFIERS)


def truth_rows(
    program: Program, rows: Sequence[list[float]], context: dict[str, Any]
) -> list[tuple[int, ...]]:
    """Return at each step the truth value of each condition, as the engine has it."""
    row = program.start(context)
    found = []
    for signals in rows:
        strengths = step(row, signals).strengths
        pairs = zip(strengths[::2], strengths[1::2], strict=True)
        found.append(tuple(TRUE if a == 1.0 else UNDECIDED if m == 0.0 else FALSE for a, m in pairs))
    return found


def read_all(flags: str, trees: Sequence[Tree]) -> tuple[Worlds, list[Any]]:
    """Return the worlds of a policy with these conditions, and the conditions made ready."""
    rules = "".join(f"- {{id: r{i}, when: {quoted(tree)}, observe: true}}\n" for i, tree in enumerate(trees))
    policy = parse_policy(f"{HEAD}{flags}rules:\n{rules}", FILE)
    return Worlds(policy), [read(condition) for condition in conditions_of(policy)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    flags=flag_lines(),
    first=conditions,
    second=conditions,
    wanted=st.sampled_from([(1, 1), (1, 2), (1, 6), (2, 1), (5, 2), (4, 1), (1, 4), (3, 3), (5, 5)]),
    seed=st.integers(0, 2**32),
)
def test_what_is_found_impossible_never_happens(
    flags: str, first: Tree, second: Tree, wanted: tuple[int, int], seed: int
) -> None:
    """No scores and no request make two conditions be what the search says they cannot be at once."""
    worlds, (one, two) = read_all(flags, [first, second])
    goals = ((one, wanted[0]), (two, wanted[1]))
    alone, together = worlds.impossible((one, wanted[0])), worlds.impossible(*goals)
    assert together or not alone, "what cannot be alone cannot be beside something"
    if not together:
        return
    program = truth_program(flags, [first, second])
    for rows, context in situations(seed):
        for left, right in truth_rows(program, rows, context):
            assert not (left & wanted[0] and right & wanted[1])
            assert not (alone and left & wanted[0])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    flags=flag_lines(),
    other=st.sampled_from([*(f"s.a {sign} {t}" for sign in ("<", ">=") for t in THRESHOLDS), "fa", "fc"]),
    wanted=st.sampled_from([(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (4, 2)]),
    seed=st.integers(0, 2**32),
)
def test_a_flag_is_bound_to_its_score_only_where_it_must_be(
    flags: str, other: str, wanted: tuple[int, int], seed: int
) -> None:
    """Whatever holds a flag up or down, the search does not rule out what then happens."""
    name, *rest = other.split()
    second: Tree = ("flag", name) if not rest else ("compare", rest[0], ("signal", name), ("number", rest[1]))
    for flag in ("fa", "fc"):
        first: Tree = ("flag", flag)
        worlds, readings = read_all(flags, [first, second])
        if worlds.impossible(*zip(readings, wanted, strict=True)):
            program = truth_program(flags, [first, second])
            for rows, context in situations(seed):
                assert wanted not in truth_rows(program, rows, context)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=conditions, context=part_context, signals=st.tuples(scores, scores, scores), data=st.data())
def test_what_happens_is_found_possible(
    tree: Tree, context: dict[str, Any], signals: Any, data: st.DataObject
) -> None:
    """The search finds a world for every truth value that a condition takes."""
    flags = data.draw(flag_lines())
    (truth,) = truth_rows(truth_program(flags, [tree]), [list(signals)], context)[0]
    worlds, (reading,) = read_all(flags, [tree])
    assert not worlds.impossible((reading, truth))
    world = worlds.witness((reading, truth))
    assert world is not None
    assert reading.truths(world) == truth


@st.composite
def rule_lines(draw: st.DrawFn) -> str:
    """Rules that get into one another's way."""
    pool = draw(st.lists(conditions, min_size=1, max_size=2))
    lines = ["rules:"]
    for index in range(draw(st.integers(2, 5))):
        tree = draw(st.sampled_from(pool))
        if draw(st.booleans()):
            tree = (draw(st.sampled_from(["and", "or"])), tree, draw(st.sampled_from(pool)))
        vectors = draw(st.permutations(["v0", "v1", "v2"]))
        action = draw(
            st.sampled_from(
                [
                    f"add: {{vector: {vectors[0]}, strength: {index + 1}}}",
                    f"add: {{vector: {vectors[0]}, strength: {index + 1}}}",
                    f"add: {{vector: {vectors[0]}, strength: {index + 1}}}, disable: {vectors[1]}",
                    f"subtract: [{{vector: {vectors[0]}, alpha: 2}}, {{vector: {vectors[1]}, alpha: 3}}]",
                    f"disable: {vectors[0]}",
                    *("halt: true", "hold_back: 2", "hold_back: 5", "revise: {tokens: 3}"),
                    *("revise: {tokens: 3, then: continue}", "revise: {tokens: 3, then: continue}"),
                    f"add: {{vector: {vectors[0]}, strength: 1}}, revise: {{tokens: 3, steps: 2}}",
                ]
            )
        )
        error = draw(st.sampled_from(["closed", "closed", "open", "last_state"]))
        priority = draw(st.integers(0, 1))
        lines.append(
            f"- {{id: r{index}, when: {quoted(tree)}, priority: {priority}, {action}, on_error: {error}}}"
        )
    return "\n".join(lines) + "\n"


def named_in(warning: LintWarning) -> str:
    """Return the id of the rule that a warning is about."""
    return warning.message.split("'")[1]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(flags=flag_lines(), rules=rule_lines(), seed=st.integers(0, 2**32))
def test_a_rule_that_is_called_unreachable_or_beaten_never_decides_anything(
    flags: str, rules: str, seed: int
) -> None:
    policy = parse_policy(f"{HEAD}{flags}{VECTORS}{rules}fallback: stop\n", FILE)
    ids = [rule.id for rule in policy.rules]
    program = compile_policy(policy, CLASSIFIERS, alpha_to_strength=dict.fromkeys(("v0", "v1", "v2"), 1.0))
    fired: set[str] = set()
    decided: set[tuple[str, str]] = set()
    for rows, context in situations(seed):
        row = program.start(context)
        for signals in rows:
            plan = step(row, signals)
            fired |= {change.name for change in row.changes if change.kind == "rule" and change.up}
            if plan.revise >= 0:
                row.revised(plan.revise)
            ended = [("halt", plan.halt), ("revise", plan.revise)]
            steered = [
                (policy.vectors[channel.vector].name, rule)
                for channel, rule in zip(program.channels, plan.rules, strict=True)
            ]
            decided |= {(ids[rule], what) for what, rule in ended + steered if rule >= 0}
    for warning in lint(policy):
        if warning.kind not in ("unreachable", "beaten", "fight"):
            continue
        name = named_in(warning)
        if warning.kind == "unreachable" and "where something is missing" not in warning.message:
            assert name not in fired
        elif warning.kind == "beaten":
            assert not {what for who, what in decided if who == name}
        elif warning.kind == "fight":
            assert (name, warning.message.split("'")[3]) not in decided


def test_a_policy_without_flaws_gets_no_warning() -> None:
    assert lint(parse_policy(CLEAN, FILE)) == ()


@pytest.mark.parametrize(("old", "new", "kind", "line", "column", "message"), FLAWS)
def test_a_flaw_is_told_at_its_place(
    old: str, new: str, kind: str, line: int, column: int, message: str
) -> None:
    text = CLEAN.replace("w: {use: w}", "w: {use: w}, x: {use: x}") if "disable: x" in new else CLEAN
    warnings = lint(parse_policy(changed(old, new, text), FILE))
    if not kind:
        assert warnings == ()
        return
    found = [w for w in warnings if message in w.message]
    assert found, [str(w) for w in warnings]
    assert (found[0].kind, found[0].line, found[0].column) == (kind, line, column), str(found[0])
    assert str(found[0]).startswith(f"{FILE}:{line}:{column}: warning: ")
    assert found[0].source == changed(old, new, text).split("\n")[line - 1]


def test_vectors_that_never_meet_need_no_budget() -> None:
    text = CLEAN.replace("budget: 1\n", "")
    for one, other in (("positions: [generated]", "positions: [assistant]"), ("blocks: [1]", "blocks: [2]")):
        apart = text.replace("max_strength: 1", f"max_strength: 1, {one}").replace(
            "{use: w}", f"{{use: w, {other}}}"
        )
        assert lint(parse_policy(apart, FILE)) == ()
    excluding = text.replace("when: high,", "when: '!low',").replace("s.b > 0.5", "low")
    assert "no-budget" not in {w.kind for w in lint(parse_policy(excluding, FILE))}


def test_a_policy_made_in_code_is_linted_without_places() -> None:
    policy = replace(parse_policy(CLEAN.replace("high &&", ""), FILE), text="", budget=None)
    assert [(w.kind, w.line) for w in lint(policy)] == [("no-budget", 0)]
