"""What an unquoted YAML word means: YAML 1.2's core schema, less every word that readers disagree on.

``yes`` is true to YAML 1.1 and text to YAML 1.2, ``010`` is eight to one and ten to the other. Such
words are refused with a hint, so that a policy means the same to everybody who reads it.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple, TypeAlias

from guardsteer.rules.places import shown

__all__ = ["Resolved", "Value", "resolve"]

Value: TypeAlias = str | int | float | bool | None

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS = {"true": True, "false": False}
_YES = frozenset(("yes", "on", "y", "true"))
_NO = frozenset(("no", "off", "n", "false"))
_LONGEST_INT = 18
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_ENDLESS = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_NUMBER_LIKE = re.compile(
    r"[-+]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+"
    r"|0[0-9_]+(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?"
    r"|[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?"
    r"|[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?)"
)


class Resolved(NamedTuple):
    """A word's value, or why it has none."""

    value: Value
    message: str = ""
    hint: str = ""


def resolve(text: str) -> Resolved:
    """Return the value of an unquoted scalar; ``message`` is not empty where it is refused."""
    if text in _BOOLEANS:
        return Resolved(_BOOLEANS[text])
    if text in _NULLS:
        return Resolved(None)
    folded = text.casefold() if len(text) <= len("false") else ""
    if folded in _YES or folded in _NO:
        meaning = "true" if folded in _YES else "false"
        return Resolved(
            text,
            f"'{text}' is a boolean to some readers of YAML and text to others",
            f'write {meaning} for the boolean, or "{text}" in quotes for the word',
        )
    if text[0] not in "+-.0123456789":
        return Resolved(text)
    return _number(text)


def _number(text: str) -> Resolved:
    if _INT.fullmatch(text):
        if len(text.lstrip("+-")) > _LONGEST_INT:
            return Resolved(text, f"the number has more than {_LONGEST_INT} digits", "quote it if it is text")
        return Resolved(int(text))
    if _FLOAT.fullmatch(text):
        value = float(text)
        if math.isinf(value):
            return Resolved(text, "the number is too large", "quote it if it is text")
        return Resolved(value)
    if _ENDLESS.fullmatch(text):
        return Resolved(text, f"{shown(text)} is not a number that a policy can use", "write a finite number")
    if _NUMBER_LIKE.fullmatch(text):
        return Resolved(
            text,
            f"{shown(text)} is one number to some readers of YAML, another or text to others",
            "write a plain decimal number, or put it in quotes if it is text",
        )
    return Resolved(text)
