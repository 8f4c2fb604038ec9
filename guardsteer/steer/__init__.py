"""Steering vectors: what they are on disk, what they are bound to, and what they add to a block."""

from __future__ import annotations

from guardsteer.steer.artifact import Recommendation, Separation, VectorCard
from guardsteer.steer.vectors import (
    Vector,
    check_binding,
    find_artifact,
    load_vector,
    make_vector,
    recommend,
    save_vector,
)

__all__ = [
    "Recommendation",
    "Separation",
    "Vector",
    "VectorCard",
    "check_binding",
    "find_artifact",
    "load_vector",
    "make_vector",
    "recommend",
    "save_vector",
]
