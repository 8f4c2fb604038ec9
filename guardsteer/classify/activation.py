"""How the decision values of a linear model become probabilities."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["Activation"]

Activation: TypeAlias = Literal["sigmoid", "softmax", "one_vs_rest"]
"""``sigmoid``: each output by itself. ``softmax``: multinomial. ``one_vs_rest``: a sigmoid each, then
divided by their sum.
"""
