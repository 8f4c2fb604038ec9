"""Random conditions and situations in which to evaluate them, for the comparison with CEL."""

from __future__ import annotations

import json
import math
import random
from typing import Any, TypeAlias

__all__ = [
    "CONTEXT",
    "FLAGS",
    "SIGNALS",
    "TYPES",
    "Tree",
    "context",
    "mixes_numbers",
    "quoted",
    "rounded",
    "scores",
    "text_of",
    "tree",
]

Tree: TypeAlias = tuple[Any, ...]
"""A kind and its parts: names and values are ``(kind, text)``, the rest holds trees."""

SIGNALS = ("s.a", "s.b", "s.c", "s.f", "s.g")
FLAGS = {"fa": "s.f", "fb": "s.g"}
CONTEXT = "{tier: int, share: float, beta: bool, rounded: float}"
TYPES = {
    **dict.fromkeys(SIGNALS, "double"),
    **dict.fromkeys(FLAGS, "bool"),
    "step": "int",
    "request.tier": "int",
    "request.share": "double",
    "request.beta": "bool",
    "request.tenant": "string",
    "request.role": "string",
    "request.labels": "list",
}
_INTS = ("0", "1", "2", "-1", "9007199254740993", "-900719925474099301")
_DOUBLES = ("0.5", "0.25", ".5", "1.0", "-0.0", "1e-3", "2.5E0", "9007199254740992.0", "0.30000000000000004")
_TEXTS = ('"x"', "'y'", '"a\\"b"', r"'it\'s'", r'"\\"', '"é😀"', '""', r'"a\nb"')
_VALUES = ("x", "y", 'a"b', "it's", "\\", "é😀", "", "a\nb", "z")


def tree(draw: random.Random, depth: int = 4) -> Tree:
    """Return a random condition."""
    kind = draw.choice(("and", "or", "not", "atom")) if depth else "atom"
    if kind == "not":
        return ("not", tree(draw, depth - 1))
    if kind in ("and", "or"):
        return (kind, *(tree(draw, depth - 1) for _ in range(draw.choice((2, 2, 3)))))
    return _atom(draw)


def _atom(draw: random.Random) -> Tree:
    kind = draw.choice(("truth", "numbers", "numbers", "numbers", "texts", "same", "in", "in", "label"))
    if kind == "truth":
        return _truth(draw)
    if kind == "numbers":
        operator = draw.choice(("==", "!=", "<", "<=", ">", ">="))
        return ("compare", operator, _number(draw), _number(draw))
    if kind == "texts":
        return ("compare", draw.choice(("==", "!=")), _text(draw), _text(draw))
    if kind == "same":
        return ("compare", draw.choice(("==", "!=")), _truth(draw), _truth(draw))
    if kind == "label":
        return ("in", ("text", draw.choice(_TEXTS)), ("name", "request.labels"))
    if draw.random() < 0.5:
        values = [("text", draw.choice(_TEXTS)) for _ in range(draw.randint(1, 3))]
        return ("in", _text(draw), ("list", *values))
    return ("in", _number(draw), ("list", *(_literal(draw) for _ in range(draw.randint(1, 3)))))


def _truth(draw: random.Random) -> Tree:
    name = draw.choice(("fa", "fb", "request.beta", "true", "false"))
    return ("truth" if name in ("true", "false") else "name", name)


def _number(draw: random.Random) -> Tree:
    if draw.random() < 0.35:
        return _literal(draw)
    return ("name", draw.choice(("s.a", "s.b", "s.c", "step", "request.tier", "request.share")))


def _literal(draw: random.Random) -> Tree:
    return draw.choice((("int", draw.choice(_INTS)), ("double", draw.choice(_DOUBLES))))


def _text(draw: random.Random) -> Tree:
    if draw.random() < 0.4:
        return ("text", draw.choice(_TEXTS))
    return ("name", draw.choice(("request.tenant", "request.role")))


def scores(draw: random.Random) -> list[float]:
    """Return a random score for each signal, NaN where it is missing."""
    values = (0.0, -0.0, 1.0, 0.5, 0.25, 0.1 + 0.2, 1e-3, math.nan, math.nan)
    return [draw.choice((draw.choice(values), draw.random())) for _ in SIGNALS]


def context(draw: random.Random) -> dict[str, Any]:
    """Return a random request, with keys missing."""
    whole: dict[str, Any] = {
        "tier": draw.choice((0, 1, 2, -1, 9007199254740993, 9007199254740992, -900719925474099301)),
        "share": draw.choice((0.0, 0.5, 0.25, 1.0, 2.5, 9007199254740992.0, 0.1 + 0.2)),
        "beta": draw.random() < 0.5,
        "tenant": draw.choice(_VALUES),
        "role": draw.choice(_VALUES),
        "labels": draw.sample(_VALUES, draw.randint(0, 4)),
    }
    return {key: value for key, value in whole.items() if draw.random() < 0.75}


def text_of(condition: Tree, draw: random.Random, *, dots: str = ".") -> str:
    """Return a condition as text; ``draw`` sets blanks and needless parentheses, ``dots`` stands in names."""
    kind, *parts = condition
    if kind == "name":
        return str(parts[0]).replace(".", dots)
    if kind in ("truth", "int", "double", "text"):
        return str(parts[0])
    if kind == "list":
        return "[" + ", ".join(text_of(part, draw, dots=dots) for part in parts) + "]"
    if kind == "not":
        return f"!({text_of(parts[0], draw, dots=dots)})"
    blank = draw.choice((" ", " ", "\n ", "  "))
    if kind in ("and", "or"):
        joint = blank + ("&&" if kind == "and" else "||") + draw.choice((" ", "\n"))
        return joint.join(_nested(part, kind, draw, dots) for part in parts)
    left, right = (text_of(part, draw, dots=dots) for part in parts[-2:])
    operator = "in" if kind == "in" else parts[0]
    return f"{left}{blank}{operator} {right}"


def _nested(part: Tree, around: str, draw: random.Random, dots: str) -> str:
    text = text_of(part, draw, dots=dots)
    needless = part[0] != "or" or around == "or"
    return text if needless and draw.random() < 0.7 else f"({text})"


def mixes_numbers(condition: Tree) -> bool:
    """Return whether a condition compares whole numbers with others, which CEL's checker refuses."""
    kind, *parts = condition
    if kind in ("compare", "in"):
        left = _kind(parts[-2])
        right = {_kind(part) for part in parts[-1][1:]} if parts[-1][0] == "list" else {_kind(parts[-1])}
        return left in ("int", "double") and right != {left}
    return any(mixes_numbers(part) for part in parts if isinstance(part, tuple))


def rounded(condition: Tree) -> Tree:
    """Return the condition with whole numbers made decimal where they meet others.

    ``request.rounded`` stands for ``request.tier``.
    """
    kind, *parts = condition
    if kind == "in" and parts[-1][0] == "list" and mixes_numbers(condition):
        item, (_, *values) = parts
        alike = [value for value in values if _kind(value) == _kind(item)]
        others = [value for value in values if _kind(value) != _kind(item)]
        unlike = ("in", _decimal(item), ("list", *map(_decimal, others)))
        return ("or", ("in", item, ("list", *alike)), unlike) if alike else unlike
    if kind == "compare" and mixes_numbers(condition):
        return (kind, parts[0], _decimal(parts[1]), _decimal(parts[2]))
    return (kind, *(rounded(part) if isinstance(part, tuple) else part for part in parts))


def _decimal(operand: Tree) -> Tree:
    if operand[0] == "int":
        return ("double", repr(float(operand[1])))
    return ("name", "request.rounded") if operand == ("name", "request.tier") else operand


def _kind(operand: Tree) -> str:
    return TYPES[operand[1]] if operand[0] == "name" else str(operand[0])


def quoted(text: str) -> str:
    """Return a condition as a YAML scalar."""
    return json.dumps(text, ensure_ascii=False)
