"""Directions fitted to states: principal component of differences, and two linear classifiers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

__all__ = ["linear_discriminant", "logistic_regression", "pca_differences"]

_Array = NDArray[np.float64]


def pca_differences(differences: _Array) -> _Array:
    """Return the first principal direction of the pairs' differences, positive side up: ``[width]``.

    ``differences``: ``[pair, width]``. Representation engineering (Zou et al., 2023): each difference is
    taken with both signs, as with pairs in random order there, so the component is that of the uncentred
    differences; its sign is then that under which most of their sum is positive.
    """
    _, vectors = np.linalg.eigh(differences.T @ differences)
    return _up(vectors[:, -1], differences.sum(0))


def logistic_regression(positive: _Array, negative: _Array, *, penalty: float = 1.0) -> _Array:
    """Return the normal of the plane that tells the sides apart, towards the positive: ``[width]``.

    ``positive`` and ``negative`` are ``[row, width]``. Logistic regression with L2 ``penalty`` (Cox, 1958; as
    steering directions in Li et al., 2023) on states standardised by coordinate, since a few coordinates
    of a residual stream are far larger than the rest; the result is that of the raw states.
    """
    states, labels = _labelled(positive, negative)
    mean, scale = states.mean(0), states.std(0)
    scale[scale == 0.0] = 1.0
    with threadpool_limits(1):
        model = LogisticRegression(C=1.0 / penalty, tol=1e-8, max_iter=10_000)
        model.fit((states - mean) / scale, labels)
    direction: _Array = np.asarray(model.coef_, dtype=np.float64)[0] / scale
    return direction


def linear_discriminant(positive: _Array, negative: _Array) -> _Array:
    """Return the linear discriminant of the sides, towards the positive: ``[width]``.

    ``positive`` and ``negative`` are ``[row, width]``. Fisher (1936), with the covariance within the sides
    shrunk by the share that Ledoit and Wolf (2004) derive, so that fewer rows than coordinates will do.
    """
    states, labels = _labelled(positive, negative)
    with threadpool_limits(1):
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(states, labels)
    direction: _Array = np.asarray(model.coef_, dtype=np.float64)[0]
    return direction


def _labelled(positive: _Array, negative: _Array) -> tuple[_Array, NDArray[np.int64]]:
    labels = np.concatenate([np.ones(len(positive), np.int64), np.zeros(len(negative), np.int64)])
    return np.concatenate([positive, negative]), labels


def _up(direction: _Array, towards: _Array) -> _Array:
    return -direction if direction @ towards < 0.0 else direction
