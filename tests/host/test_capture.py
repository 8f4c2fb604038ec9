"""Captured states are what blocks return, whatever the padding, and nothing stays behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from guardsteer.errors import HostError
from guardsteer.host.blocks import find_layout
from guardsteer.host.capture import capture
from guardsteer.host.outputs import hidden_of
from tests.models import ARCHITECTURES, BLOCKS, LINEAR_ATTENTION, PAD, VOCABULARY, WIDTH, tiny


def _ids(length: int = 7) -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (2, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_returns_true_block_outputs(name: str) -> None:
    """The last block's too, where ``output_hidden_states`` has the state after the final norm."""
    model = tiny(name)
    layout = find_layout(model)
    outputs: list[torch.Tensor] = []
    handles = [
        b.register_forward_hook(lambda _m, _a, o: outputs.append(hidden_of(o).clone())) for b in layout.blocks
    ]
    with torch.no_grad():
        model(input_ids=_ids(), use_cache=False)
    for handle in handles:
        handle.remove()
    captured = capture(model, layout, range(BLOCKS), _ids())
    assert list(captured) == list(range(BLOCKS))
    for block, output in enumerate(outputs):
        assert captured[block].shape == (2, 7, WIDTH)
        assert torch.equal(captured[block], output)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in LINEAR_ATTENTION])
def test_padding_on_either_side_changes_nothing(name: str, side: str) -> None:
    """Others average over padding, or shift positions by it."""
    model = tiny(name)
    layout = find_layout(model)
    pads = torch.full((2, 3), PAD)
    parts = [pads, _ids()] if side == "left" else [_ids(), pads]
    real = slice(3, None) if side == "left" else slice(0, 7)
    padded = torch.cat(parts, dim=1)
    mask = torch.zeros_like(padded)
    mask[:, real] = 1
    alone = capture(model, layout, [0, 3], _ids())
    together = capture(model, layout, [0, 3], padded, mask)
    for block in (0, 3):
        torch.testing.assert_close(together[block][:, real], alone[block], rtol=1e-4, atol=1e-4)


def test_the_callback_is_given_each_block_in_turn_and_nothing_is_kept() -> None:
    model = tiny("llama")
    layout = find_layout(model)
    seen: dict[int, torch.Tensor] = {}

    def keep(block: int, hidden: torch.Tensor) -> None:
        seen[block] = hidden.clone()

    assert capture(model, layout, [3, 1], _ids(), on_hidden=keep) == {}
    assert list(seen) == [1, 3]
    for block, hidden in capture(model, layout, [1, 3], _ids()).items():
        assert torch.equal(hidden, seen[block])
        assert not hidden.requires_grad


def _hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) for m in model.modules())


def test_hooks_come_off_when_the_callback_raises() -> None:
    model = tiny("llama")

    def fail(_block: int, _hidden: torch.Tensor) -> None:
        raise ValueError("full")

    with pytest.raises(ValueError, match="full"):
        capture(model, find_layout(model), [0, 1], _ids(), on_hidden=fail)
    assert _hooks(model) == 0


def test_a_block_that_is_not_there_is_named() -> None:
    model = tiny("llama")
    with pytest.raises(IndexError, match="block 4: the model has blocks 0 to 3"):
        capture(model, find_layout(model), [4], _ids())
    assert _hooks(model) == 0


def test_a_block_that_does_not_run_once_is_an_error() -> None:
    model = tiny("llama")
    layout = find_layout(model)
    model.model.layers[2] = model.model.layers[1]
    with pytest.raises(HostError, match="block 1 ran 2 times"):
        capture(model, layout, [1], _ids())
    with pytest.raises(HostError, match="block 2 ran 0 times"):
        capture(model, layout, [2], _ids())


def test_blocks_outside_the_decoder_are_captured_through_the_whole_model() -> None:
    model: Any = tiny("llama")
    decoder = model.get_decoder()
    model.get_decoder = lambda: nn.Identity()
    layout = find_layout(model, blocks="model.layers")
    assert capture(model, layout, [1], _ids())[1].shape == (2, 7, WIDTH)
    assert decoder.layers[1] is layout.blocks[1]
