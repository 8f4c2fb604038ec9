"""Where a causal LM keeps its decoder blocks, their attention and MLP, and its embedding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from guardsteer.errors import LayoutError

__all__ = ["Layout", "find_layout"]

# Model types whose blocks the general rule does not find: their config counts otherwise, or get_decoder
# gives a part beside them.
_BLOCK_PATHS = MappingProxyType({
    "blenderbot": "model.decoder.layers",
    "longcat_flash": "model.layers",
    "modernbert-decoder": "model.layers",
})  # fmt: skip
_MOST_CANDIDATES = 12

_ATTENTION_NAMES = (
    "self_attn", "attention", "attn", "self_attention", "linear_attn", "temporal_block", "mixer", "conv",
    "mamba", "token_mixer", "time_mixer", "norm_attn_norm",
)  # fmt: skip
_MLP_NAMES = ("mlp", "feed_forward", "ffn", "block_sparse_moe", "moe", "mlp_block", "channel_mixer")
_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim")


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The parts of a decoder that hooks are put on.

    ``blocks[i]`` returns the residual stream after block ``i``: ``[row, position, width]``, alone or first
    in a tuple. ``attention[i]`` and ``mlp[i]`` are the modules that make its two halves, None where a block
    has no such module (OPT's MLP is two bare linear layers). What they return has the same shape, but
    some models normalise it before it is added (Gemma 2, OLMo 2) and some have added it already (Bloom, MPT).
    ``attention`` is the recurrent or convolutional mixer in blocks that have one instead.
    """

    blocks: tuple[nn.Module, ...]
    block_path: str
    attention: tuple[nn.Module | None, ...]
    mlp: tuple[nn.Module | None, ...]
    embedding: nn.Module
    width: int

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.blocks)


def find_layout(model: Any, *, blocks: str | None = None) -> Layout:
    """Return the layout of a causal LM of transformers.

    The blocks are the shallowest ``ModuleList`` below the decoder whose length is the configured
    number of layers; ``blocks``, a dotted path such as ``"model.layers"``, names them by hand.
    Raises ``LayoutError`` where they cannot be told, with what was looked for and what is there.
    """
    config = _text_config(model)
    if getattr(model.config, "is_encoder_decoder", False):
        raise LayoutError(
            f"{type(model).__name__} is an encoder-decoder model: its answer depends on an encoder that has "
            "no steered positions. Use a decoder-only causal LM."
        )
    path = blocks if blocks is not None else _BLOCK_PATHS.get(str(config.model_type))
    if path is not None:
        found = _at_path(model, path)
    else:
        path, found = _search(model, config)
    embedding = _embedding(model)
    return Layout(
        blocks=found,
        block_path=path,
        attention=tuple(_child(block, _ATTENTION_NAMES) for block in found),
        mlp=tuple(_child(block, _MLP_NAMES) for block in found),
        embedding=embedding,
        width=_width(config, embedding),
    )


def _text_config(model: Any) -> Any:
    config = getattr(model, "config", None)
    if config is None or not isinstance(model, nn.Module):
        raise LayoutError(
            f"expected a causal LM of transformers (a module with a config), got {type(model).__name__}"
        )
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config


def _module_lists(module: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    for name, child in module.named_modules():
        if isinstance(child, nn.ModuleList) and len(child):
            yield name, child


def _search(model: Any, config: Any) -> tuple[str, tuple[nn.Module, ...]]:
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    n_layers = getattr(config, "num_hidden_layers", None)
    wanted = [(name, child) for name, child in _module_lists(decoder) if len(child) == n_layers]
    depth = min((name.count(".") for name, _ in wanted), default=0)
    wanted = [(name, child) for name, child in wanted if name.count(".") == depth]
    if len(wanted) != 1:
        raise LayoutError(_not_found(model, decoder, n_layers, [name for name, _ in wanted]))
    name, found = wanted[0]
    prefix = next((path for path, child in model.named_modules() if child is decoder), "")
    return f"{prefix}.{name}".strip("."), tuple(found)


def _not_found(model: nn.Module, decoder: nn.Module, n_layers: int | None, ties: list[str]) -> str:
    outcome = f"several fit: {', '.join(ties)}" if ties else "none fits"
    return (
        f"the decoder blocks of {type(model).__name__} were not found.\n"
        f"Looked for: one list of {n_layers} modules (config.num_hidden_layers) in {type(decoder).__name__}; "
        f"{outcome}.\n{_candidates(model)}\n"
        'Name the blocks by hand: wrap(..., blocks="path.to.the.list").'
    )


def _candidates(model: nn.Module) -> str:
    lines = [f"  {name}: {len(child)} of {type(child[0]).__name__}" for name, child in _module_lists(model)]
    if not lines:
        return "The model holds no list of modules at all."
    more = len(lines) - _MOST_CANDIDATES
    rest = [f"  and {more} more"] if more > 0 else []
    return "\n".join(["Lists in the model:", *lines[:_MOST_CANDIDATES], *rest])


def _at_path(model: nn.Module, path: str) -> tuple[nn.Module, ...]:
    try:
        found: nn.Module | None = model.get_submodule(path)
    except AttributeError:
        found = None
    if isinstance(found, (nn.ModuleList, nn.Sequential)) and len(found):
        return tuple(found)
    got = "nothing is there" if found is None else f"there is a {type(found).__name__}"
    raise LayoutError(
        f"blocks={path!r} does not name a list of blocks in {type(model).__name__}: {got}.\n"
        f"{_candidates(model)}\nExpected the dotted path of such a list."
    )


def _child(block: nn.Module, names: tuple[str, ...]) -> nn.Module | None:
    children = dict(block.named_children())
    return next((children[name] for name in names if name in children), None)


def _embedding(model: Any) -> nn.Module:
    try:
        embedding = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        embedding = None
    if not isinstance(embedding, nn.Module):
        raise LayoutError(
            f"the token embedding of {type(model).__name__} was not found: get_input_embeddings() gave "
            f"{repr(embedding)[:80]}, expected a module. Give the model class such a method"
        )
    return embedding


def _width(config: Any, embedding: Any) -> int:
    for name in _WIDTHS:
        value = getattr(config, name, None)
        if isinstance(value, int):
            return value
    weight = getattr(embedding, "weight", None)
    if isinstance(weight, torch.Tensor):
        return int(weight.shape[-1])
    raise LayoutError(f"the width of the model was not found: its config has none of {', '.join(_WIDTHS)}")
