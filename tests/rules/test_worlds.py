"""The search over worlds rules nothing out that happens: the engine itself is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardsteer.rules import Program, compile_policy, parse_policy
from guardsteer.rules.parts import conditions_of
from guardsteer.rules.readings import FALSE, TRUE, UNDECIDED, read
from guardsteer.rules.worlds import Worlds
from tests.rules.crowds import (
    CLASSIFIERS,
    HEAD,
    THRESHOLDS,
    conditions,
    flag_lines,
    quoted,
    scores,
    situations,
)
from tests.rules.support import FILE, step
from tests.rules.test_truth import Tree, part_context


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
