"""Tiny random causal LMs of many architectures: 4 blocks, width 32, 128 tokens, built in milliseconds.

Weights are drawn larger than a fresh model's, so that logits differ clearly from token to token and a
lost or misplaced steering vector shows.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

__all__ = ["ARCHITECTURES", "BLOCKS", "LINEAR_ATTENTION", "PAD", "VOCABULARY", "WIDTH", "config_of", "tiny"]

_auto_model: Any = AutoModelForCausalLM  # transformers leaves from_config without types

BLOCKS = 4
WIDTH = 32
VOCABULARY = 128
PAD = 0

_TOKENS: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": PAD,
}
_PLAIN: dict[str, Any] = {
    **_TOKENS,
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
_GROUPED: dict[str, Any] = {**_PLAIN, "num_key_value_heads": 2}
_GPT2: dict[str, Any] = {**_TOKENS, "n_embd": WIDTH, "n_layer": BLOCKS, "n_head": 4, "n_positions": 512}
_EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_SLIDING: dict[str, Any] = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 2}

_CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "llama": _GROUPED,
    "mistral": {**_GROUPED, "sliding_window": None},
    "qwen2": _GROUPED,
    "qwen3": {**_GROUPED, "head_dim": 8},
    "gemma": {**_GROUPED, "head_dim": 8},
    "gemma2": {**_GROUPED, **_SLIDING, "head_dim": 8, "query_pre_attn_scalar": 8},
    "gemma3_text": {**_GROUPED, **_SLIDING, "head_dim": 8, "query_pre_attn_scalar": 8},
    "gpt2": _GPT2,
    "gpt_neo": {
        **_TOKENS,
        "hidden_size": WIDTH,
        "num_layers": BLOCKS,
        "num_heads": 4,
        "intermediate_size": 64,
        "window_size": 8,
        "attention_types": [[["global", "local"], 2]],
        "max_position_embeddings": 512,
    },
    "gpt_neox": _PLAIN,
    "gptj": {**_GPT2, "rotary_dim": 4},
    "gpt_bigcode": _GPT2,
    "opt": {
        **_TOKENS,
        "hidden_size": WIDTH,
        "ffn_dim": 64,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": 4,
        "word_embed_proj_dim": WIDTH,
        "max_position_embeddings": 512,
    },
    "phi": _GROUPED,
    "phi3": {**_GROUPED, "original_max_position_embeddings": 512},
    "falcon": {
        **_TOKENS,
        "hidden_size": WIDTH,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": 4,
        "new_decoder_architecture": False,
    },
    "bloom": {**_TOKENS, "hidden_size": WIDTH, "n_layer": BLOCKS, "n_head": 4},
    "mpt": {**_TOKENS, "d_model": WIDTH, "n_layers": BLOCKS, "n_heads": 4, "max_seq_len": 512},
    "mixtral": {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {**_GROUPED, **_EXPERTS, "head_dim": 8},
    "gpt_oss": {
        **_GROUPED,
        "head_dim": 8,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 8,
    },
    "olmo2": _GROUPED,
    "stablelm": _GROUPED,
    "starcoder2": {**_GROUPED, "sliding_window": None},
    "cohere": {**_GROUPED, "logit_scale": 1.0},
    "granite": _GROUPED,
    "deepseek_v3": {
        **_PLAIN,
        "num_key_value_heads": 4,
        "q_lora_rank": 16,
        "kv_lora_rank": 8,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 4,
        "v_head_dim": 8,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "moe_intermediate_size": 32,
        "first_k_dense_replace": 1,
        "n_shared_experts": 1,
    },
    "qwen3_next": {
        **_GROUPED,
        **_EXPERTS,
        "head_dim": 8,
        "shared_expert_intermediate_size": 32,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"] * 2,
    },
    "lfm2": {**_GROUPED, "layer_types": ["conv", "full_attention"] * 2},
    "mamba": {**_TOKENS, "hidden_size": WIDTH, "num_hidden_layers": BLOCKS, "state_size": 8},
}

ARCHITECTURES: tuple[str, ...] = tuple(_CONFIGS)
"""Names that ``tiny`` accepts; each is a ``model_type`` of transformers."""

LINEAR_ATTENTION: frozenset[str] = frozenset({"qwen3_next", "lfm2", "mamba"})
"""Architectures that keep a recurrent state, which left padding and rollback can change."""


def config_of(name: str, **changes: Any) -> Any:
    """Return the configuration of ``tiny(name)``, with some values replaced."""
    return AutoConfig.for_model(name, **{**copy.deepcopy(dict(_CONFIGS[name])), **changes})


def _draw_weights(model: PreTrainedModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2:
                continue
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * (1.5 / parameter.shape[-1] ** 0.5))


@lru_cache(maxsize=64)
def _built(name: str, seed: int, changes: tuple[tuple[str, Any], ...]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _auto_model.from_config(config_of(name, **dict(changes)))
    _draw_weights(model, seed)
    return model.eval()


def tiny(name: str, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """Return a fresh tiny model in eval mode; the same arguments give the same weights.

    ``changes`` replace values of its configuration (hashable values only). The caller owns the model.
    """
    return copy.deepcopy(_built(name, seed, tuple(sorted(changes.items())))).to(dtype)
