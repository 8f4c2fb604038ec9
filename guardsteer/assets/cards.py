"""The part of a card that every kind of asset shares: what it is called, what it is, who may use it.

The rest of an asset's file belongs to the room that loads it; this reads no more than the head, so
that assets can be listed without loading any.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from guardsteer.assets.catalog import Kind
from guardsteer.errors import AssetError, Problem

__all__ = ["Card", "read_card"]

_FILES: dict[Kind, str] = {
    "classifiers": "classifier.json",
    "policies": "policy.yaml",
    "vectors": "recipe.yaml",
}
_LARGEST_BYTES = 4 * 2**20
_Line = Annotated[str, Field(max_length=4096)]


class Card(BaseModel):
    """An asset's head. A policy has a name alone; its text is its description."""

    # Fields beyond these are read, and refused if unknown, by the room that loads the asset.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    name: Annotated[str, Field(min_length=1, max_length=128)]
    version: _Line = ""
    description: _Line = ""
    licence: _Line = ""


def read_card(kind: Kind, folder: Path) -> Card:
    """Return the head of the card in an asset's ``folder``.

    Raises ``AssetError`` with every mistake in it, and when the file is absent, damaged or no mapping.
    """
    path = folder / _FILES[kind]
    try:
        return Card.model_validate(_load(path))
    except ValidationError as error:
        mistakes = [
            Problem(str(path), 0, 0, f"field {'.'.join(map(str, item['loc'])) or 'top'!r}: {item['msg']}")
            for item in error.errors(include_url=False)
        ]
        raise AssetError(mistakes) from error


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise AssetError([Problem(str(path), 0, 0, f"cannot be read: {error.strerror}")]) from error
    if len(data) > _LARGEST_BYTES:
        raise AssetError([Problem(str(path), 0, 0, f"is larger than {_LARGEST_BYTES:,} bytes")])
    try:
        text = data.decode("utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else "nested too deep"
        raise AssetError([Problem(str(path), 0, 0, f"cannot be read: {reason}")]) from error
