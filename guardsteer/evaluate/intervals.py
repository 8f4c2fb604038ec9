"""Figures with 95 % intervals: shares (Wilson) and anything else (bootstrap over rows)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Estimate", "bootstrap", "mean_interval", "wilson"]

_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the ends of its 95 % interval, over ``rows`` rows."""

    value: float
    low: float
    high: float
    rows: int


def wilson(successes: int, rows: int) -> Estimate:
    """Return the share ``successes / rows`` with its Wilson score interval (Wilson, 1927).

    Raises ``ValueError`` unless ``0 <= successes <= rows`` and there is a row.
    """
    if not 0 <= successes <= rows or rows < 1:
        raise ValueError(
            f"got {successes} of {rows} rows, expected at least one row and no more successes than rows"
        )
    share = successes / rows
    scale = 1 + _Z * _Z / rows
    middle = (share + _Z * _Z / (2 * rows)) / scale
    reach = _Z / scale * math.sqrt(share * (1 - share) / rows + (_Z / (2 * rows)) ** 2)
    # Rounding may put an end a hair beyond the share itself, or beyond 0 and 1.
    low = 0.0 if successes == 0 else middle - reach
    high = 1.0 if successes == rows else middle + reach
    return Estimate(share, min(low, share), max(high, share), rows)


def bootstrap(
    columns: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], float],
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> Estimate:
    """Return ``statistic`` of rows with its percentile bootstrap interval (Efron, 1979).

    ``columns``: ``[row]`` or ``[row, column]``; whole rows are drawn, so that what belongs together (two
    runs on one prompt) stays together. The same ``seed`` gives the same interval.
    Raises ``ValueError`` where there is no row or a value is not finite.
    """
    values = np.asarray(columns, dtype=np.float64)
    if values.ndim not in (1, 2) or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"got values of shape {values.shape}, expected at least one row of finite numbers")
    generator = np.random.default_rng(seed)
    rows = len(values)
    drawn = [statistic(values[generator.integers(0, rows, rows)]) for _ in range(resamples)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(statistic(values)), float(low), float(high), rows)


def mean_interval(values: ArrayLike, *, seed: int = 0, resamples: int = 2000) -> Estimate:
    """Return the mean of ``values`` ``[row]`` with its bootstrap interval; raises as ``bootstrap``."""
    return bootstrap(values, lambda drawn: float(drawn.mean()), seed=seed, resamples=resamples)
