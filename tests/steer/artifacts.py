"""A small vector and the fingerprint of the model it belongs to, for tests of files and bindings."""

from __future__ import annotations

from typing import Any

import numpy as np

from guardsteer.host import Fingerprint
from guardsteer.steer.artifact import ModelBinding, Recommendation, Separation, VectorCard
from guardsteer.steer.vectors import Vector, make_vector

__all__ = ["BLOCKS", "WIDTH", "fingerprint_of", "small_card", "small_vector"]

BLOCKS = (1, 3)
WIDTH = 8


def fingerprint_of(**changes: Any) -> Fingerprint:
    """Return the fingerprint that ``small_vector`` is bound to, with some parts changed."""
    parts: dict[str, Any] = {
        "architecture": "LlamaForCausalLM",
        "config": "b3:" + "1" * 64,
        "weights": "b3:" + "2" * 64,
        "tokenizer": "b3:" + "3" * 64,
        "dtype": "float32",
        "width": WIDTH,
        "n_blocks": 4,
    }
    return Fingerprint(**{**parts, **changes})


def small_card(**changes: Any) -> VectorCard:
    """Return a full card without digests, with some fields changed."""
    fields: dict[str, Any] = {
        "name": "warmth",
        "version": "1.0.0",
        "trait": "The answer is warm.",
        "description": "A test.",
        "licence": "Apache-2.0",
        "method": "mean_difference",
        "read": "assistant_mean",
        "data_digest": "b3:" + "a" * 64,
        "pairs": 64,
        "blocks": BLOCKS,
        "model": ModelBinding(
            **{part: getattr(fingerprint_of(), part) for part in ModelBinding.model_fields}
        ),
        "separation": tuple(
            Separation(block=block, cohens_d=1.5, split_half_cosine=0.75, measured_on="tuning")
            for block in BLOCKS
        ),
        "recommended": Recommendation(blocks=(3,), low=0.1, recommended=0.3, high=0.45),
        "libraries": {"torch": "2.13.0"},
    }
    return VectorCard(**{**fields, **changes})


def small_vector(seed: int = 0, **changes: Any) -> Vector:
    """Return a vector of random unit rows on blocks 1 and 3."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(len(BLOCKS), WIDTH))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return make_vector(
        small_card(**changes), directions=rows, residual_norms=rng.uniform(1.0, 5.0, len(BLOCKS))
    )
