"""Activation patching: a pass in which some states are those of another pass, all else being its own.

A state is put where it was read: the same point, and positions that were told to answer to each other.
Every position after it, and every block above it, computes with it as if it were the pass's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from guardsteer.evaluate import batch_losses
from guardsteer.host import HookSpec, Layout, Point, attach, hook_at
from guardsteer.lab.where.pairs import GENERATED, SIDES, Couple

__all__ = ["NEGATIVE", "POSITIVE", "Patch", "Runs", "Scores"]

POSITIVE, NEGATIVE = SIDES

Scores: TypeAlias = NDArray[np.float64]
"""Log probabilities of replies in nats: ``[couple, reply]``, NaN where a couple has none."""

_POINTS_AT_ONCE = 8
"""States of so many points are held at a time: fewer are read anew more often, more fill the memory."""

RowOf: TypeAlias = tuple[int, int]
"""The places of a couple and of one of its replies."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """States to put in: ``values[i]`` at row ``rows[i]``, position ``positions[i]``.

    ``values``: ``[place, width of the site]``.
    """

    rows: torch.Tensor
    positions: torch.Tensor
    values: torch.Tensor

    @classmethod
    def between(cls, states: torch.Tensor, places: Sequence[tuple[int, int, int]]) -> Patch:
        """Return the patch that puts, for each ``(row, from, to)``, the state at ``from`` to ``to``."""
        rows, sources, targets = torch.tensor(places, device=states.device).T
        return cls(rows, targets, states[rows, sources])

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return ``hidden`` with the states put in; what was given is left as it was."""
        patched = hidden.clone()
        patched[self.rows, self.positions] = self.values
        return patched


class Runs:
    """The passes of a trace over ``couples``, in batches of rows of nearly one length.

    A row is one reply after one prompt. Raises ``LayoutError`` for a point that the model lacks.
    """

    def __init__(self, model: Any, layout: Layout, couples: Sequence[Couple], batch_size: int) -> None:
        self._model = model
        self._layout = layout
        self._couples = couples
        rows = [(couple, reply) for couple in range(len(couples)) for reply in SIDES]
        rows.sort(key=lambda row: sum(map(len, self._row(row, POSITIVE))))
        self._batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]

    def unpatched(self) -> tuple[Scores, Scores]:
        """Return the scores after the positive and after the negative prompts."""
        found = (self._blank(), self._blank())
        for rows in self._batches:
            for side in SIDES:
                _put(found[side], rows, self._scores(rows, side, []))
        return found

    def patched(
        self, points: Sequence[Point], progress: Callable[[int, int], None] | None = None
    ) -> dict[tuple[Point, str], tuple[Scores, Scores]]:
        """Return, by point and segment, the scores after either prompt with the other's states put in."""
        names = list(dict.fromkeys(each.name for couple in self._couples for each in couple.segments))
        keys = [(point, name) for point in points for name in [*names, GENERATED]]
        found = {key: (self._blank(), self._blank()) for key in keys}
        passes, done = len(self._batches) * len(keys), 0
        groups = [points[at : at + _POINTS_AT_ONCE] for at in range(0, len(points), _POINTS_AT_ONCE)]
        for rows, some in product(self._batches, groups):
            states = [self.states(rows, side, some) for side in SIDES]
            for point, name in (key for key in keys if key[0] in some):
                for side, scores in enumerate(found[point, name]):
                    self._patch(rows, side, states[1 - side][point], (point, name), scores)
                done += 1
                if progress is not None:
                    progress(done, passes)
        return found

    def states(self, rows: Sequence[RowOf], side: int, points: Sequence[Point]) -> dict[Point, torch.Tensor]:
        """Return the states of one batch at ``points``: ``[row, position, width of the site]``."""
        seen: dict[Point, torch.Tensor] = {}

        def at(point: Point) -> Callable[[torch.Tensor], None]:
            def read(hidden: torch.Tensor) -> None:
                # A later block may write into the tensor that it was given.
                seen[point] = hidden.detach().clone()

            return read

        self._scores(rows, side, [hook_at(self._layout, point, at(point)) for point in points])
        return seen

    def _patch(
        self, rows: Sequence[RowOf], side: int, states: torch.Tensor, key: tuple[Point, str], scores: Scores
    ) -> None:
        """Score the rows that have the segment on ``side``, with ``states`` of the other side put in."""
        point, name = key
        places = []
        for place, (couple, reply) in enumerate(rows):
            aligned = self._couples[couple].positions(name, reply)
            places += [(place, *pair) for pair in zip(aligned[1 - side], aligned[side], strict=True)]
        if not places:
            return
        patch = Patch.between(states, places)
        patched = self._scores(rows, side, [hook_at(self._layout, point, patch)])
        touched = {place for place, _, _ in places}
        _put(scores, [rows[place] for place in touched], [patched[place] for place in touched])

    def _scores(self, rows: Sequence[RowOf], side: int, hooks: Sequence[HookSpec]) -> list[float]:
        attached = attach(hooks)
        try:
            losses = batch_losses(self._model, [self._row(row, side) for row in rows])
        finally:
            attached.remove()
        return [-loss.nats for loss in losses]

    def _row(self, row: RowOf, side: int) -> tuple[Sequence[int], Sequence[int]]:
        couple, reply = row
        return self._couples[couple].prompts[side], self._couples[couple].replies[reply]

    def _blank(self) -> Scores:
        return np.full((len(self._couples), len(SIDES)), np.nan)


def _put(scores: Scores, rows: Sequence[RowOf], found: Sequence[float]) -> None:
    for row, value in zip(rows, found, strict=True):
        scores[row] = value
