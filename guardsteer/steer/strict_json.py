"""JSON against a closed schema, with every mistake told in plain words and nothing let through.

Refused beside what the schema refuses: a key given twice, ``NaN`` and infinities, text that is not UTF-8.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from guardsteer.errors import Problem

__all__ = ["NOT_BLANK", "parse_strict", "problems_of"]

M = TypeVar("M", bound=BaseModel)

NOT_BLANK = r"\S"
"""The pattern of a text field that must hold something."""

NO_PLACES: Mapping[str, tuple[int, int]] = MappingProxyType({})
_SHOWN = 60


class _Refused(ValueError):
    """A JSON text that the standard parser takes and we do not."""


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Refused(f"field {twice!r} is given twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is not a number in JSON")


def parse_strict(
    schema: type[M],
    data: bytes,
    file: str,
    line: int = 0,
    place_of: Mapping[str, tuple[int, int]] = NO_PLACES,
) -> M | tuple[Problem, ...]:
    """Return ``data`` as a ``schema``, or every problem found in it; raises nothing.

    ``line`` is the line of ``file`` where ``data`` begins, for formats with one value a line;
    ``place_of`` gives line and column of dotted fields where ``data`` was made from another format.
    """
    column = 1 if line else 0
    try:
        json.loads(data.decode("utf-8"), object_pairs_hook=_no_repeats, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = (line or 1) + error.lineno - 1
        return (Problem(file, place, error.colno, f"not JSON: {error.msg}"),)
    except UnicodeDecodeError as error:
        return (Problem(file, line, column, f"not UTF-8 at byte {error.start}", "save it as UTF-8"),)
    except RecursionError:
        return (Problem(file, line, column, "nested too deeply"),)
    except ValueError as error:
        return (Problem(file, line, column, str(error)),)
    try:
        return schema.model_validate_json(data, strict=True)
    except ValidationError as error:
        return problems_of(schema, error, file, line, place_of)


def problems_of(
    schema: type[BaseModel],
    error: ValidationError,
    file: str,
    line: int = 0,
    place_of: Mapping[str, tuple[int, int]] = NO_PLACES,
) -> tuple[Problem, ...]:
    """Return every mistake that pydantic found, in our words."""
    problems = []
    for mistake in error.errors(include_url=False):
        message, hint = _told(schema, mistake)
        problems.append(Problem(file, *_place(mistake["loc"], line, place_of), message, hint))
    return tuple(problems)


def _place(field: Sequence[str | int], line: int, place_of: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Return line and column of a field, or of what it would be in where it is not there."""
    for end in range(len(field), 0, -1):
        found = place_of.get(".".join(map(str, field[:end])))
        if found is not None:
            return found
    return line, 1 if line else 0


def _told(schema: type[BaseModel], mistake: Any) -> tuple[str, str]:
    """Return a mistake of pydantic's in our words: the message and a hint."""
    place = ".".join(map(str, mistake["loc"]))
    if mistake["type"] == "missing":
        return f"field {place!r} is missing", ""
    if mistake["type"] == "extra_forbidden":
        known = _fields_at(schema, mistake["loc"][:-1])
        close = difflib.get_close_matches(str(mistake["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}" if known else ""
        return f"unknown field {place!r}", hint
    where = f"field {place!r}: " if place else ""
    if mistake["type"] == "value_error":  # raised by our own validators, in our words already
        return where + mistake["msg"].removeprefix("Value error, "), ""
    got = repr(mistake.get("input"))
    got = got if len(got) <= _SHOWN else got[:_SHOWN] + "…"
    return f"{where}got {got}, expected {_wanted(mistake)}", ""


def _wanted(mistake: Any) -> str:
    context = mistake.get("ctx", {})
    if mistake["type"] == "too_short":
        return f"at least {context['min_length']}"
    if mistake["type"] == "string_pattern_mismatch":
        pattern = context["pattern"]
        return "text that is not blank" if pattern == NOT_BLANK else f"text that matches {pattern}"
    told: str = mistake["msg"].removeprefix("Input should be ")
    return told


def _fields_at(schema: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """Return the field names of the model that lies in ``schema`` at ``path``, none where none does."""
    for step in path:
        field = schema.model_fields.get(step) if isinstance(step, str) else None
        inner = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
        models = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not models:
            return []
        schema = models[0]
    return list(schema.model_fields)
