"""Finding the recipe that a command is given."""

from __future__ import annotations

from pathlib import Path

from guardsteer.assets import Catalog

__all__ = ["recipe_folder"]


def recipe_folder(given: str) -> Path:
    """Return the folder of a recipe that is given as a path or by its catalogue name."""
    path = Path(given)
    return Catalog().find("vectors", given) if not path.exists() and "/" not in given else path
