"""Directions in single attention heads, chosen by how well a probe of each head tells the sides apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

__all__ = ["HeadStates", "head_accuracies", "head_probes"]

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class HeadStates:
    """What the heads of one block held: ``positive`` and ``negative`` ``[row, n_heads * head_dim]``.

    ``folds_positive`` and ``folds_negative`` (``[row]``, 0 or 1) keep both sides of a pair in one fold.
    """

    positive: _Array
    negative: _Array
    folds_positive: NDArray[np.int64]
    folds_negative: NDArray[np.int64]
    n_heads: int


def head_accuracies(states: HeadStates) -> _Array:
    """Return by head the share of rows that a probe trained on the other fold gets right: ``[head]``."""
    every = np.concatenate([states.positive, states.negative]).reshape(-1, states.n_heads, _head_dim(states))
    labels = np.repeat([1, 0], [len(states.positive), len(states.negative)])
    folds = np.concatenate([states.folds_positive, states.folds_negative])
    return np.array([_accuracy(every[:, head], labels, folds) for head in range(states.n_heads)])


def head_probes(blocks: Mapping[int, HeadStates], *, heads: int) -> dict[int, _Array]:
    """Return a direction for each block with one of the ``heads`` best heads: ``[n_heads * head_dim]``.

    Inference-time intervention (Li et al., 2023): heads of all blocks are ranked by the accuracy of a linear
    probe on held-out rows; in each of the best, the direction is the unit mean difference times the standard
    deviation of the states along it. All other heads are zero. Ties go to the earlier head.
    """
    ranked = sorted(
        (-accuracy, block, head)
        for block, states in blocks.items()
        for head, accuracy in enumerate(head_accuracies(states).tolist())
    )
    found: dict[int, _Array] = {}
    for _, block, head in ranked[:heads]:
        states = blocks[block]
        size = _head_dim(states)
        span = slice(head * size, (head + 1) * size)
        positive, negative = states.positive[:, span], states.negative[:, span]
        difference = positive.mean(0) - negative.mean(0)
        unit = difference / np.linalg.norm(difference)
        spread = float((np.concatenate([positive, negative]) @ unit).std())
        found.setdefault(block, np.zeros(states.positive.shape[1]))[span] = spread * unit
    return dict(sorted(found.items()))


def _head_dim(states: HeadStates) -> int:
    width: int = states.positive.shape[1]
    return width // states.n_heads


def _accuracy(states: _Array, labels: NDArray[np.int64], folds: NDArray[np.int64]) -> float:
    right = 0
    for fold in (0, 1):
        train, test = folds != fold, folds == fold
        if len(set(labels[train].tolist())) < 2 or not test.any():
            return 0.0
        mean, scale = states[train].mean(0), states[train].std(0)
        scale[scale == 0.0] = 1.0
        with threadpool_limits(1):
            model = LogisticRegression(max_iter=1000).fit((states[train] - mean) / scale, labels[train])
        right += int((model.predict((states[test] - mean) / scale) == labels[test]).sum())
    return right / len(labels)
