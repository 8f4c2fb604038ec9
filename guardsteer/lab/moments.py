"""Running sums in float64: all that is kept of the states that were read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guardsteer.errors import VectorError
from guardsteer.lab.readings import NEGATIVE, POSITIVE, Array, Reading

__all__ = ["DifferenceSums", "ProjectionMoments"]

_SMALLEST_DIFFERENCE = 1e-6
"""Relative to the residual norm; below it, what is left of a difference is rounding."""


class DifferenceSums:
    """Sums of the states of each block by half and side, and of their norms."""

    def __init__(self, blocks: tuple[int, ...], width: int) -> None:
        self._states: dict[int, Array] = {block: np.zeros((2, 2, width)) for block in blocks}
        self._counts: dict[int, Array] = {block: np.zeros((2, 2)) for block in blocks}
        self._norms = dict.fromkeys(blocks, (0.0, 0))

    def add(self, block: int, batch: Sequence[Reading], means: Array, norms: Array) -> None:
        """Add a batch at one block: ``means`` ``[row, width]``, ``norms`` ``[read position]``."""
        index = ([reading.half for reading in batch], [reading.side for reading in batch])
        np.add.at(self._states[block], index, means)
        np.add.at(self._counts[block], index, 1.0)
        total, positions = self._norms[block]
        self._norms[block] = (total + float(norms.sum()), positions + len(norms))

    def residual_norms(self) -> list[float]:
        """Return the mean L2 norm over the positions read, for each block."""
        return [total / positions for total, positions in self._norms.values()]

    def directions(self) -> Array:
        """Return ``mean(positive) - mean(negative)`` at unit length: ``[block, width]``.

        Raises ``VectorError`` for a block where the sides do not differ.
        """
        rows = []
        for (block, states), typical in zip(self._states.items(), self.residual_norms(), strict=True):
            sums, counts = states.sum(0), self._counts[block].sum(0)
            difference = sums[POSITIVE] / counts[POSITIVE] - sums[NEGATIVE] / counts[NEGATIVE]
            length = float(np.linalg.norm(difference))
            if length <= _SMALLEST_DIFFERENCE * typical:
                raise VectorError(
                    f"block {block}: the sides do not differ (mean difference {length:.2g} at residual norm "
                    f"{typical:.3g}); check that no pair has its sides the wrong way round"
                )
            rows.append(difference / length)
        return np.stack(rows)

    def split_half_cosine(self, block: int) -> float | None:
        """Return the cosine between the directions of two halves of the pairs, None where one has none."""
        states, counts = self._states[block], self._counts[block]
        if not counts.all():
            return None
        means = states / counts[:, :, None]
        first, second = means[:, POSITIVE] - means[:, NEGATIVE]
        lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
        return float(first @ second) / lengths if lengths > 0.0 else None


class ProjectionMoments:
    """Moments of the projections on each block's direction, by side."""

    def __init__(self, blocks: tuple[int, ...], directions: Array) -> None:
        self._directions = dict(zip(blocks, directions, strict=True))
        self._moments: dict[int, Array] = {block: np.zeros((2, 3)) for block in blocks}

    def add(self, block: int, batch: Sequence[Reading], means: Array, _norms: Array) -> None:
        """Add a batch at one block: ``means`` ``[row, width]``."""
        values = means @ self._directions[block]
        for side in (POSITIVE, NEGATIVE):
            of_side = values[[reading.side == side for reading in batch]]
            self._moments[block][side] += (len(of_side), of_side.sum(), (of_side**2).sum())

    def cohens_d(self, block: int) -> float | None:
        """Return the sides' mean difference in pooled standard deviations, None where these vanish."""
        counts, totals, squares = self._moments[block].T
        if (counts < 2).any():
            return None
        averages = totals / counts
        variances = np.maximum(squares - counts * averages**2, 0.0) / (counts - 1)
        pooled = float(np.sqrt(variances.mean()))
        if pooled <= _SMALLEST_DIFFERENCE * float(np.abs(averages).max()):
            return None
        return float(averages[POSITIVE] - averages[NEGATIVE]) / pooled
