"""A vector read backwards: how far a state lies along its direction, as a calibrated probability.

The probe's weight is the vector's own direction, so it measures what steering would push; only a scale and a
bias are fitted (Platt, 1999), on pairs that the direction was not read from. ``projection`` is the component
along the direction, ``cosine`` the same of the state at length 1: on a residual stream, whose length grows
from block to block and differs from token to token, the two can rank states differently.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from guardsteer.classify.files.card import Measured
from guardsteer.classify.files.writing import write_probe
from guardsteer.errors import VectorError
from guardsteer.host import find_layout, fingerprint, point_at
from guardsteer.lab.capture.captured import Keep, capture_pairs
from guardsteer.lab.capture.capturing import Capture
from guardsteer.lab.capture.positions import RULES
from guardsteer.lab.capture.readings import NEGATIVE, POSITIVE
from guardsteer.lab.classifiers.fitting import About, Settings, Training, card_of, figures, fit
from guardsteer.lab.classifiers.readme import write_readme
from guardsteer.lab.pairs.contrast import ContrastPair, Recipe, pairs_digest
from guardsteer.steer import Vector, check_binding

__all__ = ["probe_of"]

_FEWEST_PAIRS = 8
_OUTPUT = "score"
_DESCRIPTIONS = {
    "projection": "Projection on the vector {}.",
    "cosine": "Cosine with the vector {}.",
}


def probe_of(
    model: Any,
    tokenizer: Any,
    recipe: Recipe,
    vector: Vector,
    out: Path,
    *,
    name: str = "",
    block: int | None = None,
    measure: Measured = "projection",
    batch_size: int = 16,
) -> Training:
    """Write the probe of ``vector`` into the folder ``out``; its output ``score`` is the trait's probability.

    ``block``: the best separated one by default. Calibrated on the recipe's tuning pairs, token by token
    where it is read over an answer, since a policy's probe reads token by token; the card's figures are those
    of the test pairs, with intervals over whole pairs, since the tokens of an answer are no independent
    witnesses. Raises ``VectorError`` for a vector that does not act on a block's output, lacks the
    block or leaves no pairs, and ``BindingError`` for one of another model.
    """
    identity = fingerprint(model, tokenizer)
    check_binding(vector, identity)
    chosen = _best(vector) if block is None else block
    tuning, test = recipe.part("tuning"), recipe.part("test")
    _check(vector, chosen, tuning, test)
    rule = RULES["last_prompt_token" if recipe.read == "last_prompt_token" else "generated_tokens"]
    point = point_at(chosen, "block_output")
    capture = Capture(model, tokenizer, find_layout(model), (point,), (rule,), batch_size)
    direction = vector.direction(chosen).astype(np.float64)

    def read(pairs: tuple[ContrastPair, ...]) -> _Read:
        found = capture_pairs(capture, pairs, model=identity.digest, keep=Keep(rows=True))
        rows = found.rows[point, rule.name]
        sides = [(1, *rows.side(POSITIVE)), (0, *rows.side(NEGATIVE))]
        return _Read(
            np.concatenate([_along(states, direction, measure) for _, states, _ in sides]),
            np.concatenate([np.full(len(states), label, dtype=np.int64) for label, states, _ in sides]),
            np.concatenate([owners for _, _, owners in sides]),
        )

    halves = _halves(tuning)
    parts = [read(pairs) for pairs in (*halves, test)]
    mean, scale = float(parts[0].values.mean()), float(parts[0].values.std()) or 1.0
    train, tune, held_out = (((part.values - mean)[:, None] / scale, part.labels) for part in parts)
    settings = replace(Settings(), balanced=True)
    with threadpool_limits(1):
        penalty, fitted = fit(train, tune, settings)
    slope, shift = float(fitted.coef_[0, 0]) / scale, float(fitted.intercept_[0])
    if slope <= 0:
        raise VectorError(
            f"vector {vector.name!r}: on the tuning pairs, block {chosen} has the trait where its direction "
            "does not point; take another block"
        )
    (tuned, tuned_labels), (tested, tested_labels) = tune, held_out
    scores = [fitted.predict_proba(values)[:, 1:] for values in (tuned, tested)]
    metrics, points = figures(
        [_OUTPUT],
        (tuned_labels, scores[0]),
        (tested_labels, scores[1]),
        settings.seed,
        groups=parts[2].pairs,
    )
    called = name or f"{vector.name}-probe"
    about = About(called, description=_DESCRIPTIONS[measure].format(vector.name), licence=vector.card.licence)
    counts = {"train": len(train[1]), "tune": len(tune[1]), "test": len(tested_labels)}
    rows = {part: np.arange(count) for part, count in counts.items()}
    card = card_of(
        about,
        digest=pairs_digest((*tuning, *test)),
        rows=rows,  # type: ignore[arg-type]  # the keys are the parts' names
        training={"model": measure, "vector": vector.digest, "penalty": penalty},
    )
    write_probe(
        out,
        weight=(slope * direction)[None].astype(np.float32),
        bias=np.array([shift - slope * mean], dtype=np.float32),
        outputs=(_OUTPUT,),
        block=chosen,
        fingerprint=identity.digest,
        dtype=identity.dtype,
        about={**card, "metrics": metrics, "operating_points": points},
        measure=measure,
    )
    write_readme(out)
    return Training(out, metrics, points, penalty)


class _Read(NamedTuple):
    """What was read of some pairs: value, label and number of the pair of each state."""

    values: NDArray[np.float64]
    labels: NDArray[np.int64]
    pairs: NDArray[np.int64]


def _along(
    states: NDArray[np.float64], direction: NDArray[np.float64], measure: Measured
) -> NDArray[np.float64]:
    along: NDArray[np.float64] = states @ direction
    if measure == "cosine":
        along /= np.maximum(np.linalg.norm(states, axis=1), np.finfo(np.float64).tiny)
    return along


def _halves(
    pairs: tuple[ContrastPair, ...],
) -> tuple[tuple[ContrastPair, ...], tuple[ContrastPair, ...]]:
    """Return every other group of pairs, to fit on, and the rest, to choose on."""
    groups = list(dict.fromkeys(pair.id.partition("/")[0] for pair in pairs))
    if len(groups) < 2:
        return pairs[::2], pairs[1::2]
    first = set(groups[::2])
    inside = tuple(pair for pair in pairs if pair.id.partition("/")[0] in first)
    return inside, tuple(pair for pair in pairs if pair.id.partition("/")[0] not in first)


def _best(vector: Vector) -> int:
    separated = {row.block: row.cohens_d or 0.0 for row in vector.card.separation}
    return max(vector.blocks, key=lambda block: separated.get(block, 0.0))


def _check(
    vector: Vector, block: int, tuning: tuple[ContrastPair, ...], test: tuple[ContrastPair, ...]
) -> None:
    if vector.card.site != "block_output":
        raise VectorError(f"vector {vector.name!r} acts at {vector.card.site}; a probe reads block_output")
    if block not in vector.blocks:
        raise VectorError(f"vector {vector.name!r} has no direction for block {block}, only {vector.blocks}")
    if min(len(tuning), len(test)) < _FEWEST_PAIRS:
        raise VectorError(
            f"vector {vector.name!r}: its recipe keeps {len(tuning)} tuning and {len(test)} test pairs; a "
            f"probe is calibrated and judged on at least {_FEWEST_PAIRS} each"
        )
