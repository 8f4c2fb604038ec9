"""Steering is tried once beforehand, and a model in which it has no effect is refused by block."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from guardsteer.errors import HostError
from guardsteer.host.blocks import Layout, find_layout
from guardsteer.host.outputs import with_hidden
from guardsteer.host.selftest import check_steering
from tests.models import ARCHITECTURES, BLOCKS, tiny


def _hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_can_be_steered_at_every_block(name: str) -> None:
    model = tiny(name)
    hooks = _hooks(model)
    check_steering(model, find_layout(model), range(BLOCKS))
    assert _hooks(model) == hooks


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_every_precision_can_be_steered(dtype: torch.dtype) -> None:
    model = tiny("llama", dtype=dtype)
    check_steering(model, find_layout(model), range(BLOCKS))


def _bypass(model: Any, layout: Layout, block: int) -> None:
    """Run the block's own forward without the module call that runs hooks, as fused kernels do."""

    class Fused(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return type(self.inner).forward(self.inner, *args, **kwargs)

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(super().__getattr__("inner"), name)

    model.model.layers[block] = Fused(layout.blocks[block])


def test_a_bypassed_block_is_named() -> None:
    model = tiny("llama")
    layout = find_layout(model)
    _bypass(model, layout, 2)
    check_steering(model, layout, [0, 1, 3])
    with pytest.raises(HostError, match=r"block 2 \(model\.layers\[2\], LlamaDecoderLayer\).*not called"):
        check_steering(model, layout, [0, 2])


def test_a_push_that_is_lost_downstream_is_named() -> None:
    """Whoever computes the block's output once more makes our hook a hook without effect."""
    model = tiny("llama")
    layout = find_layout(model)

    def recompute(module: nn.Module, args: Any, kwargs: Any, _output: Any) -> Any:
        return type(module).forward(module, *args, **kwargs)

    layout.blocks[1].register_forward_hook(recompute, with_kwargs=True)
    check_steering(model, layout, [0, 2])
    with pytest.raises(HostError, match=r"block 1 .*not used downstream"):
        check_steering(model, layout, [1])
    assert _hooks(model) == 1


def test_a_block_that_runs_twice_is_named() -> None:
    model = tiny("llama")
    model.model.layers[1] = model.model.layers[0]
    with pytest.raises(HostError, match=r"block 0 .*runs 2 times"):
        check_steering(model, find_layout(model), [0])


def test_an_output_of_another_shape_is_named() -> None:
    model = tiny("llama")
    layout = find_layout(model, blocks="model.layers")
    wrong = Layout(
        blocks=tuple(block.get_submodule("mlp.up_proj") for block in layout.blocks),
        block_path="model.layers",
        attention=layout.attention,
        mlp=layout.mlp,
        embedding=layout.embedding,
        width=layout.width,
    )
    with pytest.raises(HostError, match=r"shape \(2, 5, 64\), expected .* = \(2, 5, 32\)"):
        check_steering(model, wrong, [0])


def test_training_mode_with_dropout_is_refused() -> None:
    model = tiny("gpt2").train()
    with pytest.raises(HostError, match=r"training mode: call model\.eval"):
        check_steering(model, find_layout(model), [0])


def test_logits_that_are_not_numbers_are_refused() -> None:
    model = tiny("llama")
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(HostError, match="NaN or infinity"):
        check_steering(model, find_layout(model), [0])


def test_a_model_that_looks_ahead_is_refused() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    auto: Any = AutoModelForCausalLM
    torch.manual_seed(0)
    model = auto.from_config(
        AutoConfig.for_model("bert", vocab_size=64, initializer_range=0.3, **sizes)
    ).eval()
    with pytest.raises(HostError, match="looks ahead"):
        check_steering(model, find_layout(model), [0])


@pytest.mark.parametrize("block", [-1, 4])
def test_a_block_that_is_not_there_is_named(block: int) -> None:
    model = tiny("llama")
    with pytest.raises(HostError, match=f"block {block}: the model has blocks 0 to 3"):
        check_steering(model, find_layout(model), [block])


def test_a_failing_forward_leaves_no_hook() -> None:
    model = tiny("llama")
    layout = find_layout(model)
    calls: list[int] = []

    def fail_third(_module: nn.Module, _args: Any, output: Any) -> Any:
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("out of memory")
        return with_hidden(output, output)

    handle = layout.blocks[3].register_forward_hook(fail_third)
    with pytest.raises(RuntimeError, match="out of memory"):
        check_steering(model, layout, [0])
    handle.remove()
    assert _hooks(model) == 0
