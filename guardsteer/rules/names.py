"""What a condition may name, and what each name stands for."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from guardsteer.rules.places import closest, shown
from guardsteer.rules.syntax import Constant, FlagRef, RequestRef, SignalRef, StepRef, Type

__all__ = [
    "IDENTIFIER",
    "KEYWORDS",
    "REQUEST_KEYS",
    "TAKEN_KEYS",
    "TITLE",
    "WORDS",
    "Names",
    "look_up",
    "signal_mistake",
]

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
TITLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
KEYWORDS = frozenset(
    (
        *("true", "false", "True", "False", "in", "request", "step", "null", "and", "or", "not"),
        *("all", "otherwise"),
    )
)
WORDS = {"and": "write &&", "or": "write ||", "not": "write !", "True": "write true", "False": "write false"}
REQUEST_KEYS: Mapping[str, Type] = {
    "tenant": "string",
    "route": "string",
    "role": "string",
    "locale": "string",
    "labels": "labels",
}
# Beside its context a request brings these; "request" is a keyword already.
TAKEN_KEYS = ("turns", "strengths")

Named: TypeAlias = Constant | StepRef | FlagRef | SignalRef | RequestRef
_Found: TypeAlias = tuple[Named, Type]
_Wrong: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Names:
    """What a condition may name. Outputs of None are not known and not checked."""

    flags: Collection[str]
    outputs: Mapping[str, tuple[str, ...] | None]
    context: Mapping[str, Type] = field(default_factory=dict)


def look_up(text: str, names: Names) -> tuple[_Found | None, _Wrong]:
    """Return node and type of a name, or None with message and hint."""
    if text in ("true", "false"):
        return (Constant(text == "true"), "bool"), ("", "")
    if text == "step":
        return (StepRef(), "int"), ("", "")
    head, *rest = text.split(".")
    if len(rest) > 1:
        return None, (f"{shown(text)} has too many parts", "write classifier.output or request.key")
    if not rest:
        return _flag(text, names)
    if head == "request":
        return _request(rest[0], names)
    wrong = signal_mistake(head, rest[0], names.outputs)
    return (None, wrong) if wrong is not None else ((SignalRef(text), "float"), ("", ""))


def _flag(name: str, names: Names) -> tuple[_Found | None, _Wrong]:
    if name in names.flags:
        return (FlagRef(name), "bool"), ("", "")
    if name == "request":
        return None, ("'request' needs a key", "write request.tenant")
    message = f"there is no flag {shown(name)}"
    if name in names.outputs:
        outputs = names.outputs[name]
        hint = (
            "write " + " or ".join(f"{name}.{o}" for o in outputs[:3]) if outputs else f"write {name}.output"
        )
        return None, (f"{shown(name)} is a classifier, not a flag", hint)
    if name in names.context or name in REQUEST_KEYS:
        return None, (message, f"write request.{name} for the request's key")
    return None, (message, closest(name, names.flags, "flags"))


def _request(key: str, names: Names) -> tuple[_Found | None, _Wrong]:
    kind = names.context.get(key) or REQUEST_KEYS.get(key)
    if kind is not None:
        return (RequestRef(key, kind), kind), ("", "")
    hint = f"{closest(key, [*REQUEST_KEYS, *names.context], 'keys')}; others are declared under 'context:'"
    return None, (f"the request has no key {shown(key)}", hint)


def signal_mistake(
    classifier: str, output: str, outputs: Mapping[str, tuple[str, ...] | None]
) -> tuple[str, str] | None:
    """Return message and hint where ``classifier.output`` is not a signal, else None."""
    if classifier not in outputs:
        return f"there is no classifier {shown(classifier)}", closest(classifier, outputs, "classifiers")
    known = outputs[classifier]
    if known is not None and output not in known:
        hint = closest(output, known, "outputs")
        return f"the classifier {shown(classifier)} has no output {shown(output)}", hint
    return None
