"""Running sums in float64: all that is kept of the states that were read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from guardsteer.errors import VectorError
from guardsteer.host import Point
from guardsteer.lab.capture.capturing import States
from guardsteer.lab.capture.readings import NEGATIVE, POSITIVE, Array

__all__ = ["SMALLEST_DIFFERENCE", "Key", "ProjectionMoments", "Sums", "merged"]

SMALLEST_DIFFERENCE = 1e-6
"""Relative to the residual norm; below it, what is left of a difference is rounding."""

Key: TypeAlias = tuple[Point, str]
"""A point, and the name of a position rule."""


@dataclass(slots=True, eq=False)
class Sums:
    """Sums of the states at one point by one position rule.

    ``counts``: ``[half, side]``. ``states``: ``[half, side, width]``. ``norms``: the number of positions
    read, the sum of their L2 norms, and the sum of the squares of these. ``second``: ``[side, width,
    width]``, sums of outer products, where they were asked for. All float64.
    """

    counts: Array
    states: Array
    norms: Array
    second: Array | None

    @classmethod
    def empty(cls, width: int, *, second: bool = False) -> Sums:
        """Return sums of nothing."""
        products = np.zeros((2, width, width)) if second else None
        return cls(np.zeros((2, 2)), np.zeros((2, 2, width)), np.zeros(3), products)

    def add(self, states: States) -> None:
        """Add what was read in a batch."""
        sides = np.array([reading.side for reading in states.batch])[states.owners]
        halves = np.array([reading.half for reading in states.batch])[states.owners]
        # A product of matrices adds many rows at once, where numpy's add.at goes row by row.
        groups = np.zeros((4, len(sides)))
        groups[2 * halves + sides, np.arange(len(sides))] = 1.0
        self.states += (groups @ states.values).reshape(self.states.shape)
        self.counts += groups.sum(axis=1).reshape(self.counts.shape)
        self.norms += np.array([len(states.norms), states.norms.sum(), states.norms @ states.norms])
        if self.second is not None:
            for side in (POSITIVE, NEGATIVE):
                rows = states.values[sides == side]
                self.second[side] += rows.T @ rows

    @property
    def residual_norm(self) -> float:
        """Mean L2 norm over the positions read; 0.0 where there are none."""
        return float(self.norms[1] / self.norms[0]) if self.norms[0] else 0.0

    def means(self) -> Array:
        """Return the mean state of each side, ``[side, width]``; ``VectorError`` where one was never read."""
        counts = self.counts.sum(0)
        if not counts.all():
            side = ("positive", "negative")[int(np.argmin(counts))]
            raise VectorError(f"the {side} side has no position to read: the position rule found none")
        found: Array = self.states.sum(0) / counts[:, None]
        return found

    def covariance(self) -> Array:
        """Return the covariance within the sides, pooled: ``[width, width]``.

        Raises ``VectorError`` where outer products were not summed or there are fewer than 3 states.
        """
        total = float(self.counts.sum())
        if self.second is None or total < 3:
            raise VectorError("the covariance needs second moments and at least 3 states; capture them")
        means, counts = self.means(), self.counts.sum(0)
        between = np.einsum("s,si,sj->ij", counts, means, means)
        found: Array = (self.second.sum(0) - between) / (total - 2)
        return found

    def difference(self) -> Array:
        """Return ``mean(positive) - mean(negative)``, ``[width]``; ``VectorError`` where there is none."""
        means = self.means()
        difference: Array = means[POSITIVE] - means[NEGATIVE]
        length, typical = float(np.linalg.norm(difference)), self.residual_norm
        if length <= SMALLEST_DIFFERENCE * typical:
            raise VectorError(
                f"the sides do not differ (mean difference {length:.2g} at residual norm {typical:.3g}); "
                "check that no pair has its sides the wrong way round"
            )
        return difference

    def split_half_cosine(self) -> float | None:
        """Return the cosine between the mean differences of two halves of the pairs, if each has some."""
        if not self.counts.all():
            return None
        means = self.states / self.counts[:, :, None]
        first, second = means[:, POSITIVE] - means[:, NEGATIVE]
        lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
        return float(first @ second) / lengths if lengths > 0.0 else None


def merged(parts: Iterable[Sums]) -> Sums:
    """Return the sums over all of ``parts``; ``VectorError`` for none, and for parts of two shapes."""
    found = list(parts)
    shapes = {(part.states.shape, part.second is None) for part in found}
    if len(shapes) != 1:
        raise VectorError(f"sums to merge: got {len(shapes)} different shapes, expected one")
    second = None if found[0].second is None else _total([part.second for part in found])
    return Sums(
        _total([part.counts for part in found]),
        _total([part.states for part in found]),
        _total([part.norms for part in found]),
        second,
    )


def _total(parts: list[Array | None]) -> Array:
    total: Array = np.sum([part for part in parts if part is not None], axis=0)
    return total


class ProjectionMoments:
    """Moments of the projections on each point's direction, by side."""

    def __init__(self, directions: dict[Point, Array]) -> None:
        self._directions = directions
        self._moments: dict[Point, Array] = {point: np.zeros((2, 3)) for point in directions}

    def add(self, states: States) -> None:
        """Add what was read in a batch."""
        values = states.values @ self._directions[states.point]
        sides = np.array([reading.side for reading in states.batch])[states.owners]
        for side in (POSITIVE, NEGATIVE):
            of_side = values[sides == side]
            self._moments[states.point][side] += (len(of_side), of_side.sum(), (of_side**2).sum())

    def cohens_d(self, point: Point) -> float | None:
        """Return the sides' mean difference in pooled standard deviations, None where these vanish."""
        counts, totals, squares = self._moments[point].T
        if (counts < 2).any():
            return None
        averages = totals / counts
        variances = np.maximum(squares - counts * averages**2, 0.0) / (counts - 1)
        pooled = float(np.sqrt(variances.mean()))
        if pooled <= SMALLEST_DIFFERENCE * float(np.abs(averages).max()):
            return None
        return float(averages[POSITIVE] - averages[NEGATIVE]) / pooled
