"""From the strengths of a plan to what a pass does at each point.

Order, at one point and for one row: the pushes of all channels are summed in the order of the channels and
added; then components are ablated, then clamped, each in the order of the channels; then, where any
acting channel keeps the norm, the state is scaled back to the length that it had; then the whole change is
cut to the budget. Pushes come first because the others promise something about what leaves the point: after
an ablation nothing is left along its direction, whatever else pushed. Clamps come after ablations since a
bound is the weaker wish (of two directions that are not at right angles, the later one holds exactly). The
budget comes last because it is the promise that must hold of all together; where it cuts, the others
hold in part.

A push is ``strength * norm * direction``, in float32 before the cast. The budget is known for pushes
beforehand: they are scaled by one factor a point, so that their sum keeps its direction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from guardsteer.core.policy import Position
from guardsteer.host import Point
from guardsteer.steer.edits import Ablation, Bound, Edit, Shaping, unsteered, working_dtype
from guardsteer.steer.slots import Slot

__all__ = ["Composer", "Run"]

Run: TypeAlias = tuple[int, int, int, tuple[float, ...]]
"""Strengths of one row over some columns of a pass: ``(row, first, end, strengths)``."""

_CACHED_PLANS = 4096
_K = TypeVar("_K")
_V = TypeVar("_V")


class Composer:
    """Turns strengths, one for each slot, into edits, and remembers what it has computed.

    ``budget``: how long the whole change of a state may be at one point, in units of the smallest norm that
    any slot gives for the point; None for no bound. Strengths are those of a plan, ``masked`` for the kinds
    of the position, everywhere but in ``masked`` itself.
    """

    def __init__(self, slots: Sequence[Slot], budget: float | None = None) -> None:
        self.slots = tuple(slots)
        self.points: tuple[Point, ...] = tuple(sorted({p for slot in slots for p in slot.directions}))
        self._at = {
            point: tuple(index for index, slot in enumerate(self.slots) if point in slot.directions)
            for point in self.points
        }
        self._shaping_at = {
            point: tuple(i for i in found if self.slots[i].operator != "add" or self.slots[i].keep_norm)
            for point, found in self._at.items()
        }
        self._pushes = {
            (index, point): direction * slot.norms[point]
            for index, slot in enumerate(self.slots)
            if slot.operator == "add"
            for point, direction in slot.directions.items()
        }
        self._budgets: dict[Point, float] = {}
        if budget is not None:
            for point, acting in self._at.items():
                self._budgets[point] = budget * min(self.slots[index].norms[point] for index in acting)
        self._masked: dict[tuple[tuple[float, ...], frozenset[Position]], tuple[float, ...]] = {}
        self._limits: dict[tuple[float, ...], Mapping[Point, float]] = {}
        self._deltas: dict[tuple[tuple[float, ...], Point, torch.dtype, torch.device], Tensor | None] = {}
        self._units: dict[tuple[int, Point, torch.dtype, torch.device], Tensor] = {}

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks at which something may act, in ascending order."""
        return tuple(sorted({point.block for point in self.points}))

    def masked(self, strengths: tuple[float, ...], kinds: frozenset[Position]) -> tuple[float, ...]:
        """Return ``strengths`` with 0.0 for every slot that does not act on a position of these kinds."""
        key = (strengths, kinds)
        found = self._masked.get(key)
        if found is None:
            found = tuple(
                strength if slot.positions & kinds else 0.0
                for strength, slot in zip(strengths, self.slots, strict=True)
            )
            _remember(self._masked, key, found)
        return found

    def limited(self, strengths: tuple[float, ...]) -> Mapping[Point, float]:
        """Return the points at which the budget cuts the pushes, and the factor on all of them there."""
        if not self._budgets:
            return _NOTHING
        found = self._limits.get(strengths)
        if found is None:
            factors = {point: self._factor(strengths, point) for point in self.points}
            found = {point: factor for point, factor in factors.items() if factor < 1.0}
            _remember(self._limits, strengths, found)
        return found

    def alphas(self, index: int, strengths: tuple[float, ...]) -> tuple[float, ...]:
        """Return the raw coefficients on the unit directions of a slot, one a point, after the budget.

        Empty for a slot that does not push.
        """
        slot = self.slots[index]
        if slot.operator != "add":
            return ()
        factors = self.limited(strengths)
        return tuple(strengths[index] * slot.norms[point] * factors.get(point, 1.0) for point in slot.points)

    def delta(self, strengths: tuple[float, ...], point: Point, like: Tensor) -> Tensor | None:
        """Return the sum of the pushes at ``point``, ``[width]`` in the dtype of ``like``; None for none."""
        key = (strengths, point, like.dtype, like.device)
        if key in self._deltas:
            return self._deltas[key]
        pushed = self._pushed(strengths, point)
        factor = self.limited(strengths).get(point, 1.0)
        if pushed is not None and factor != 1.0:
            pushed = pushed * factor
        result = None if pushed is None else pushed.to(dtype=like.dtype, device=like.device)
        _remember(self._deltas, key, result)
        return result

    def edit(self, point: Point, runs: Sequence[Run], hidden: Tensor) -> Edit | None:
        """Return what ``runs`` do to ``hidden: [row, column, width]`` at ``point``, or None for nothing."""
        if point not in self._at:
            return None
        shaping = self._shaping_at[point]
        delta: Tensor | None = None
        shaped: list[Run] = []
        for (first, end, strengths), rows in _beside_one_another(runs):
            if shaping and any(strengths[index] != 0.0 for index in shaping):
                shaped.extend((row, first, end, strengths) for row in range(*rows))
                continue
            added = self.delta(strengths, point, hidden)
            if added is not None:
                delta = unsteered(hidden.shape, hidden) if delta is None else delta
                delta[rows[0] : rows[1], first:end] = added
        if delta is None and not shaped:
            return None
        return Edit(delta, self._shaping(point, shaped, hidden) if shaped else None)

    # --- pushes ------------------------------------------------------------------------------

    def _pushed(self, strengths: tuple[float, ...], point: Point) -> Tensor | None:
        """Return the sum of all pushes at ``point`` before the budget, float32."""
        sum_so_far: Tensor | None = None
        for index in self._at.get(point, ()):
            strength = strengths[index]
            if strength == 0.0 or (index, point) not in self._pushes:
                continue
            term = self._pushes[index, point] * strength
            sum_so_far = term if sum_so_far is None else sum_so_far + term
        return sum_so_far

    def _factor(self, strengths: tuple[float, ...], point: Point) -> float:
        pushed = self._pushed(strengths, point)
        size = 0.0 if pushed is None else float(pushed.double().norm())
        # A rounding of the direction's length is no cut.
        return 1.0 if size <= self._budgets[point] * (1 + 1e-6) else self._budgets[point] / size

    # --- what depends on the state -------------------------------------------------------------

    def _shaping(self, point: Point, runs: Sequence[Run], hidden: Tensor) -> Shaping:
        rows, columns = hidden.shape[:2]
        like = torch.empty(0, dtype=working_dtype(hidden), device=hidden.device)
        pushes: Tensor | None = None
        for row, first, end, strengths in runs:
            added = self.delta(strengths, point, like)
            if added is not None:
                pushes = unsteered(hidden.shape, like) if pushes is None else pushes
                pushes[row, first:end] = added
        ablations, bounds = [], []
        keeps = _Laid(rows, columns)
        for index in self._at[point]:
            slot = self.slots[index]
            laid = _Laid(rows, columns)
            for row, first, end, strengths in runs:
                laid.set(row, first, end, strengths[index])
            if slot.keep_norm:
                keeps.join(laid)
            if slot.operator == "add" or not laid.any:
                continue
            unit = self._unit(index, point, like)
            if slot.operator == "ablate":
                ablations.append(Ablation(unit, laid.values(like), laid.mask(like)))
            else:
                norm = slot.norms[point]
                low = None if slot.low is None else slot.low * norm
                high = None if slot.high is None else slot.high * norm
                bounds.append(Bound(unit, low, high, laid.mask(like)))
        acts = _Laid(rows, columns)
        for row, first, end, _ in runs:
            acts.set(row, first, end, 1.0)
        return Shaping(
            acts=acts.mask(like),
            pushes=pushes,
            ablations=tuple(ablations),
            bounds=tuple(bounds),
            keeps=keeps.values(like) != 0 if keeps.any else None,
            budget=self._budgets.get(point),
        )

    def _unit(self, index: int, point: Point, like: Tensor) -> Tensor:
        """Return a slot's direction at unit length to the last bit that the working precision can hold."""
        key = (index, point, like.dtype, like.device)
        found = self._units.get(key)
        if found is None:
            direction = self.slots[index].directions[point].double()
            found = (direction / direction.norm()).to(dtype=like.dtype, device=like.device)
            self._units[key] = found
        return found


def _beside_one_another(
    runs: Sequence[Run],
) -> Iterator[tuple[tuple[int, int, tuple[float, ...]], tuple[int, int]]]:
    """Yield what runs say, ``(first, end, strengths)``, with the rows, ``(from, to)``, that say the same."""
    place, count = 0, len(runs)
    while place < count:
        row, first, end, strengths = runs[place]
        said, above = runs[place][1:], row
        while place < count and runs[place][0] == above and runs[place][1:] == said:
            above += 1
            place += 1
        yield (first, end, strengths), (row, above)


class _Laid:
    """A number for each row and column of a pass, 0.0 where nothing acts."""

    def __init__(self, rows: int, columns: int) -> None:
        self._values = np.zeros((rows, columns, 1))

    def set(self, row: int, first: int, end: int, value: float) -> None:
        self._values[row, first:end] = value

    def join(self, other: _Laid) -> None:
        """Take in where ``other`` acts."""
        np.copyto(self._values, other._values, where=other._values != 0)

    @property
    def any(self) -> bool:
        return bool(self._values.any())

    def values(self, like: Tensor) -> Tensor:
        return torch.from_numpy(self._values).to(dtype=like.dtype, device=like.device)

    def mask(self, like: Tensor) -> Tensor | None:
        """Return where something acts, ``[row, column, 1]`` bool, or None for everywhere."""
        return None if self._values.all() else torch.from_numpy(self._values != 0).to(like.device)


_NOTHING: Mapping[Point, float] = MappingProxyType({})


def _remember(cache: dict[_K, _V], key: _K, value: _V) -> None:
    if len(cache) >= _CACHED_PLANS:
        cache.clear()
    cache[key] = value
