"""The schema's mistakes in a policy's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from guardsteer.rules.document import Node, ScalarNode, describe, find
from guardsteer.rules.places import Report, clipped, closest, listed, shown
from guardsteer.rules.schema import (
    VERSION,
    AuditModel,
    ClassifierModel,
    FlagModel,
    PolicyModel,
    RuleModel,
    SteerModel,
    VectorModel,
)

__all__ = ["explain_schema_errors"]

_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_SECTIONS: dict[str, type[BaseModel]] = {
    "classifiers": ClassifierModel,
    "flags": FlagModel,
    "vectors": VectorModel,
    "rules": RuleModel,
}
_SAME_WORD = {
    "str": "string",
    "text": "string",
    "integer": "int",
    "number": "float",
    "double": "float",
    "boolean": "bool",
}


def explain_schema_errors(report: Report, root: Node, error: ValidationError) -> None:
    """Add every mistake of ``error`` to ``report``, at its node of the tree below ``root``."""
    for item in error.errors(include_url=False, include_input=False):
        if report.full:
            return
        loc = item["loc"]
        node, key_start, reached = find(root, loc)
        kind = item["type"]
        if kind == "extra_forbidden":
            _unknown_field(report, loc, key_start)
        elif isinstance(node, ScalarNode) and node.bad:
            continue
        elif kind == "missing" and not reached:
            report.add(
                node.start if key_start < 0 else key_start,
                f"{_what(loc[:-1])} has no '{loc[-1]}'",
                f"add '{loc[-1]}:'",
            )
        else:
            message, hint = _explain(kind, item.get("ctx", {}), loc, node)
            report.add(node.start, message, hint)


def _what(loc: Sequence[int | str]) -> str:
    """Return how a message names the place ``loc``."""
    if not loc:
        return "the policy"
    first = str(loc[0])
    if len(loc) == 1:
        return f"'{first}'"
    if len(loc) == 2 and first in _SECTIONS:
        return "the rule" if first == "rules" else f"the {first[:-1]} {shown(str(loc[1]))}"
    words = [part for part in loc if isinstance(part, str)]
    return shown(words[-1])


def _model_at(loc: Sequence[int | str]) -> type[BaseModel]:
    if not loc:
        return PolicyModel
    if len(loc) == 1:
        return AuditModel
    return SteerModel if len(loc) > 2 else _SECTIONS[str(loc[0])]


def _unknown_field(report: Report, loc: Sequence[int | str], key_start: int) -> None:
    field, parent = str(loc[-1]), loc[:-1]
    known = list(_model_at(parent).model_fields)
    report.add(key_start, f"{_what(parent)} has no field {shown(field)}", closest(field, known, "fields"))


def _explain(kind: str, context: Mapping[str, Any], loc: Sequence[int | str], node: Node) -> tuple[str, str]:
    what, got = _what(loc), describe(node)
    if loc == ("guardsteer",):
        return f"{what} must be {VERSION}, got {got}", "it is the version of the policy language"
    if kind in _EXPECTED:
        return _wrong_type(_EXPECTED[kind], what, got, node)
    if kind == "literal_error":
        return _wrong_word(str(context["expected"]), what, got, node)
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        name, words = {
            "greater_than": ("gt", "greater than"),
            "greater_than_equal": ("ge", "at least"),
            "less_than": ("lt", "less than"),
            "less_than_equal": ("le", "at most"),
        }[kind]
        return f"{what} must be {words} {context[name]:g}, got {got}", ""
    if kind in ("too_short", "string_too_short"):
        return f"{what} must not be empty", ""
    if kind in ("too_long", "string_too_long"):
        return f"{what} is too long: at most {context['max_length']} allowed", ""
    return f"{what} cannot be {got}", ""


def _wrong_type(expected: str, what: str, got: str, node: Node) -> tuple[str, str]:
    hint = ""
    if isinstance(node, ScalarNode):
        if expected == "a text":
            hint = f'write "{clipped(node.text)}" in quotes'
        elif expected in ("a number", "a whole number") and node.style in ("'", '"'):
            hint = "remove the quotes"
    return f"{what} must be {expected}, got {got}", hint


def _wrong_word(expected: str, what: str, got: str, node: Node) -> tuple[str, str]:
    known = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
    message = (
        f"{what} must be {' or '.join(known) if len(known) < 3 else 'one of ' + listed(known)}, got {got}"
    )
    if isinstance(node, ScalarNode) and isinstance(node.value, str) and len(known) > 1:
        word = _SAME_WORD.get(node.value)
        return message, f"did you mean '{word}'?" if word in known else _near(node.value, known)
    return message, ""


def _near(word: str, known: list[str]) -> str:
    hint = closest(word, known, "words")
    return hint if hint.startswith("did") else ""
