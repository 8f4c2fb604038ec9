"""The schema's mistakes in a policy's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from guardsteer.rules.binding_schema import BindingModel, OverrideModel, RolloutModel
from guardsteer.rules.document import Node, ScalarNode, describe, find
from guardsteer.rules.places import Report, clipped, closest, listed, shown
from guardsteer.rules.rule_schema import (
    AblateModel,
    ClampModel,
    ProfileModel,
    PushModel,
    ReviseModel,
    RuleModel,
    StrongerModel,
)
from guardsteer.rules.schema import (
    VERSION,
    AuditModel,
    BreakerModel,
    ClassifierModel,
    CombineModel,
    FlagModel,
    PolicyModel,
    SmoothModel,
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
    "profiles": ProfileModel,
    "rules": RuleModel,
    "overrides": OverrideModel,
}
_PARTS: dict[str, type[BaseModel]] = {
    "add": PushModel,
    "subtract": PushModel,
    "ablate": AblateModel,
    "clamp": ClampModel,
    "stronger": StrongerModel,
    "revise": ReviseModel,
    "smooth": SmoothModel,
    "breaker": BreakerModel,
    "combine": CombineModel,
    "audit": AuditModel,
    "binding": BindingModel,
    "rollout": RolloutModel,
}
_SAME_WORD = {
    "str": "string",
    "text": "string",
    "integer": "int",
    "number": "float",
    "double": "float",
    "boolean": "bool",
}


def explain_schema_errors(
    report: Report, root: Node, error: ValidationError, model: type[BaseModel] = PolicyModel
) -> None:
    """Add every mistake of ``error`` to ``report``, at its node of the tree below ``root``.

    ``model`` is what the whole tree should have been.
    """
    for item in error.errors(include_url=False, include_input=False):
        if report.full:
            return
        loc = item["loc"]
        node, key_start, reached = find(root, loc)
        kind = item["type"]
        if kind == "extra_forbidden":
            _unknown_field(report, loc, key_start, model)
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
        kind = first.removesuffix("s")
        return f"the {kind}" if isinstance(loc[1], int) else f"the {kind} {shown(loc[1])}"
    words = [part for part in loc if isinstance(part, str)]
    return shown(words[-1])


def _model_at(loc: Sequence[int | str], root: type[BaseModel]) -> type[BaseModel]:
    if len(loc) == 2 and loc[0] in _SECTIONS:
        return _SECTIONS[str(loc[0])]
    words = [part for part in loc if isinstance(part, str)]
    return _PARTS[words[-1]] if words else root


def _fields_of(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _unknown_field(report: Report, loc: Sequence[int | str], key_start: int, root: type[BaseModel]) -> None:
    field, parent = str(loc[-1]), loc[:-1]
    known = _fields_of(_model_at(parent, root))
    what = "the binding" if root is BindingModel and not parent else _what(parent)
    report.add(key_start, f"{what} has no field {shown(field)}", closest(field, known, "fields"))


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
        least = context.get("min_length", 1)
        return f"{what} must not be empty" if least == 1 else f"{what} must hold {least} items at least", ""
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
