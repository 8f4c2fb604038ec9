"""A condition's parts give the truth of the whole, as the definition says, and its text is the condition."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.rules import syntax
from guardsteer.rules.conditions import parse_condition
from guardsteer.rules.names import Names
from guardsteer.rules.parts import Truth, Value, compared, parts_of, truth_of, written
from guardsteer.rules.syntax import Condition, FlagRef, Operand, RequestRef, SignalRef
from tests.rules.test_truth import (
    FLAGS,
    Tree,
    conditions,
    kleene,
    maybe_scores,
    part_context,
    text_of,
    world_of,
)

NAMES = Names(FLAGS, {"s": ("a", "b", "c"), "p": ("d",)}, {"tier": "int", "share": "float", "beta": "bool"})


def parsed(text: str) -> Condition:
    condition, mistakes = parse_condition(text, NAMES)
    assert condition is not None, mistakes
    return condition


@given(conditions)
def test_a_condition_written_out_and_read_again_is_the_same(tree: Tree) -> None:
    condition = parsed(text_of(tree).replace("'", '"'))
    assert parsed(written(condition)) == condition


@given(conditions, st.lists(maybe_scores, min_size=4, max_size=4), part_context, st.integers(0, 3))
def test_the_whole_follows_from_the_truths_of_its_parts_as_kleene_defined_it(
    tree: Tree, signals: list[float], context: dict[str, Any], step: int
) -> None:
    condition = parsed(text_of(tree).replace("'", '"'))
    world = world_of(signals, context, step)

    def value_of(operand: Operand) -> Value:
        if isinstance(operand, SignalRef):
            return world["signal", operand.name]  # type: ignore[no-any-return]  # a mapping of anything
        return context.get(operand.key) if isinstance(operand, RequestRef) else step

    def told(part: Condition) -> Truth:
        if isinstance(part, FlagRef):
            return world["flag", part.name]  # type: ignore[no-any-return]  # a mapping of anything
        return compared(part, value_of)

    assert truth_of(condition, told) is kleene(tree, world)


def test_parts_come_once_each_from_left_to_right() -> None:
    condition = parsed('fa && (s.a > 0.5 || !fa) && request.beta == true && request.tenant in ["x"]')
    assert [written(part) for part in parts_of(condition)] == [
        "fa",
        "s.a > 0.5",
        "request.beta",
        'request.tenant in ["x"]',
    ]


def test_a_flag_has_no_value_of_the_moment() -> None:
    with pytest.raises(TypeError, match="FlagRef"):
        compared(FlagRef("fa"), lambda _: None)


def test_strings_are_written_so_that_they_can_be_read() -> None:
    text = 'a "quoted" \\ line\nand\ttab'
    condition = syntax.Compare("==", RequestRef("tenant", "string"), syntax.Constant(text))
    assert parsed(written(condition)) == condition
