"""A policy's vectors become slots at the site where they were extracted, or are refused with the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from guardsteer.core.plan import Channel
from guardsteer.core.policy import Site, VectorSpec
from guardsteer.errors import BindingError, VectorError
from guardsteer.host import find_layout, point_at
from guardsteer.steer.artifact import ModelBinding, Recommendation
from guardsteer.steer.slots import Slot, make_slots, place_vector
from guardsteer.steer.vectors import Vector, make_vector
from tests.models import BLOCKS, WIDTH, tiny
from tests.steer.artifacts import fingerprint_of, small_card

LAYOUT = find_layout(tiny("llama"))


def vector_at(site: Site, width: int = WIDTH, **changes: Any) -> Vector:
    blocks = (0,) if site == "embedding" else tuple(range(BLOCKS))
    parts = {part: getattr(fingerprint_of(width=WIDTH), part) for part in ModelBinding.model_fields}
    fields: dict[str, Any] = {
        "blocks": blocks,
        "model": ModelBinding(**parts),
        "separation": (),
        "recommended": None,
        "site": site,
        "site_width": width if site == "heads" else None,
    }
    directions = np.random.default_rng(0).normal(size=(len(blocks), width))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return make_vector(
        small_card(**{**fields, **changes}),
        directions=directions,
        residual_norms=np.arange(1, len(blocks) + 1, dtype=np.float32),
    )


def slots_of(
    vector: Vector, channels: tuple[Channel, ...] = (Channel(0),), **changes: Any
) -> tuple[Slot, ...]:
    spec = VectorSpec(**{"name": "warmth", "use": "./warmth", "blocks": (1, 2), **changes})
    return make_slots([place_vector(spec, vector, LAYOUT)], channels)


@pytest.mark.parametrize("site", ["block_input", "heads", "attention", "mlp", "block_output"])
def test_a_vector_acts_at_the_site_where_it_was_extracted(site: Site) -> None:
    vector = vector_at(site)
    for asked in (None, site):
        (slot,) = slots_of(vector, site=asked)
        assert slot.points == (point_at(1, site), point_at(2, site))
        assert slot.site == site
        assert slot.norms == {point_at(1, site): 2.0, point_at(2, site): 3.0}
        assert np.array_equal(slot.directions[point_at(2, site)].numpy(), vector.direction(2))


def test_the_embedding_needs_no_blocks() -> None:
    (slot,) = slots_of(vector_at("embedding"), blocks=None)
    assert slot.points == (point_at(0, "embedding"),)


def test_another_site_than_the_one_of_extraction_is_refused() -> None:
    with pytest.raises(BindingError, match="act at mlp, but it was extracted at block_output; elsewhere"):
        slots_of(vector_at("block_output"), site="mlp")


def test_channels_of_one_vector_share_its_directions() -> None:
    channels = (
        Channel(0, "add", keep_norm=True),
        Channel(0, "subtract"),
        Channel(0, "ablate"),
        Channel(0, "clamp", low=-0.5, high=0.25),
    )
    slots = slots_of(vector_at("block_output"), channels, positions=("all",))
    assert [slot.operator for slot in slots] == ["add", "add", "ablate", "clamp"]
    assert [slot.keep_norm for slot in slots] == [True, False, False, False]
    assert (slots[3].low, slots[3].high) == (-0.5, 0.25)
    assert all(slot.directions is slots[0].directions for slot in slots)
    assert {slot.positions for slot in slots} == {frozenset({"all"})}


def test_chosen_heads_keep_their_part_of_the_direction_at_unit_length() -> None:
    vector = vector_at("heads")
    (slot,) = slots_of(vector, heads=(0, 3))
    assert slot.heads == (0, 3)
    for block in (1, 2):
        kept = slot.directions[point_at(block, "heads")].numpy().reshape(4, 8)
        whole = vector.direction(block).reshape(4, 8)
        assert not kept[1:3].any()
        assert np.linalg.norm(kept) == pytest.approx(1.0, rel=1e-6)
        assert np.allclose(kept[[0, 3]], whole[[0, 3]] / np.linalg.norm(whole[[0, 3]]))


def test_heads_that_there_are_not_are_refused() -> None:
    with pytest.raises(BindingError, match=r"heads \[4\], but block 1 has heads 0 to 3"):
        slots_of(vector_at("heads"), heads=(0, 4))
    with pytest.raises(VectorError, match=r"heads \[1\] are chosen, but it acts at mlp"):
        slots_of(vector_at("mlp"), heads=(1,))


def test_heads_in_which_the_direction_is_nothing_are_refused() -> None:
    vector = vector_at("heads")
    directions = np.array(vector.directions)
    directions[:, :8] = 0.0
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vector = make_vector(vector.card, directions=directions, residual_norms=vector.residual_norms)
    with pytest.raises(VectorError, match=r"in block 1 it has nothing in heads \[0\]"):
        slots_of(vector, heads=(0,))


def test_a_vector_of_another_shape_is_refused() -> None:
    with pytest.raises(
        BindingError, match="width 64, but the model's states at block 1, heads have 32 values"
    ):
        slots_of(vector_at("heads", width=64))
    with pytest.raises(BindingError, match="blocks"):
        place_vector(
            VectorSpec("warmth", "./warmth", blocks=(3,)),
            vector_at("block_output"),
            find_layout(tiny("llama", num_hidden_layers=2)),
        )


def test_a_site_that_the_model_lacks_is_refused_with_the_reason() -> None:
    with pytest.raises(BindingError, match=r"'warmth'.*no softmax attention"):
        place_vector(
            VectorSpec("warmth", "./warmth", blocks=(0,)), vector_at("heads"), find_layout(tiny("lfm2"))
        )


def test_blocks_come_from_the_policy_else_from_the_card_else_are_asked_for() -> None:
    calibrated = Recommendation(blocks=(3,), low=0.1, recommended=0.2, high=0.3)
    assert slots_of(vector_at("mlp", recommended=calibrated), blocks=None)[0].blocks == (3,)
    assert slots_of(vector_at("mlp", recommended=calibrated), blocks=(2, 0))[0].blocks == (0, 2)
    with pytest.raises(
        VectorError, match=r"recommends no blocks; name some in the policy, such as blocks: \[2\]"
    ):
        slots_of(vector_at("mlp"), blocks=None)


def test_pushes_are_what_they_were_bit_for_bit() -> None:
    vector = vector_at("block_output")
    (slot,) = slots_of(vector)
    point = point_at(1, "block_output")
    assert torch.equal(slot.directions[point], torch.tensor(vector.direction(1), dtype=torch.float32))
