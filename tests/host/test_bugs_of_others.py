"""Mistakes that other steering systems were found to make, as far as they concern the model's modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from guardsteer.errors import UnsupportedError
from guardsteer.host import HookSpec, attach, capture, check_model, difference, find_layout, fingerprint
from guardsteer.host.outputs import hidden_of, with_hidden
from tests.host.chat_tokenizer import chat_tokenizer
from tests.models import ARCHITECTURES, PAD, VOCABULARY, WIDTH, tiny

_VECTOR = torch.linspace(-2, 2, WIDTH)


def _ids(rows: int = 2) -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (rows, 6), generator=torch.Generator().manual_seed(2))


def _push(_module: nn.Module, _args: Any, output: Any) -> Any:
    return with_hidden(output, hidden_of(output) + _VECTOR)


def _logits(model: Any, **kwargs: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=_ids(), **kwargs).logits
    return logits


def test_state_on_a_class_shared_by_all_models() -> None:
    """A hook on one model leaves another of the same class as it is."""
    one, other = tiny("llama"), tiny("llama")
    clean = _logits(other)
    hooks = attach([HookSpec(find_layout(one).blocks[1], "forward", _push)])
    assert torch.equal(_logits(other), clean)
    assert not torch.equal(_logits(one), clean)
    hooks.remove()


def test_hook_registered_before_try() -> None:
    """A registration that fails half-way leaves no hook behind."""
    model = tiny("llama")
    clean = _logits(model)
    wrong: Any = HookSpec(model, "sideways", _push)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="sideways"):
        attach([*(HookSpec(block, "forward", _push) for block in find_layout(model).blocks), wrong])
    assert torch.equal(_logits(model), clean)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_vector_fitted_at_a_blocks_output_applied_at_its_input(name: str) -> None:
    """States are read where vectors are added: what is added at a block is in what is captured there."""
    model = tiny(name)
    layout = find_layout(model)
    clean = capture(model, layout, [1, 2], _ids())
    hooks = attach([HookSpec(layout.blocks[1], "around", lambda hidden: hidden + _VECTOR)])
    steered = capture(model, layout, [1, 2], _ids())
    hooks.remove()
    assert torch.equal(steered[1], clean[1] + _VECTOR)
    assert not torch.equal(steered[2], clean[2])


def test_pad_tokens_in_the_mean() -> None:
    """The states of real positions do not depend on padding, so that a mean over them does not either."""
    model = tiny("gpt2")
    layout = find_layout(model)
    alone = capture(model, layout, [2], _ids(1))[2][0].mean(0)
    padded = torch.cat([torch.full((1, 4), PAD), _ids(1)], dim=1)
    mask = (torch.arange(10) >= 4).long()[None]
    together = capture(model, layout, [2], padded, mask)[2][0, 4:].mean(0)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_captured_states_are_unsteered() -> None:
    """The model's own ``output_hidden_states`` reports what a prepended hook made of a block's output."""
    model = tiny("llama")
    block = find_layout(model).blocks[1]
    with torch.no_grad():
        clean = model(input_ids=_ids(), output_hidden_states=True).hidden_states[2]
        hooks = attach([HookSpec(block, "forward", _push, prepend=True)])
        steered = model(input_ids=_ids(), output_hidden_states=True).hidden_states[2]
    hooks.remove()
    assert torch.equal(steered, clean + _VECTOR)


def test_steering_writes_into_states_that_others_hold() -> None:
    """What was captured before stays as it was when a vector is added."""
    model = tiny("llama")
    block = find_layout(model).blocks[1]
    held: list[torch.Tensor] = []
    block.register_forward_hook(lambda _m, _a, output: held.append(hidden_of(output)))
    _logits(model)
    hooks = attach([HookSpec(block, "forward", _push)])
    _logits(model)
    hooks.remove()
    assert torch.equal(held[1], held[0])


def test_hooks_added_after_compilation_are_silently_ignored() -> None:
    model = tiny("llama")
    with pytest.raises(UnsupportedError, match="ignores hooks that are added later"):
        check_model(torch.compile(model, backend="eager"))


def test_vector_for_another_model_accepted() -> None:
    """Two models of one type and shape have different fingerprints; so have two precisions of one model."""
    tokenizer = chat_tokenizer()
    base = fingerprint(tiny("llama"), tokenizer)
    assert difference(fingerprint(tiny("llama", seed=1), tokenizer), base) == ["weights"]
    assert "dtype" in difference(fingerprint(tiny("llama", dtype=torch.bfloat16), tokenizer), base)
