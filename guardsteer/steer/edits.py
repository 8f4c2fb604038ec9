"""What a pass does to the hidden states at one point, laid out over its rows and columns.

Rows that are only pushed get ``hidden + delta``, in the model's own precision. Where a component is removed
or bounded, or a length kept, what to do depends on the state, so it is computed as the state comes by, in
float32, by elementwise operations and sums over the width alone: a row's result depends on nothing but the
row. All other rows keep their bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "UNTOUCHED",
    "Ablation",
    "Bound",
    "Cuts",
    "Edit",
    "Shaping",
    "length",
    "unsteered",
    "working_dtype",
]

UNTOUCHED = -0.0
"""What is added to a row that nothing steers: ``h + -0.0`` is ``h`` bit for bit, ``h + 0.0`` is not."""

_SLACK = 1e-5
"""Share of the budget by which rounding may exceed it before something counts as cut."""


def unsteered(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return a delta of ``shape`` that leaves every hidden state as it is, bit for bit."""
    return torch.full(tuple(shape), UNTOUCHED, dtype=like.dtype, device=like.device)


def working_dtype(hidden: Tensor) -> torch.dtype:
    """Return the precision in which components and lengths of ``hidden`` are computed."""
    return torch.float64 if hidden.dtype == torch.float64 else torch.float32


def total(values: Tensor) -> Tensor:
    """Return the sum over the width, ``[..., 1]``, the same for a row alone and in any batch."""
    # On accelerators a sum's order depends on the number of rows; what float64 makes of that is rounded away.
    if values.device.type in ("cpu", "mps") or values.dtype == torch.float64:
        return values.sum(-1, keepdim=True)
    return values.sum(-1, keepdim=True, dtype=torch.float64).to(values.dtype)


def length(values: Tensor) -> Tensor:
    """Return the L2 norm over the width, ``[..., 1]``."""
    return total(values * values).sqrt()


@dataclass(frozen=True, slots=True, eq=False)
class Ablation:
    """Remove a share of the component along ``direction``: ``[width]``, unit.

    ``share``: ``[row, column, 1]``, 0 to 1. ``acts``: ``[row, column, 1]`` bool, None for everywhere.
    """

    direction: Tensor
    share: Tensor
    acts: Tensor | None

    def of(self, states: Tensor) -> Tensor:
        """Return ``states: [row, column, width]`` without that share."""
        component = total(states * self.direction)
        left = states - self.share * component * self.direction
        return left if self.acts is None else torch.where(self.acts, left, states)


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """Keep the component along ``direction`` (``[width]``, unit) between ``low`` and ``high``, in raw units.

    None leaves that side open. ``acts``: ``[row, column, 1]`` bool, None for everywhere.
    """

    direction: Tensor
    low: float | None
    high: float | None
    acts: Tensor | None

    def of(self, states: Tensor) -> Tensor:
        """Return ``states: [row, column, width]`` with the component within its bounds."""
        component = total(states * self.direction)
        within = states + (component.clamp(self.low, self.high) - component) * self.direction
        return within if self.acts is None else torch.where(self.acts, within, states)


@dataclass(frozen=True, slots=True, eq=False)
class Shaping:
    """What is computed from the states themselves, in the order of the fields.

    ``acts``: the rows and columns meant, ``[row, column, 1]`` bool, None for all. ``pushes``: what is added
    first, ``[row, column, width]`` in the working precision, or None. ``keeps``: where the former length
    is restored, ``[row, column, 1]`` bool, None for nowhere. ``budget``: how long the whole change may be.
    """

    acts: Tensor | None
    pushes: Tensor | None
    ablations: tuple[Ablation, ...]
    bounds: tuple[Bound, ...]
    keeps: Tensor | None
    budget: float | None

    def of(self, states: Tensor, cuts: Cuts | None) -> Tensor:
        """Return ``states: [row, column, width]``, in the working precision, changed everywhere."""
        moved = states if self.pushes is None else states + self.pushes
        for ablation in self.ablations:
            moved = ablation.of(moved)
        for bound in self.bounds:
            moved = bound.of(moved)
        if self.keeps is not None:
            now = length(moved)
            moved = moved * torch.where(self.keeps & (now > 0), length(states) / now, 1.0)
        return moved if self.budget is None else self._within(states, moved, self.budget, cuts)

    def _within(self, states: Tensor, moved: Tensor, budget: float, cuts: Cuts | None) -> Tensor:
        change = moved - states
        size = length(change)
        over = size > budget * (1 + _SLACK)
        if cuts is not None:
            cuts.note(over)
        return states + change * torch.where(over, budget / size, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """What one pass does at one point: a ``delta`` to add, in the states' own precision, and a shaping."""

    delta: Tensor | None
    shaping: Shaping | None

    def of(self, hidden: Tensor, cuts: Cuts | None = None) -> Tensor:
        """Return what ``hidden: [row, column, width]`` becomes; ``cuts`` notes where the budget cut."""
        pushed = hidden if self.delta is None else hidden + self.delta
        if self.shaping is None:
            return pushed
        shaping = self.shaping
        shaped = shaping.of(hidden.to(working_dtype(hidden)), cuts).to(hidden.dtype)
        return shaped if shaping.acts is None else torch.where(shaping.acts, shaped, pushed)


class Cuts:
    """Counts, for each row, the positions at which the budget cut what had been computed from the state.

    Counted where the states are and read once at the end, so that no step waits for the device. A position
    counts once, at however many points it was cut; drafts that were dropped again count too. ``noted`` says
    where the pass under way was cut so far, ``[row, column, 1]`` bool, None for nowhere.
    """

    def __init__(self) -> None:
        self._counts: Tensor | None = None
        self.noted: Tensor | None = None
        self._seen = 0

    def begin_pass(self, seen: int = 0) -> None:
        """Begin a pass whose first ``seen`` columns were counted before, as all are without a cache."""
        if self.noted is not None:
            self.end_pass()
        self._seen = seen

    def note(self, over: Tensor) -> None:
        """Take in where the pass under way was cut at one point, ``[row, column, 1]`` bool."""
        before = self.noted
        self.noted = over if before is None else before | over.to(before.device)

    def end_pass(self) -> None:
        """End the pass under way; does nothing where nothing was noted."""
        if self.noted is None:
            return
        counts = self.noted[:, self._seen :].sum((1, 2))
        self._counts = counts if self._counts is None else self._counts + counts.to(self._counts.device)
        self.noted = None

    def reorder(self, sources: Sequence[int]) -> None:
        """Let row ``i`` continue the count of row ``sources[i]``."""
        self.end_pass()
        if self._counts is not None:
            self._counts = self._counts[torch.tensor(list(sources), device=self._counts.device)]

    def read(self, rows: int) -> list[int]:
        """Return the counts of ``rows`` rows; waits for the device."""
        self.end_pass()
        return [0] * rows if self._counts is None else [int(count) for count in self._counts.tolist()]
