"""The guard at work: wrapping a model, following its rows, deciding each step."""

from __future__ import annotations

from guardsteer.runtime.guard import Guard
from guardsteer.runtime.wrapping import wrap

__all__ = ["Guard", "wrap"]
