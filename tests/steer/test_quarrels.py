"""Two pushes fight where one undoes the other, or where one carries the other beyond its window."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.host import point_at
from guardsteer.steer.quarrels import Pushed, cosines, quarrel

STRENGTHS = st.floats(0.01, 1.0) | st.floats(-1.0, -0.01)


def push(name: str, strength: float, highest: float | None = None, norm: float = 1.0) -> Pushed:
    return Pushed(name, strength, norm, highest)


@pytest.mark.parametrize(
    ("first", "second", "cosine", "wrong"),
    [
        (0.3, 0.3, -0.5, "against each other (cosine -0.50)"),
        (0.3, -0.3, 0.7, "against each other (cosine -0.70)"),
        (-0.3, -0.3, -0.7, "against each other (cosine -0.70)"),
        (0.3, 0.3, 0.5, "same way (cosine +0.50), and nothing bounds"),
        (-0.3, 0.3, -0.8, "same way (cosine +0.80), and nothing bounds"),
        (0.3, 0.3, 0.49, ""),
        (0.3, -0.3, 0.49, ""),
    ],
)
def test_signs_count(first: float, second: float, cosine: float, wrong: str) -> None:
    found = quarrel(push("a", first), push("b", second), cosine)
    assert (wrong in found) if wrong else not found


def test_pushes_the_same_way_are_left_alone_while_both_stay_in_their_windows() -> None:
    near = push("a", 0.3, highest=0.5), push("b", 0.2, highest=0.6)
    assert quarrel(near[0], near[1], 0.6) == ""
    beyond = push("a", 0.4, highest=0.5), push("b", 0.2, highest=0.6)
    assert "strength 0.52 along 'a', whose window ends at 0.50" in quarrel(beyond[0], beyond[1], 0.6)
    assert "along 'a'" in quarrel(beyond[1], beyond[0], 0.6)


def test_a_budget_bounds_what_pushes_the_same_way_reach_and_mends_no_contest() -> None:
    beyond = push("a", 0.4, highest=0.5), push("b", 0.4, highest=0.6)
    assert quarrel(beyond[0], beyond[1], 0.9, budget=0.5) == ""
    assert "strength 0.55 along 'a'" in quarrel(beyond[0], beyond[1], 0.9, budget=0.55)
    assert quarrel(push("a", 0.4), push("b", 0.4), cosine=0.9, budget=3.0) == ""
    assert "against" in quarrel(beyond[0], beyond[1], -0.9, budget=0.1)


def test_strengths_count_in_the_norms_of_their_own_vectors() -> None:
    pair = push("a", 0.3, highest=0.5, norm=10.0), push("b", 0.3, highest=9.0, norm=2.0)
    assert quarrel(pair[0], pair[1], 1.0) == ""
    assert "along 'b'" in quarrel(pair[0], push("b", 0.3, highest=1.7, norm=2.0), cosine=1.0)


@given(first=STRENGTHS, second=STRENGTHS, cosine=st.floats(-1, 1), budget=st.none() | st.floats(0.1, 2))
def test_order_and_a_turn_of_both_signs_change_nothing(
    first: float, second: float, cosine: float, budget: float | None
) -> None:
    one, other = push("a", first, highest=0.5), push("b", second)
    found = bool(quarrel(one, other, cosine, budget))
    assert found == bool(quarrel(other, one, cosine, budget))
    turned = push("a", -first, highest=0.5), push("b", -second)
    assert found == bool(quarrel(*turned, cosine, budget))
    flipped = push("a", -first, highest=0.5), other
    assert found == bool(quarrel(*flipped, -cosine, budget))


def test_cosines_are_of_the_points_that_both_act_on() -> None:
    near, far = torch.tensor([1.0, 0.0]), torch.tensor([math.cos(1.0), math.sin(1.0)])
    here, there = point_at(3, "block_output"), point_at(3, "mlp")
    found = cosines({here: near, there: near}, {here: far, point_at(4, "block_output"): far})
    assert found == {here: pytest.approx(math.cos(1.0))}
