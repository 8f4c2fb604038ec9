"""Directions between mean states."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["mean_centred", "mean_difference", "single_pair", "whitened_mean_difference"]

_Array = NDArray[np.float64]


def mean_difference(positive: _Array, negative: _Array) -> _Array:
    """Return the difference of the sides' mean states, ``[width]``.

    ``positive`` and ``negative`` are ``[width]``. Contrastive activation addition (Rimsky et al., 2024).
    """
    return positive - negative


def single_pair(positive: _Array, negative: _Array) -> _Array:
    """Return the difference of two states, ``[width]``.

    Activation addition (Turner et al., 2023), with what a position rule reads in place of all positions of
    a prompt. One pair's wording is in the direction as much as its trait.
    """
    return positive - negative


def mean_centred(positive: _Array, background: _Array) -> _Array:
    """Return the positive side's mean state less that of ordinary text, ``[width]``.

    Mean-centring (Jorgensen et al., 2023): needs no opposite of the trait, since the mean of ``background``
    takes out what all states share.
    """
    return positive - background


def whitened_mean_difference(
    positive: _Array, negative: _Array, covariance: _Array, *, shrinkage: float = 0.1
) -> _Array:
    """Return the mean difference multiplied by the inverse covariance within the sides, ``[width]``.

    Mass-mean probing in its form for independent data (Marks and Tegmark, 2023). ``covariance`` is
    ``[width, width]``; ``shrinkage``, from 0 to 1, is the share of it that is replaced by the same variance
    in all directions, without which directions that hardly vary would outweigh all others.
    """
    width = len(covariance)
    level = float(np.trace(covariance)) / width
    shrunk = (1.0 - shrinkage) * covariance + shrinkage * level * np.eye(width)
    return np.asarray(np.linalg.solve(shrunk, positive - negative), dtype=np.float64)
