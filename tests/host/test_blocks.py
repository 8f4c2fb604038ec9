"""The parts of a decoder are found in every architecture, and an unknown one is a clear error."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from guardsteer.errors import LayoutError
from guardsteer.host.blocks import Layout, find_layout
from guardsteer.host.outputs import hidden_of, with_hidden
from tests.models import ARCHITECTURES, BLOCKS, VOCABULARY, WIDTH, tiny

_WITHOUT_MLP = {"opt", "mamba"}
_ADDED_ALREADY = {"bloom", "mpt"}
_NORMALISED_FIRST = {"gemma2", "gemma3_text", "olmo2"}
_WITHOUT_EMBEDDING_STATE = {"mamba"}  # reports its states from the first block on


def _outputs(model: Any, modules: tuple[nn.Module | None, ...], ids: torch.Tensor) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    handles = [
        module.register_forward_hook(lambda _module, _args, output: seen.append(hidden_of(output)))
        for module in modules
        if module is not None
    ]
    with torch.no_grad():
        model(input_ids=ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return seen


def _ids() -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (2, 7), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_part_returns_row_position_width(name: str) -> None:
    model = tiny(name)
    layout = find_layout(model)
    assert layout.n_blocks == BLOCKS
    assert layout.width == WIDTH
    assert model.get_submodule(layout.block_path)[0] is layout.blocks[0]
    mlps = () if name in _WITHOUT_MLP else layout.mlp
    for modules in (layout.blocks, layout.attention, mlps):
        outputs = _outputs(model, modules, _ids())
        assert [output.shape for output in outputs] == [torch.Size((2, 7, WIDTH))] * len(modules)
    assert layout.embedding(_ids()).shape == (2, 7, WIDTH)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_block_outputs_are_the_hidden_states_that_the_model_reports(name: str) -> None:
    """All but the last reported state, which is taken after the final norm."""
    model = tiny(name)
    with torch.no_grad():
        reported = model(input_ids=_ids(), use_cache=False, output_hidden_states=True).hidden_states
    blocks = _outputs(model, find_layout(model).blocks, _ids())
    first = 0 if name in _WITHOUT_EMBEDDING_STATE else 1
    for block, state in zip(blocks[:-1], reported[first:], strict=False):
        assert torch.equal(block, state)
    assert not torch.equal(blocks[-1], reported[-1])


@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if n not in _WITHOUT_MLP | _NORMALISED_FIRST])
def test_a_push_at_attention_or_mlp_reaches_its_own_block(name: str) -> None:
    """A vector added to what the attention or the MLP of a block returns changes that block's output."""
    model = tiny(name)
    layout = find_layout(model)
    clean = _outputs(model, layout.blocks, _ids())
    for part in (layout.attention[1], layout.mlp[1]):
        assert part is not None
        handle = part.register_forward_hook(_push)
        pushed = _outputs(model, layout.blocks, _ids())
        handle.remove()
        assert torch.equal(pushed[0], clean[0])
        assert (pushed[1] - clean[1]).abs().max() > 0.1


def _push(_module: nn.Module, _args: Any, output: Any) -> Any:
    hidden = hidden_of(output)
    return with_hidden(output, hidden + torch.linspace(-1, 1, hidden.shape[-1]))


@pytest.mark.parametrize("name", sorted(_ADDED_ALREADY))
def test_bloom_and_mpt_mlps_return_the_residual_too(name: str) -> None:
    """What the documentation says of them: the MLP's output is the block's."""
    model = tiny(name)
    layout = find_layout(model)
    mlps = _outputs(model, layout.mlp, _ids())
    blocks = _outputs(model, layout.blocks, _ids())
    assert all(torch.equal(mlp, block) for mlp, block in zip(mlps, blocks, strict=True))


def test_blocks_can_be_named_by_hand() -> None:
    model = tiny("llama")
    assert find_layout(model, blocks="model.layers").blocks == find_layout(model).blocks


class _Odd(nn.Module):
    """A model whose config counts layers that are not there."""

    def __init__(self, depth: int, lists: int = 1) -> None:
        super().__init__()
        self.config = tiny("llama").config
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        for i in range(lists):
            setattr(self, f"stage{i}", nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth)))

    def get_input_embeddings(self) -> nn.Module:
        return self.embed


def test_an_unknown_layout_says_what_was_looked_for_found_and_what_to_do() -> None:
    model = _Odd(depth=3)
    with pytest.raises(LayoutError) as caught:
        find_layout(model)
    message = str(caught.value)
    assert f"one list of {BLOCKS} modules" in message
    assert "stage0: 3 of Linear" in message
    assert 'wrap(..., blocks="' in message
    assert find_layout(model, blocks="stage0").n_blocks == 3


def test_several_lists_of_the_right_length_are_not_guessed_between() -> None:
    with pytest.raises(LayoutError, match="several fit: stage0, stage1"):
        find_layout(_Odd(depth=BLOCKS, lists=2))


@pytest.mark.parametrize(
    ("path", "got"), [("model.nowhere", "nothing is there"), ("lm_head", "there is a Linear")]
)
def test_a_wrong_path_says_what_is_there(path: str, got: str) -> None:
    with pytest.raises(LayoutError, match=got) as caught:
        find_layout(tiny("llama"), blocks=path)
    assert "model.layers: 4 of LlamaDecoderLayer" in str(caught.value)


def test_a_model_without_an_embedding_says_so() -> None:
    model: Any = _Odd(depth=BLOCKS)
    model.get_input_embeddings = lambda: None
    with pytest.raises(LayoutError, match=r"get_input_embeddings\(\) gave None"):
        find_layout(model)


def test_a_model_without_lists_says_so() -> None:
    with pytest.raises(LayoutError, match="no list of modules at all"):
        find_layout(_Odd(depth=1, lists=0))


@pytest.mark.parametrize("thing", [None, "model", nn.Linear(2, 2)])
def test_what_is_no_model_is_refused(thing: Any) -> None:
    with pytest.raises(LayoutError, match="expected a causal LM"):
        find_layout(thing)


def test_encoder_decoders_are_refused() -> None:
    config = T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    with pytest.raises(LayoutError, match="encoder-decoder"):
        find_layout(T5ForConditionalGeneration(config))


def test_a_layout_is_a_value() -> None:
    layout: Layout = find_layout(tiny("gpt2"))
    with pytest.raises(AttributeError):
        layout.width = 3  # type: ignore[misc]  # frozen, to be refused
