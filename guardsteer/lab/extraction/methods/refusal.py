"""Which of many mean differences is the direction along which a model refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardsteer.errors import VectorError

__all__ = ["RefusalScores", "choose_refusal", "refusal_score"]

MOST_DIVERGENCE = 0.1
"""Largest mean KL divergence, in nats, on harmless prompts without the direction."""
DEEPEST = 0.8
"""Share of the blocks beyond which a direction is about the words to come rather than the choice."""


@dataclass(frozen=True, slots=True)
class RefusalScores:
    """What a candidate does.

    ``bypass``: mean log odds of refusing harmful requests when it is taken away everywhere. ``induce``:
    those of refusing harmless ones when it is added at its block. ``divergence``: KL divergence, in nats,
    of the next token on harmless prompts when it is taken away. ``position`` counts from the prompt's end.
    """

    block: int
    position: int
    bypass: float
    induce: float
    divergence: float


def refusal_score(log_probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log odds that an answer begins in one of some ways, ``[row]``.

    ``log_probabilities``: that of each way, ``[row, way]``, in nats; no way may be the beginning of another.
    """
    largest = log_probabilities.max(axis=1, keepdims=True)
    inside = (largest + np.log(np.exp(log_probabilities - largest).sum(axis=1, keepdims=True)))[:, 0]
    # Rounding may take a sum of shares to 1 or beyond, where there would be no odds.
    inside = np.minimum(inside, -np.finfo(np.float64).eps)
    odds: NDArray[np.float64] = inside - np.log(-np.expm1(inside))
    return odds


def choose_refusal(candidates: Sequence[RefusalScores], n_blocks: int) -> RefusalScores:
    """Return the candidate that bypasses refusal best, of those that also induce it and change little else.

    Arditi et al. (2024): the least ``bypass`` among those with ``induce`` above 0, ``divergence`` at most
    0.1 and a block within the first 80 %. Raises ``VectorError`` where none is left, saying how close the
    best came.
    """
    fit = [
        one
        for one in candidates
        if one.induce > 0 and one.divergence <= MOST_DIVERGENCE and one.block < DEEPEST * n_blocks
    ]
    if fit:
        return min(fit, key=lambda one: (one.bypass, one.block, one.position))
    if not candidates:
        raise VectorError("no candidate for a refusal direction")
    induced = max(candidates, key=lambda one: one.induce)
    inducing = [one for one in candidates if one.induce > 0] or candidates
    gentle = min(inducing, key=lambda one: one.divergence)
    raise VectorError(
        f"none of {len(candidates)} directions is one of refusal: the best induces it at "
        f"{induced.induce:.2f} (block {induced.block}; more than 0 is needed); of those that do, the "
        f"gentlest moves harmless answers by {gentle.divergence:.3g} nats (block {gentle.block}; at most "
        f"{MOST_DIVERGENCE}, before block {DEEPEST * n_blocks:g})"
    )
