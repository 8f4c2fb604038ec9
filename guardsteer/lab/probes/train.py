"""Train a linear probe of a block's output into a folder that a policy can name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from guardsteer.classify.files.card import Measured
from guardsteer.classify.files.writing import write_probe
from guardsteer.core.digests import digest_parts
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.data import Example, check_examples
from guardsteer.lab.classifiers.fitting import (
    PARTS,
    About,
    Settings,
    Training,
    card_of,
    classes_of,
    figures,
    fit,
    split_rows,
)
from guardsteer.lab.classifiers.readme import write_readme

__all__ = ["best_block", "train_probe"]

_LEAST_EXAMPLES = 10
_CHOOSING_PENALTIES = (0.001, 0.1)
_SHORTEST = 1e-12


def train_probe(
    hidden: NDArray[Any],
    labels: Sequence[str],
    keys: Sequence[str],
    *,
    block: int,
    fingerprint: str,
    dtype: str,
    settings: Settings,
    about: About,
    out: Path,
    measure: Measured = "projection",
) -> Training:
    """Train a logistic regression on ``hidden`` [row, width] and write the probe's folder ``out``.

    ``keys``: the text, or the group of texts, of each row; rows of one key stay in one part, and intervals
    are over whole keys. ``block``, ``fingerprint`` (digest of the model) and ``dtype`` say where the states
    come from. With ``measure`` ``cosine``, states count at length 1. Of ``settings``, those of the model and
    of the split count. The figures on the card are the test rows'. Raises ``ClassifierError``.
    """
    data = _prepare(hidden, labels, keys, settings, measure)
    penalty, weight, bias = _fit_raw(data.states, data.numbers, data.rows, settings)
    decisions = (data.states.astype(np.float32) @ weight.T + bias).astype(np.float64)
    scores = 1.0 / (1.0 + np.exp(-np.clip(decisions, -500.0, 500.0)))
    tune, test = ((data.numbers[data.rows[part]], scores[data.rows[part]]) for part in ("tune", "test"))
    groups = np.unique(np.array(keys)[data.rows["test"]], return_inverse=True)[1]
    metrics, points = figures(data.outputs, tune, test, settings.seed, groups=groups)
    training: dict[str, Any] = {"model": settings.model, "seed": settings.seed, "penalty": penalty}
    states = np.asarray(hidden, dtype=np.float64)
    card = card_of(
        about,
        digest=digest_parts([*map(str.encode, (*keys, *labels)), states.tobytes()]),
        rows=data.rows,
        training=training,
    )
    write_probe(
        out,
        weight=weight,
        bias=bias,
        outputs=data.outputs,
        block=block,
        fingerprint=fingerprint,
        dtype=dtype,
        about={**card, "metrics": metrics, "operating_points": points},
        measure=measure,
    )
    write_readme(out)
    return Training(out, metrics, points, penalty)


def best_block(
    states: Mapping[int, NDArray[Any]],
    labels: Sequence[str],
    keys: Sequence[str],
    settings: Settings,
    measure: Measured = "projection",
) -> tuple[int, dict[int, float]]:
    """Return the block whose states tell the tuning rows' labels best, and every block's log loss on them.

    Neither fits nor looks at test rows. Raises ``ClassifierError`` as ``train_probe``.
    """
    losses = {}
    for block, hidden in states.items():
        data = _prepare(hidden, labels, keys, settings, measure)
        quick = replace(settings, penalties=_CHOOSING_PENALTIES)
        _, weight, bias = _fit_raw(data.states, data.numbers, data.rows, quick)
        tune = data.rows["tune"]
        decisions = np.clip(data.states[tune] @ weight[0].astype(np.float64) + bias[0], -500.0, 500.0)
        signs = np.where(data.numbers[tune] == 1, 1.0, -1.0)
        losses[block] = float(np.log1p(np.exp(-signs * decisions)).mean())
    return min(losses, key=lambda block: losses[block]), losses


class _Data(NamedTuple):
    """Checked states [row, width], class numbers [row], the rows of each part, and the outputs' names."""

    states: NDArray[np.float64]
    numbers: NDArray[np.int64]
    rows: Any
    outputs: list[str]


def _prepare(
    hidden: NDArray[Any], labels: Sequence[str], keys: Sequence[str], settings: Settings, measure: Measured
) -> _Data:
    states = np.asarray(hidden, dtype=np.float64)
    if states.ndim != 2 or not len(states) == len(labels) == len(keys):
        raise ClassifierError(
            f"hidden states {list(states.shape)} must be [row, width] with a label and a key for each row, "
            f"got {len(labels)} labels and {len(keys)} keys"
        )
    if not np.isfinite(states).all():
        raise ClassifierError("the hidden states hold values that are not finite")
    examples = [Example(key, label) for key, label in zip(keys, labels, strict=True)]
    check_examples(examples, least=_LEAST_EXAMPLES)
    classes, outputs = classes_of(examples, settings.positive)
    if len(classes) > 2:
        raise ClassifierError(f"a probe tells two labels apart, got {len(classes)}; train one for each label")
    rows, numbers = split_rows(examples, classes, settings)
    if measure == "cosine":
        states = states / np.maximum(np.linalg.norm(states, axis=1, keepdims=True), _SHORTEST)
    return _Data(states, numbers, rows, outputs)


def _fit_raw(
    states: NDArray[np.float64], numbers: NDArray[np.int64], rows: Any, settings: Settings
) -> tuple[float, NDArray[np.float32], NDArray[np.float32]]:
    """Return the penalty, weight [output, width] and bias [output] for raw hidden states.

    Trained on standardised states, since a few coordinates of a residual stream are far larger than
    the rest; the standardisation is then folded into weight and bias.
    """
    mean, scale = states[rows["train"]].mean(axis=0), states[rows["train"]].std(axis=0)
    scale[scale == 0.0] = 1.0
    scaled = (states - mean) / scale
    train, tune, _ = ((scaled[rows[part]], numbers[rows[part]]) for part in PARTS)
    with threadpool_limits(1):
        penalty, model = fit(train, tune, settings)
    weight = np.asarray(model.coef_) / scale
    bias = np.asarray(model.intercept_) - weight @ mean
    return penalty, weight.astype(np.float32), bias.astype(np.float32)
