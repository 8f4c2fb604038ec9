"""Whether two pushes at one point fight: against each other, or the same way and beyond their windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from guardsteer.host import Point

__all__ = ["ALIKE", "Pushed", "cosines", "quarrel"]

ALIKE = 0.5
"""From this cosine on two directions count as alike, and from its negative on as opposite."""

_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class Pushed:
    """One push at a point, by the vector ``name``.

    ``strength`` is signed, the strongest that the push can be, in units of ``norm``, the typical length of a
    state there. ``highest``: the upper end of the vector's calibrated window, None where it has none.
    """

    name: str
    strength: float
    norm: float
    highest: float | None


def cosines(first: Mapping[Point, Tensor], second: Mapping[Point, Tensor]) -> dict[Point, float]:
    """Return the cosine of two vectors' unit directions at each point that both act on, in a pass's order."""
    shared = sorted(set(first) & set(second))
    return {point: float(first[point].double() @ second[point].double()) for point in shared}


def quarrel(first: Pushed, second: Pushed, cosine: float, budget: float | None = None) -> str:
    """Return what is wrong with two pushes whose unit directions have this ``cosine``; "" for nothing.

    They push against each other where the cosine of the pushes, signs counted, is at most ``-ALIKE``. Where
    it is at least ``ALIKE``, the one may carry the other beyond its window; if a window is not known, any sum
    that no ``budget`` bounds counts as beyond it. ``budget`` is in units of the smaller norm.
    """
    signed = cosine if first.strength * second.strength >= 0 else -cosine
    if signed <= -ALIKE:
        return f"push against each other (cosine {signed:+.2f})"
    if signed < ALIKE:
        return ""
    bound = None if budget is None else budget * min(first.norm, second.norm)
    for own, other in ((first, second), (second, first)):
        if own.highest is None:
            continue
        along = abs(own.strength) * own.norm + signed * abs(other.strength) * other.norm
        reached = (along if bound is None else min(along, bound)) / own.norm
        if abs(own.strength) <= own.highest < reached * (1 - _ROUNDING):
            return (
                f"push the same way (cosine {signed:+.2f}): together they reach strength {reached:.2f} along "
                f"{own.name!r}, whose window ends at {own.highest:.2f}"
            )
    if bound is None and None in (first.highest, second.highest):
        return f"push the same way (cosine {signed:+.2f}), and nothing bounds their sum"
    return ""
