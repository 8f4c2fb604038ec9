"""What a hook adds: exact for rows that nothing steers, the same bits in every batch, computed once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.core.policy import Position
from guardsteer.steer import deltas
from guardsteer.steer.deltas import Composer, Slot, unsteered

WIDTH = 6


def slot(name: str, blocks: tuple[int, ...], seed: int, *positions: Position) -> Slot:
    generator = torch.Generator().manual_seed(seed)
    return Slot(
        name=name,
        digest=name,
        pushes={block: torch.randn(WIDTH, generator=generator) for block in blocks},
        norms={block: 2.0 + block for block in blocks},
        positions=frozenset(positions or ("generated",)),
    )


def composer() -> Composer:
    return Composer(
        [slot("a", (1, 3), 0), slot("b", (3,), 1, "last_prompt_token"), slot("c", (0,), 2, "all")]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_added_to_an_untouched_row_changes_no_bit(dtype: torch.dtype) -> None:
    """Zero would turn -0.0 into 0.0."""
    hidden = torch.tensor([[[0.0, -0.0, 1.5, -2.25, float("inf"), 1e-30]]], dtype=dtype)
    added = hidden + unsteered(hidden.shape, hidden)
    assert torch.equal(torch.signbit(added), torch.signbit(hidden))
    assert torch.equal(added, hidden)


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_a_delta_is_the_sum_of_strength_times_push_in_the_order_of_the_vectors(
    strengths: list[float],
) -> None:
    made = composer()
    like = torch.zeros(1)
    key = (strengths[0], strengths[1], strengths[2])
    for block in (0, 1, 2, 3):
        expected = torch.zeros(WIDTH)
        acts = False
        for strength, each in zip(key, made.slots, strict=True):
            if block in each.pushes and strength:
                expected = expected + each.pushes[block] * strength
                acts = True
        found = made.delta(key, block, like)
        assert (found is not None) == acts
        if found is not None:
            assert torch.allclose(found, expected)


def test_a_delta_is_computed_once_and_in_the_dtype_of_the_states() -> None:
    made = composer()
    half = torch.zeros(1, dtype=torch.bfloat16)
    first = made.delta((0.5, 0.0, 0.0), 3, half)
    assert first is not None
    assert first.dtype == torch.bfloat16
    assert made.delta((0.5, 0.0, 0.0), 3, half) is first
    assert made.delta((0.5, 0.0, 0.0), 3, torch.zeros(1)) is not first


def test_a_vector_acts_where_its_positions_say() -> None:
    made = composer()
    strengths = (1.0, 2.0, 3.0)
    assert made.masked(strengths, frozenset({"generated", "all"})) == (1.0, 0.0, 3.0)
    assert made.masked(strengths, frozenset({"last_prompt_token", "all"})) == (0.0, 2.0, 3.0)
    assert made.masked(strengths, frozenset({"all"})) == (0.0, 0.0, 3.0)


def test_alphas_are_strengths_times_the_norms_of_the_blocks() -> None:
    assert composer().slots[0].alphas(0.5) == (1.5, 2.5)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas, "_CACHED_PLANS", 8)
    made = composer()
    for step in range(50):
        made.delta((step / 50, 0.0, 0.0), 1, torch.zeros(1))
        made.masked((step / 50, 0.0, 0.0), frozenset({"all"}))
    assert len(made._deltas) <= 8
    assert len(made._masked) <= 8
