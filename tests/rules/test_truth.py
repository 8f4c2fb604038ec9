"""Compiled conditions say what three-valued logic says, and what Python says where nothing is missing."""

from __future__ import annotations

import operator
from typing import Any, TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.rules.support import NAN, program_of, step

Tree: TypeAlias = tuple[Any, ...]
OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
FLAGS = {"fa": ("s.a", 0.5), "fb": ("s.b", 0.25), "fp": ("p.d", 0.5)}
SCORES = ("s.a", "s.b", "s.c", "p.d")

numbers = st.sampled_from([("signal", name) for name in SCORES]) | st.sampled_from(
    [
        ("step",),
        ("request", "tier"),
        ("request", "share"),
        ("number", 0),
        ("number", 0.25),
        ("number", 0.5),
        ("number", -1),
    ]
)
strings = st.sampled_from([("request", "tenant"), ("request", "role"), ("text", "x"), ("text", "y")])
truths = st.sampled_from(
    [("flag", name) for name in FLAGS] + [("request", "beta"), ("constant", True), ("constant", False)]
)
simple = st.one_of(
    truths,
    st.tuples(st.just("compare"), st.sampled_from(list(OPERATORS)), numbers, numbers),
    st.tuples(st.just("compare"), st.sampled_from(["==", "!="]), strings, strings),
    st.tuples(st.just("compare"), st.sampled_from(["==", "!="]), truths, truths),
    st.tuples(st.just("in"), numbers, st.lists(st.sampled_from([0, 0.25, 1, -1]), min_size=1, max_size=3)),
    st.tuples(st.just("in"), strings, st.lists(st.sampled_from(["x", "z"]), min_size=1, max_size=2)),
)
conditions = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner, inner),
    ),
    max_leaves=8,
)
scores = st.sampled_from([0.0, 0.25, 0.3, 0.5, 1.0]) | st.floats(0, 1)
maybe_scores = scores | st.just(NAN)
full_context = st.fixed_dictionaries(
    {
        "tier": st.integers(-1, 2),
        "share": st.sampled_from([0.0, 0.25, 0.5]),
        "beta": st.booleans(),
        "tenant": st.sampled_from(["x", "y", "z"]),
        "role": st.sampled_from(["x", "y"]),
    }
)
part_context = st.builds(
    lambda full, keep: {key: value for key, value in full.items() if key in keep},
    full_context,
    st.sets(st.sampled_from(["tier", "share", "beta", "tenant", "role"])),
)


def text_of(tree: Tree) -> str:
    """Return a condition in the language."""
    kind = tree[0]
    if kind == "not":
        return f"!({text_of(tree[1])})"
    if kind in ("and", "or"):
        return (" && " if kind == "and" else " || ").join(f"({text_of(item)})" for item in tree[1:])
    if kind == "compare":
        return f"{text_of(tree[2])} {tree[1]} {text_of(tree[3])}"
    if kind == "in":
        return f"{text_of(tree[1])} in [{', '.join(repr(value) for value in tree[2])}]"
    if kind == "request":
        return f"request.{tree[1]}"
    if kind == "step":
        return "step"
    if kind == "text":
        return repr(tree[1])
    return str(tree[1]).lower() if kind == "constant" else str(tree[1])


def kleene(tree: Tree, world: dict[Tree, Any]) -> Any:
    """Return the value of a condition, None where it cannot be decided: the definition, word for word."""
    kind = tree[0]
    if kind == "not":
        value = kleene(tree[1], world)
        return None if value is None else not value
    if kind in ("and", "or"):
        values = [kleene(item, world) for item in tree[1:]]
        decided = kind == "or"
        if decided in values:
            return decided
        return None if None in values else not decided
    if kind == "compare":
        left, right = kleene(tree[2], world), kleene(tree[3], world)
        return None if left is None or right is None else OPERATORS[tree[1]](left, right)
    if kind == "in":
        value = kleene(tree[1], world)
        return None if value is None else value in tree[2]
    return tree[1] if kind in ("number", "text", "constant") else world[tree]


def world_of(signals: list[float], context: dict[str, Any], index: int) -> dict[Tree, Any]:
    """Return what every name is worth; a flag without hysteresis is a comparison."""
    values = {name: None if value != value else value for name, value in zip(SCORES, signals, strict=True)}
    world: dict[Tree, Any] = {("signal", name): value for name, value in values.items()}
    for flag, (signal, enter) in FLAGS.items():
        value = values[signal]
        world["flag", flag] = None if value is None else value >= enter
    for key in ("tier", "share", "beta", "tenant", "role"):
        world["request", key] = context.get(key)
    world["step",] = index
    return world


def decisions(tree: Tree, rows: list[list[float]], context: dict[str, Any]) -> list[tuple[bool, bool]]:
    """Return at each step whether a rule adds, and whether one disables, under the condition."""
    flags = "\n".join(
        f"  {name}: {{signal: {signal}, enter: {enter}}}" for name, (signal, enter) in FLAGS.items()
    )
    when = text_of(tree).replace("'", '"')
    rules = f"""
  - id: add
    when: '{when}'
    add: {{vector: v0, strength: 1}}
  - id: disable
    when: '{when}'
    disable: v1
  - id: always
    when: "true"
    add: {{vector: v1, strength: 1}}
"""
    program = program_of(
        rules,
        flags=flags,
        classifiers={"s": ("a", "b", "c"), "p": ("d",)},
        context="{tier: int, share: float, beta: bool}",
        probes={"p": 3},
    )
    row = program.start(context)
    found = []
    for signals in rows:
        plan = step(row, signals)
        found.append((plan.strengths[0] == 1.0, plan.strengths[1] == 0.0))
    return found


@given(conditions, st.lists(st.tuples(*[maybe_scores] * 4).map(list), min_size=1, max_size=4), part_context)
@example(("compare", "!=", ("signal", "s.a"), ("number", 0.5)), [[NAN, 0, 0, 0]], {})
@example(("in", ("signal", "p.d"), [0.25]), [[0, 0, 0, NAN]], {})
@example(("compare", "==", ("flag", "fa"), ("flag", "fa")), [[NAN, 0, 0, 0]], {})
def test_steering_needs_a_certain_condition_and_disabling_a_possible_one(
    tree: Tree, rows: list[list[float]], context: dict[str, Any]
) -> None:
    """``add`` acts where the condition is true, ``disable`` where it is not false: Kleene's logic."""
    expected = []
    for index, signals in enumerate(rows):
        value = kleene(tree, world_of(signals, context, index))
        expected.append((value is True, value is not False))
    assert decisions(tree, rows, context) == expected


@given(conditions, st.lists(st.tuples(*[scores] * 4).map(list), min_size=1, max_size=4), full_context)
def test_with_nothing_missing_a_condition_is_what_python_says(
    tree: Tree, rows: list[list[float]], context: dict[str, Any]
) -> None:
    """Both readings of a condition agree with the same expression evaluated by Python itself."""
    expected = [python(tree, world_of(signals, context, index)) for index, signals in enumerate(rows)]
    assert decisions(tree, rows, context) == [(value, value) for value in expected]


@pytest.mark.parametrize(
    "tree",
    [
        ("compare", "==", ("flag", "fa"), ("flag", "fb")),
        ("compare", "!=", ("flag", "fa"), ("flag", "fb")),
        ("compare", "==", ("flag", "fa"), ("constant", False)),
        ("compare", "!=", ("constant", True), ("flag", "fb")),
        ("and", ("flag", "fa"), ("flag", "fb")),
        ("or", ("flag", "fa"), ("not", ("flag", "fb"))),
    ],
)
def test_every_row_of_the_truth_tables(tree: Tree) -> None:
    rows = [[a, b, 0.0, 0.0] for a in (0.0, 1.0, NAN) for b in (0.0, 1.0, NAN)]
    values = [kleene(tree, world_of(signals, {}, index)) for index, signals in enumerate(rows)]
    assert decisions(tree, rows, {}) == [(value is True, value is not False) for value in values]


def python(tree: Tree, world: dict[Tree, Any]) -> Any:
    """Return the value of a condition by Python's own ``not``, ``and``, ``or`` and ``in``."""
    kind = tree[0]
    if kind == "not":
        return not python(tree[1], world)
    if kind == "and":
        return all(python(item, world) for item in tree[1:])
    if kind == "or":
        return any(python(item, world) for item in tree[1:])
    if kind == "compare":
        return OPERATORS[tree[1]](python(tree[2], world), python(tree[3], world))
    if kind == "in":
        return python(tree[1], world) in tree[2]
    return tree[1] if kind in ("number", "text", "constant") else world[tree]
