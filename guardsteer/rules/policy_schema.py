"""The shape of policies as JSON Schema, for editors: they complete, explain and check while one writes."""

from __future__ import annotations

from typing import Any

from guardsteer.rules.binding_schema import BindingModel
from guardsteer.rules.names import IDENTIFIER, KEYWORDS, REQUEST_KEYS, TAKEN_KEYS, TITLE
from guardsteer.rules.schema import PolicyModel

__all__ = ["DIALECT", "binding_schema", "policy_schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def policy_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a policy file.

    Every policy that loads is valid under it. The reverse does not hold: conditions, references between
    parts and limits that hang on other fields are left to ``check``.
    """
    schema = _schema(PolicyModel.model_json_schema())
    fields = schema["properties"]
    fields["guardsteer"] = {**fields["guardsteer"], "const": 1}
    fields["name"]["pattern"] = _whole(TITLE.pattern)
    for section, reserved in _RESERVED.items():
        fields[section]["propertyNames"] = _names(reserved)
    definitions = schema["$defs"]
    definitions["RuleModel"]["properties"]["id"]["pattern"] = _whole(TITLE.pattern)
    definitions["RuleModel"]["anyOf"] = [{"required": [action]} for action in _ACTIONS]
    return schema


def binding_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a binding in a file of its own."""
    return _schema(BindingModel.model_json_schema())


_RESERVED = {
    "context": (*KEYWORDS, *REQUEST_KEYS, *TAKEN_KEYS),
    **dict.fromkeys(("classifiers", "flags", "vectors", "profiles"), tuple(KEYWORDS)),
}
_ACTIONS = (
    *("add", "subtract", "ablate", "clamp", "route", "disable", "halt", "revise", "hold_back", "observe"),
)


def _schema(made: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": DIALECT, **_tidy(made)}


def _whole(pattern: str) -> str:
    return f"^{pattern}$"


def _names(reserved: tuple[str, ...]) -> dict[str, Any]:
    return {"pattern": _whole(IDENTIFIER.pattern), "not": {"enum": sorted(reserved)}}


def _tidy(schema: Any) -> Any:
    """Return the schema with fields under their own names, and without ``null``, which no policy may hold."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _tidy(value) for key, value in schema.items() if not (key == "default" and value is None)}
    if isinstance(kept.get("properties"), dict):
        kept["properties"] = {name: {**field, "title": name} for name, field in kept["properties"].items()}
    if isinstance(kept.get("description"), str):
        kept["description"] = kept["description"].replace("``", "'")
    choices = kept.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        others = [choice for choice in choices if choice != {"type": "null"}]
        if len(others) == 1:
            del kept["anyOf"]
            return {**others[0], **kept}
        kept["anyOf"] = others
    return kept
