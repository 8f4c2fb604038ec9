"""``recipe.yaml`` as plain values with their places: a mapping of text, and of mappings of text and numbers.

YAML is read as a flat stream of events, so no nesting, alias or tag of a hostile file is ever built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from guardsteer.errors import Problem

__all__ = ["RecipeValues", "read_recipe_yaml"]

_WHOLE = re.compile(r"^(0|[1-9][0-9]{0,5})$")
_DECIMAL = re.compile(r"^(0|[1-9][0-9]{0,5})\.[0-9]{1,9}$")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class RecipeValues:
    """The values of a recipe by key, line and column of each dotted key, and what is wrong with the form."""

    values: dict[str, Any] = field(default_factory=dict)
    place_of: dict[str, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_recipe_yaml(data: bytes, file: str) -> RecipeValues:
    """Return what a ``recipe.yaml`` says; mistakes of form are in ``problems``. Raises nothing."""
    found = RecipeValues()
    try:
        events = iter(yaml.parse(data.decode("utf-8"), Loader=_LOADER))
        _document(events, found, file)
    except UnicodeDecodeError as error:
        found.problems.append(Problem(file, 0, 0, f"not UTF-8 at byte {error.start}", "save it as UTF-8"))
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        found.problems.append(Problem(file, line, column, f"not YAML: {error.problem}"))
    except yaml.YAMLError as error:
        found.problems.append(Problem(file, 0, 0, f"not YAML: {error}"))
    return found


def _document(events: Iterator[Any], found: RecipeValues, file: str) -> None:
    documents = 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        elif isinstance(event, yaml.MappingStartEvent) and documents == 1 and not found.values:
            _mapping(events, found.values, "", found, file)
        elif isinstance(event, yaml.NodeEvent):
            _refuse(event, "expected one mapping of keys to text", found, file)
            return


def _mapping(
    events: Iterator[Any], into: dict[str, Any], prefix: str, found: RecipeValues, file: str
) -> None:
    for key in events:
        if isinstance(key, yaml.MappingEndEvent):
            return
        if not isinstance(key, yaml.ScalarEvent):
            _refuse(key, "expected a key", found, file)
            return
        name = f"{prefix}{key.value}"
        if key.value in into:
            _refuse(key, f"field {name!r} is given twice", found, file)
        found.place_of[name] = _place(key)
        value = next(events)
        if isinstance(value, yaml.MappingStartEvent) and not prefix:
            into[key.value] = {}
            _mapping(events, into[key.value], f"{name}.", found, file)
        elif isinstance(value, yaml.ScalarEvent) and value.anchor is None and value.tag is None:
            into[key.value] = _scalar(value, numbers=bool(prefix))
        else:
            _refuse(value, f"field {name!r}: expected text, without anchor, alias, tag or list", found, file)
            return


def _scalar(event: Any, *, numbers: bool) -> str | int | float:
    text = str(event.value)
    if numbers and event.style in (None, ""):
        if _WHOLE.match(text):
            return int(text)
        if _DECIMAL.match(text):
            return float(text)
    return text


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _refuse(event: Any, message: str, found: RecipeValues, file: str) -> None:
    found.problems.append(Problem(file, *_place(event), message))
