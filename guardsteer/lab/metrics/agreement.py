"""How well probabilities fit labels, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Metric", "Probabilities", "metrics_for", "operating_points", "with_intervals"]

Labels: TypeAlias = NDArray[np.int64]
Probabilities: TypeAlias = NDArray[np.float64]

Metric: TypeAlias = Callable[[Labels, Probabilities], float]
"""From labels [row] and probabilities [row, class] to a figure."""

_FALSE_POSITIVE_RATES = (0.01, 0.02, 0.05)


def metrics_for(classes: int) -> dict[str, Metric]:
    """Return the figures worth a card: for two classes those of the second against the first too."""
    metrics: dict[str, Metric] = {"accuracy": _accuracy, "macro_f1": _macro_f1, "log_loss": _log_loss}
    if classes == 2:
        metrics["auroc"] = _auroc
        metrics["true_positive_rate_at_1_percent_false"] = _true_positives
    return metrics


def with_intervals(
    labels: Labels,
    probabilities: Probabilities,
    metrics: Mapping[str, Metric],
    *,
    seed: int,
    resamples: int = 1000,
    groups: NDArray[np.int64] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return each metric with its 95 % percentile bootstrap interval (Efron, 1979) over rows.

    ``groups`` [row] numbers what rows belong to, such as the text that tokens are of: whole groups are
    drawn then, since rows of one group are no independent witnesses. A resample on which a metric is not
    defined (one class is missing) is left out.
    """
    rows = len(labels)
    drawn = _resamples(rows, groups, np.random.default_rng(seed), resamples)
    found: dict[str, dict[str, Any]] = {}
    for name, metric in metrics.items():
        value = metric(labels, probabilities)
        if not np.isfinite(value):
            continue
        tried = np.array([metric(labels[rows_], probabilities[rows_]) for rows_ in drawn])
        low, high = np.quantile(tried[np.isfinite(tried)], [0.025, 0.975])
        found[name] = {"value": _round(value), "low": _round(low), "high": _round(high), "rows": rows}
    return found


def _resamples(
    rows: int, groups: NDArray[np.int64] | None, generator: np.random.Generator, resamples: int
) -> list[NDArray[np.int64]]:
    if groups is None:
        return [generator.integers(0, rows, rows) for _ in range(resamples)]
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    count = len(members)
    return [
        np.concatenate([members[place] for place in generator.integers(0, count, count)])
        for _ in range(resamples)
    ]


def operating_points(
    output: str, tune: tuple[Labels, NDArray[np.float64]], test: tuple[Labels, NDArray[np.float64]]
) -> list[dict[str, Any]]:
    """Return thresholds for false positive rates of 1, 2 and 5 %, set on tuning rows, measured on test rows.

    Both are pairs of labels [row] (1 or 0) and scores [row].
    """
    tune_labels, tune_scores = tune
    test_labels, test_scores = test
    negatives = tune_scores[tune_labels == 0]
    points = []
    for rate in _FALSE_POSITIVE_RATES:
        if not (len(negatives) * rate >= 1 and (test_labels == 1).any() and (test_labels == 0).any()):
            continue
        threshold = _round(float(np.quantile(negatives, 1 - rate, method="higher")))
        raised = test_scores >= threshold
        points.append(
            {
                "output": output,
                "threshold": threshold,
                "false_positive_rate": _round(float(raised[test_labels == 0].mean())),
                "true_positive_rate": _round(float(raised[test_labels == 1].mean())),
            }
        )
    return points


def _round(value: float) -> float:
    return round(float(value), 6)


def _accuracy(labels: Labels, probabilities: Probabilities) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())


def _macro_f1(labels: Labels, probabilities: Probabilities) -> float:
    classes = probabilities.shape[1]
    said = probabilities.argmax(axis=1)
    right = np.bincount(labels[said == labels], minlength=classes)
    total = np.bincount(labels, minlength=classes) + np.bincount(said, minlength=classes)
    seen = total > 0
    return float((2 * right[seen] / total[seen]).mean())


def _log_loss(labels: Labels, probabilities: Probabilities) -> float:
    given = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(given, 1e-15)).mean())


def _auroc(labels: Labels, probabilities: Probabilities) -> float:
    """Return the share of pairs that are in order, from rank sums (Mann and Whitney, 1947)."""
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    scores = probabilities[:, 1]
    ordered = np.sort(scores)
    ranks = (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right") + 1) / 2
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _true_positives(labels: Labels, probabilities: Probabilities) -> float:
    """Return the share of positives above all but 1 % of the negatives; needs a hundred of these."""
    scores = probabilities[:, 1]
    negatives, positives = np.sort(scores[labels == 0]), scores[labels == 1]
    if len(negatives) < 100 or not len(positives):
        return float("nan")
    allowed = len(negatives) // 100
    return float((positives > negatives[-1 - allowed]).mean())
