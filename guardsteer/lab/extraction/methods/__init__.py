"""Ways to make a direction of what was captured, each with its paper, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from guardsteer.errors import VectorError
from guardsteer.host import Point
from guardsteer.lab.capture.captured import Keep, Rows
from guardsteer.lab.capture.moments import Sums
from guardsteer.lab.capture.readings import NEGATIVE, POSITIVE, Array
from guardsteer.lab.extraction.methods.controls import random_direction
from guardsteer.lab.extraction.methods.fitted import linear_discriminant, logistic_regression, pca_differences
from guardsteer.lab.extraction.methods.heads import HeadStates, head_probes
from guardsteer.lab.extraction.methods.means import (
    mean_centred,
    mean_difference,
    single_pair,
    whitened_mean_difference,
)
from guardsteer.steer.artifact import MethodName

__all__ = ["METHODS", "Evidence", "Method", "directions"]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a method may look at by point: sums, rows if it asked for them, mean states of ordinary text."""

    sums: Mapping[Point, Sums]
    rows: Mapping[Point, Rows] = field(default_factory=dict)
    background: Mapping[Point, Array] = field(default_factory=dict)
    n_heads: Mapping[Point, int] = field(default_factory=dict)
    heads: int = 8
    seed: int = 0


_SUMS = Keep()


@dataclass(frozen=True, slots=True)
class Method:
    """How to make directions, ``{point: [width]}`` of any length, and what it needs to be captured.

    ``pairs_used`` is set where a method looks at so many pairs and no more.
    """

    directions: Callable[[Evidence], dict[Point, Array]]
    keep: Keep = _SUMS
    background: bool = False
    pairs_used: int | None = None


def directions(name: MethodName, evidence: Evidence) -> dict[Point, Array]:
    """Return the unit directions of a method, ``{point: [width]}``; a point may get none.

    All but random ones point from the negative to the positive side's mean. Raises ``VectorError`` for a
    point where the sides do not differ or the method gives no direction.
    """
    found = {}
    for point, raw in METHODS[name].directions(evidence).items():
        length = float(np.linalg.norm(raw))
        if not np.isfinite(length) or length == 0.0:
            raise VectorError(f"{point}: {name} gives no direction")
        found[point] = raw / length
    return found


def _by_point(function: Callable[[Evidence, Point], Array]) -> Callable[[Evidence], dict[Point, Array]]:
    def each(evidence: Evidence) -> dict[Point, Array]:
        found = {}
        for point, sums in evidence.sums.items():
            try:
                towards = sums.difference()
                raw = function(evidence, point)
            except VectorError as error:
                raise VectorError(f"{point}: {error}") from error
            found[point] = -raw if raw @ towards < 0.0 else raw
        return found

    return each


def _of_means(function: Callable[[Array, Array], Array]) -> Callable[[Evidence], dict[Point, Array]]:
    def at(evidence: Evidence, point: Point) -> Array:
        means = evidence.sums[point].means()
        return function(means[POSITIVE], means[NEGATIVE])

    return _by_point(at)


def _of_rows(function: Callable[[Array, Array], Array]) -> Callable[[Evidence], dict[Point, Array]]:
    def at(evidence: Evidence, point: Point) -> Array:
        rows = evidence.rows[point]
        return function(rows.side(POSITIVE)[0], rows.side(NEGATIVE)[0])

    return _by_point(at)


def _mean_centred(evidence: Evidence, point: Point) -> Array:
    return mean_centred(evidence.sums[point].means()[POSITIVE], evidence.background[point])


def _whitened(evidence: Evidence, point: Point) -> Array:
    sums = evidence.sums[point]
    means = sums.means()
    return whitened_mean_difference(means[POSITIVE], means[NEGATIVE], sums.covariance())


def _pca(evidence: Evidence, point: Point) -> Array:
    return pca_differences(evidence.rows[point].differences())


def _heads(evidence: Evidence) -> dict[Point, Array]:
    strange = [point for point in evidence.rows if point.site != "heads"]
    if strange:
        raise VectorError(f"head_probes reads single heads, got {strange[0]}; capture at site 'heads'")
    blocks = {}
    for point, rows in evidence.rows.items():
        (positive, of_positive), (negative, of_negative) = rows.side(POSITIVE), rows.side(NEGATIVE)
        blocks[point.block] = HeadStates(
            positive, negative, of_positive % 2, of_negative % 2, evidence.n_heads[point]
        )
    found = head_probes(blocks, heads=evidence.heads)
    return {point: found[point.block] for point in evidence.rows if point.block in found}


def _random(evidence: Evidence) -> dict[Point, Array]:
    return {
        point: random_direction(sums.states.shape[-1], evidence.seed, point.block)
        for point, sums in evidence.sums.items()
    }


METHODS: Mapping[MethodName, Method] = MappingProxyType(
    {
        "mean_difference": Method(_of_means(mean_difference)),
        "single_pair": Method(_of_means(single_pair), pairs_used=1),
        "mean_centred": Method(_by_point(_mean_centred), background=True),
        "whitened_mean_difference": Method(_by_point(_whitened), Keep(second=True)),
        "pca_differences": Method(_by_point(_pca), Keep(rows=True)),
        "logistic_regression": Method(_of_rows(logistic_regression), Keep(rows=True)),
        "linear_discriminant": Method(_of_rows(linear_discriminant), Keep(rows=True)),
        "head_probes": Method(_heads, Keep(rows=True)),
        "random": Method(_random),
    }
)
"""Every method that needs a recipe and no more passes, by name."""
