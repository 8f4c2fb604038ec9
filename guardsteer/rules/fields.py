"""What the parts of a policy's shape are made of: strict base, bounded numbers and texts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "MAX_STEPS",
    "MAX_WINDOW",
    "Amount",
    "Closed",
    "Name",
    "OneOrMany",
    "Part",
    "Share",
    "Steps",
    "Text",
    "Window",
    "exactly_one",
]

MAX_STEPS = 1_000_000
MAX_WINDOW = 1024


class Closed(BaseModel):
    """A mapping that takes the fields it declares, of the types they declare, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, dict | str) else value


def _or_single(schema: dict[str, Any]) -> None:
    many = {key: schema.pop(key) for key in ("type", "items", "minItems") if key in schema}
    schema["anyOf"] = [many["items"], many]
    schema.pop("default", None)


OneOrMany = (Field(min_length=1, json_schema_extra=_or_single), BeforeValidator(_one_or_many))
"""Marks a list that may be written as its only item."""


def exactly_one(*fields: str) -> dict[str, Any]:
    """Return the JSON Schema that says that one of ``fields`` is given and no other of them."""
    return {"oneOf": [{"required": [field]} for field in fields]}


Text = Annotated[str, Field(min_length=1, max_length=10_000)]
Name = Annotated[str, Field(min_length=1)]
Steps = Annotated[int, Field(ge=0, le=MAX_STEPS)]
Window = Annotated[int, Field(ge=1, le=MAX_WINDOW)]
Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(gt=0, le=1)]
Amount = Annotated[float, Field(gt=0)]
