"""From strengths to what a hook adds: one row vector for each block, computed when a plan changes.

A delta is the sum over vectors of ``strength * residual_norm * direction``, in vector order and in
float32 before the cast, so that a row gets the same bits alone and in any batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from guardsteer.core.policy import Position

__all__ = ["UNTOUCHED", "Composer", "Slot", "unsteered"]

UNTOUCHED = -0.0
"""What is added to a row that nothing steers: ``h + -0.0`` is ``h`` bit for bit, ``h + 0.0`` is not."""

_CACHED_PLANS = 4096
_K = TypeVar("_K")
_V = TypeVar("_V")


def unsteered(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return a delta of ``shape`` that leaves every hidden state as it is, bit for bit."""
    return torch.full(tuple(shape), UNTOUCHED, dtype=like.dtype, device=like.device)


@dataclass(frozen=True, slots=True)
class Slot:
    """One vector of a policy on the blocks where it acts.

    ``pushes`` maps a block to ``residual_norm * direction`` (``[width]``, float32), so that a
    strength of 1.0 pushes by one typical residual norm.
    """

    name: str
    digest: str
    pushes: Mapping[int, Tensor]
    norms: Mapping[int, float]
    positions: frozenset[Position]

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks in ascending order."""
        return tuple(sorted(self.pushes))

    def alphas(self, strength: float) -> tuple[float, ...]:
        """Return the raw coefficients on the unit vector at ``strength``, one for each block."""
        return tuple(strength * self.norms[block] for block in self.blocks)


class Composer:
    """Turns strengths into per-block deltas and remembers those it has seen."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = tuple(slots)
        self.blocks: tuple[int, ...] = tuple(sorted({b for slot in slots for b in slot.pushes}))
        self._masked: dict[tuple[tuple[float, ...], frozenset[Position]], tuple[float, ...]] = {}
        self._deltas: dict[tuple[tuple[float, ...], int, torch.dtype, torch.device], Tensor | None] = {}

    def masked(self, strengths: tuple[float, ...], kinds: frozenset[Position]) -> tuple[float, ...]:
        """Return ``strengths`` with 0.0 for every vector that does not act on a position of these kinds."""
        key = (strengths, kinds)
        found = self._masked.get(key)
        if found is None:
            found = tuple(
                strength if slot.positions & kinds else 0.0
                for strength, slot in zip(strengths, self.slots, strict=True)
            )
            _remember(self._masked, key, found)
        return found

    def delta(self, strengths: tuple[float, ...], block: int, like: Tensor) -> Tensor | None:
        """Return what to add at ``block``, ``[width]`` in the dtype of ``like``, or None for nothing."""
        key = (strengths, block, like.dtype, like.device)
        if key in self._deltas:
            return self._deltas[key]
        total: Tensor | None = None
        for strength, slot in zip(strengths, self.slots, strict=True):
            push = slot.pushes.get(block)
            if strength == 0.0 or push is None:
                continue
            term = push * strength
            total = term if total is None else total + term
        result = None if total is None else total.to(dtype=like.dtype, device=like.device)
        _remember(self._deltas, key, result)
        return result


def _remember(cache: dict[_K, _V], key: _K, value: _V) -> None:
    if len(cache) >= _CACHED_PLANS:
        cache.clear()
    cache[key] = value
