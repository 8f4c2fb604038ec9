"""The published JSON Schema of records: one file for each version, the newest made from the structs."""

from __future__ import annotations

import json
from importlib.resources import files
from inspect import cleandoc
from typing import Any, get_args

import msgspec

from guardsteer.audit.records import SCHEMA_VERSION, Record
from guardsteer.errors import AuditError

__all__ = ["make_schema", "published_schema"]

_ABOUT = """\
A line of a log, as JSON. Fields that hold their default are left out. Kinds and fields are only ever added,
each field with a default, so a reader of an older version goes on reading: it passes over what it does not
know.
"""
_PLACE: dict[str, dict[str, Any]] = {
    "seq": {
        "type": "integer",
        "minimum": 0,
        "description": "Counts the lines of the stream, over all its segments.",
    },
    "hash": {
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "description": "SHA-256 over the hash of the line before and every byte of this one before it.",
    },
}


def published_schema(version: int = SCHEMA_VERSION) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the lines that a version of the schema writes.

    Raises ``AuditError`` for a version that there is not.
    """
    if not 1 <= version <= SCHEMA_VERSION:
        raise AuditError(
            f"schema version {version}: this library knows 1 to {SCHEMA_VERSION}; a log states its own in "
            "'schema' of segment_began, 1 where it states none"
        )
    text = files("guardsteer.audit").joinpath("schemas", f"{version}.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def make_schema() -> dict[str, Any]:
    """Return the JSON Schema of the records as the structs of this version are."""
    types = get_args(Record)
    _, components = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    kinds = sorted((_kind(components[each.__name__]), each.__name__) for each in types)
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A line of a guardsteer audit log, schema {SCHEMA_VERSION}",
        "description": " ".join(_ABOUT.split()),
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind, _ in kinds],
        "$defs": {kind: _line(kind, components[name]) for kind, name in kinds},
    }
    # As JSON has it: defaults that are tuples become lists.
    plain: dict[str, Any] = json.loads(json.dumps(schema))
    return plain


def _kind(component: dict[str, Any]) -> str:
    kind: str = component["properties"]["kind"]["enum"][0]
    return kind


def _unwrapped(docstring: str) -> str:
    """Return a docstring with one line for each paragraph."""
    return "\n".join(" ".join(paragraph.split()) for paragraph in cleandoc(docstring).split("\n\n"))


def _line(kind: str, component: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": kind,
        "description": _unwrapped(component["description"]),
        "type": "object",
        "properties": {**component["properties"], "kind": {"const": kind}, **_PLACE},
        "required": sorted({*component["required"], "kind", *_PLACE}),
    }
