"""How well scores tell two classes apart, at which threshold, and how far they can be believed.

Every figure is computed from counts of rows in the order of their scores, so that a bootstrap over rows
(Efron, 1979) needs no further sorting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardsteer.evaluate import Estimate

__all__ = ["Floats", "figures_of", "reliability_of", "roc_of", "threshold_for"]

Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]
_Figure: TypeAlias = Callable[[Floats, Floats], Floats]

_RESAMPLES = 300
_BINS = 15
_MOST_CELLS = 4_000_000


def threshold_for(labels: Labels, scores: Floats, rate: float) -> float:
    """Return the least threshold, 0 to 1, that at most ``rate`` of the negatives reach.

    ``labels``: [row], 1 or 0; ``scores``: [row]. Without negatives it is 1.0.
    """
    negatives = np.sort(scores[labels == 0])[::-1]
    if not len(negatives):
        return 1.0
    # Just above the first negative that may not be reached.
    first = negatives[min(math.floor(rate * len(negatives)), len(negatives) - 1)]
    return min(1.0, round(float(first) + 1e-6, 6))


def figures_of(
    labels: Labels,
    scores: Floats,
    raw: Floats,
    threshold: float,
    *,
    seed: int = 0,
    resamples: int = _RESAMPLES,
) -> dict[str, Estimate]:
    """Return every figure that the rows allow, with its 95 % percentile bootstrap interval over rows.

    ``labels``: [row], 1 or 0. ``scores``, ``raw``: [row], calibrated and before. AUROC and rates need both
    classes, a true positive rate at 1 % false ones needs a hundred negatives, at 5 % twenty.
    """
    found: dict[str, Estimate] = {}
    for name, (held, figure) in _plan(labels, scores, raw, threshold).items():
        order = np.argsort(held, kind="stable")
        sides = labels[order].astype(np.float64)
        _, starts = np.unique(held[order], return_index=True)
        value, drawn = _resampled(sides, starts, figure, seed, resamples)
        drawn = drawn[np.isfinite(drawn)]
        if math.isfinite(value) and len(drawn):
            low, high = np.quantile(drawn, [0.025, 0.975])
            # A resample has ties that the rows have not: its interval may just miss the figure.
            found[name] = Estimate(value, min(value, float(low)), max(value, float(high)), len(labels))
    return found


def roc_of(labels: Labels, scores: Floats, *, points: int = 40) -> tuple[tuple[float, float], ...]:
    """Return the ROC curve as (false, true positive rate), thinned to about so many points."""
    order = np.argsort(-scores, kind="stable")
    true, false = np.cumsum(labels[order]), np.cumsum(1 - labels[order])
    if not len(labels) or not true[-1] or not false[-1]:
        return ()
    # Points of equal scores are one: between them the order is no one's doing.
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(labels) - 1)
    curve = np.vstack([[0.0, 0.0], np.column_stack([false[last] / false[-1], true[last] / true[-1]])])
    length = np.abs(np.diff(curve, axis=0)).sum(axis=1).cumsum()
    places = np.unique(np.searchsorted(length, np.linspace(0, 2, points + 1)[:-1], side="right"))
    kept = [*places.tolist(), len(curve) - 1]
    return tuple((float(curve[p, 0]), float(curve[p, 1])) for p in dict.fromkeys(kept))


def reliability_of(labels: Labels, scores: Floats, *, bins: int = 10) -> tuple[tuple[float, float, int], ...]:
    """Return mean score, share of positives and rows of each bin of equal width that has rows."""
    which = np.minimum(np.floor(scores * bins), bins - 1)
    return tuple(
        (float(scores[which == each].mean()), float(labels[which == each].mean()), int((which == each).sum()))
        for each in np.unique(which)
    )


def _plan(
    labels: Labels, scores: Floats, raw: Floats, threshold: float
) -> Mapping[str, tuple[Floats, _Figure]]:
    positives, rows = int(labels.sum()), len(labels)
    negatives = rows - positives
    raised = (scores >= threshold).astype(np.float64)
    plan: dict[str, tuple[Floats, _Figure]] = {}
    if positives and negatives:
        plan["auroc"] = (scores, _auroc)
        for percent in (1, 5):
            if negatives * percent >= 100:
                plan[f"tpr_at_{percent}_percent_fpr"] = (scores, _tpr_at(percent / 100))
        plan["f1"] = (raised, _f1)
    if positives:
        plan["tpr"] = (raised, lambda p, _: _above(p, raised))
    if negatives:
        plan["fpr"] = (raised, lambda _, n: _above(n, raised))
    plan["accuracy"] = (raised, lambda p, n: _accuracy(p, n, raised))
    for name, held in (("ece_before", raw), ("ece_after", scores)):
        plan[name] = (np.minimum(np.floor(held * _BINS), _BINS - 1), _ece(held))
    return plan


def _resampled(
    sides: Floats, starts: NDArray[np.int64], figure: _Figure, seed: int, resamples: int
) -> tuple[float, Floats]:
    """Return a figure of the rows, and of each resample of them.

    A figure takes counts [resample, level] of positives and negatives at each level of the score, ascending.
    """
    rows = len(sides)
    generator = np.random.default_rng(seed)

    def of(weights: Floats) -> Floats:
        positives = np.add.reduceat(weights * sides, starts, axis=1)
        negatives = np.add.reduceat(weights * (1.0 - sides), starts, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return figure(positives, negatives)

    value = float(of(np.ones((1, rows)))[0])
    drawn: list[Floats] = []
    block = max(1, _MOST_CELLS // rows)
    for first in range(0, resamples, block):
        many = min(block, resamples - first)
        weights = np.stack(
            [np.bincount(generator.integers(0, rows, rows), minlength=rows) for _ in range(many)]
        )
        drawn.append(of(weights.astype(np.float64)))
    return value, np.concatenate(drawn)


def _auroc(positives: Floats, negatives: Floats) -> Floats:
    """Return the share of pairs in order, ties as half (Mann and Whitney, 1947)."""
    below = np.cumsum(negatives, axis=1) - negatives / 2
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    return np.asarray((positives * below).sum(axis=1) / pairs)


def _tpr_at(rate: float) -> _Figure:
    def figure(positives: Floats, negatives: Floats) -> Floats:
        reached = np.cumsum(positives[:, ::-1], axis=1)
        false = np.cumsum(negatives[:, ::-1], axis=1)
        allowed = false <= rate * negatives.sum(axis=1, keepdims=True) + 1e-9
        return np.asarray(np.where(allowed, reached, 0.0).max(axis=1) / positives.sum(axis=1))

    return figure


def _f1(positives: Floats, negatives: Floats) -> Floats:
    if positives.shape[1] == 1:
        return np.full(len(positives), np.nan)
    right = positives[:, 1]
    return np.asarray(2 * right / (2 * right + negatives[:, 1] + positives[:, 0]))


def _above(counts: Floats, raised: Floats) -> Floats:
    """Return the share of counts [resample, level] above the threshold; one level lies wholly on a side."""
    if counts.shape[1] == 1:
        return np.full(len(counts), float(raised[0]))
    return np.asarray(counts[:, -1] / counts.sum(axis=1))


def _accuracy(positives: Floats, negatives: Floats, raised: Floats) -> Floats:
    rows = positives.sum(axis=1) + negatives.sum(axis=1)
    if positives.shape[1] == 1:
        return np.asarray((positives if raised[0] else negatives)[:, 0] / rows)
    return np.asarray((positives[:, 1] + negatives[:, 0]) / rows)


def _ece(held: Floats) -> _Figure:
    """Return the expected calibration error over bins of equal width (Naeini et al., 2015)."""
    bins = np.minimum(np.floor(held * _BINS), _BINS - 1)
    said = np.array([held[bins == each].mean() for each in np.unique(bins)])

    def figure(positives: Floats, negatives: Floats) -> Floats:
        rows = positives + negatives
        share = np.divide(positives, rows, out=np.zeros_like(rows), where=rows > 0)
        return np.asarray((rows * np.abs(share - said)).sum(axis=1) / rows.sum(axis=1))

    return figure
