"""Random directions, against which the effect of any other is to be held."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from guardsteer.steer.vectors import Vector, make_vector

__all__ = ["random_control", "random_direction"]


def random_direction(width: int, seed: int, block: int = 0) -> NDArray[np.float64]:
    """Return a unit direction drawn evenly from the sphere, ``[width]``; another for each seed and block."""
    drawn = np.random.default_rng([seed, block]).normal(size=width)
    direction: NDArray[np.float64] = drawn / np.linalg.norm(drawn)
    return direction


def random_control(vector: Vector, seed: int) -> Vector:
    """Return a vector as ``vector`` is, with random directions in place of its own.

    Name and norms stay, so that the same strengths push equally far at the same places; the card says that it
    is random, has no recommendation and measured nothing.
    """
    directions = [random_direction(vector.card.width, seed, block) for block in vector.blocks]
    changes = {"method": "random", "recommended": None, "separation": (), "tensors_digest": "", "digest": ""}
    card = vector.card.model_copy(update=changes)
    return make_vector(card, directions=np.stack(directions), residual_norms=vector.residual_norms)
