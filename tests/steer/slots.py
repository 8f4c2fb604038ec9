"""Slots of random directions, and what they do, computed plainly in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from guardsteer.core.policy import Position
from guardsteer.host import Point, point_at
from guardsteer.steer.slots import Slot, SlotOperator

__all__ = ["WIDTH", "at", "reference", "slot"]

WIDTH = 24


def at(block: int) -> Point:
    """Return the point at the output of a block."""
    return point_at(block, "block_output")


def slot(
    seed: int,
    operator: SlotOperator = "add",
    blocks: Sequence[int] = (1,),
    positions: Sequence[Position] = ("generated",),
    **changes: Any,
) -> Slot:
    """Return a slot of random directions; the norm at block ``b`` is ``2 + b``."""
    generator = torch.Generator().manual_seed(seed)
    raw = {at(block): torch.randn(WIDTH, generator=generator) for block in blocks}
    fields: dict[str, Any] = {
        "name": f"v{seed}",
        "digest": f"d{seed}",
        "directions": {point: (direction / direction.norm()).float() for point, direction in raw.items()},
        "norms": {point: 2.0 + point.block for point in raw},
        "positions": frozenset(positions),
        "operator": operator,
    }
    return Slot(**{**fields, **changes})


def reference(
    state: NDArray[np.float64],
    strengths: Sequence[float],
    slots: Sequence[Slot],
    point: Point,
    budget: float | None,
) -> tuple[NDArray[np.float64], bool]:
    """Return what one state becomes by the order that the documentation gives, and whether it was cut."""
    acting = [(s, slot) for s, slot in zip(strengths, slots, strict=True) if s and point in slot.directions]
    units = {
        id(slot): np.asarray(slot.directions[point], np.float64)
        / np.linalg.norm(np.asarray(slot.directions[point], np.float64))
        for _, slot in acting
    }
    most = None if budget is None else budget * min(s.norms[point] for s in slots if point in s.directions)
    push = sum(
        (s * slot.norms[point] * units[id(slot)] for s, slot in acting if slot.operator == "add"),
        np.zeros(len(state)),
    )
    size = float(np.linalg.norm(push))
    if most is not None and size > most:
        push = push * (most / size)
    moved = state + push
    for share, slot in acting:
        if slot.operator == "ablate":
            unit = units[id(slot)]
            moved = moved - share * (moved @ unit) * unit
    for _, slot in acting:
        if slot.operator == "clamp":
            unit, norm = units[id(slot)], slot.norms[point]
            low = -np.inf if slot.low is None else slot.low * norm
            high = np.inf if slot.high is None else slot.high * norm
            moved = moved + (np.clip(moved @ unit, low, high) - moved @ unit) * unit
    if any(slot.keep_norm for _, slot in acting) and np.linalg.norm(moved) > 0:
        moved = moved * (np.linalg.norm(state) / np.linalg.norm(moved))
    change = float(np.linalg.norm(moved - state))
    on_device = any(slot.operator != "add" or slot.keep_norm for _, slot in acting)
    if most is None or not on_device or change <= most * (1 + 1e-5):
        return moved, False
    return state + (moved - state) * (most / change), True
