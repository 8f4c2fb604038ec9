"""Conditions cut into tokens, each with its place."""

from __future__ import annotations

import math
import re
from typing import Literal, NamedTuple, TypeAlias

from guardsteer.rules.places import shown

__all__ = ["MAX_LENGTH", "Mistake", "SyntaxMistake", "Token", "TokenKind", "tokenize"]

MAX_LENGTH = 4096
_LONGEST_INT = 18

TokenKind: TypeAlias = Literal["number", "string", "name", "operator", "end"]

_TOKEN = re.compile(
    r"""(?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
    |(?P<operator>&&|\|\||==|!=|<=|>=|[<>!()\[\],-])""",
    re.VERBOSE,
)
_BLANK = re.compile(r"[ \n\r]*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "t": "\t"}
_INSTEAD = {
    "=": "write == to compare",
    "&": "write && for 'and'",
    "|": "write || for 'or'",
    "?": "there is no '? :'; write two rules",
    "+": "there is no arithmetic",
    "*": "there is no arithmetic",
    "/": "there is no arithmetic",
    "%": "there is no arithmetic",
    "~": "write ! for 'not'",
    "{": "lists are written [a, b]",
}


class Mistake(NamedTuple):
    """What is wrong with a condition, at a character of it."""

    offset: int
    message: str
    hint: str = ""


class SyntaxMistake(Exception):
    """A condition cannot be read past ``mistake``."""

    def __init__(self, offset: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.mistake = Mistake(offset, message, hint)


class Token(NamedTuple):
    """A piece of a condition; ``value`` is that of a number or string."""

    kind: TokenKind
    text: str
    offset: int
    value: str | int | float = ""


def tokenize(text: str) -> list[Token]:
    """Return the tokens of ``text``, the last one of kind ``end``.

    Raises ``SyntaxMistake`` at the first character that belongs to no token.
    """
    if len(text) > MAX_LENGTH:
        raise SyntaxMistake(
            0, f"the condition has more than {MAX_LENGTH} characters", "use flags or several rules"
        )
    tokens: list[Token] = []
    position = _skip_blanks(text, 0)
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unexpected(text, position)
        tokens.append(_token(match))
        position = _skip_blanks(text, match.end())
    tokens.append(Token("end", "the end of the condition", len(text)))
    return tokens


def _skip_blanks(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _unexpected(text: str, position: int) -> SyntaxMistake:
    character = text[position]
    if character in "\"'":
        return SyntaxMistake(position, "the string has no closing quote", f"add {character}")
    return SyntaxMistake(position, f"{shown(character)} means nothing here", _INSTEAD.get(character, ""))


def _token(match: re.Match[str]) -> Token:
    kind, text, offset = match.lastgroup, match.group(), match.start()
    if kind == "number":
        return _number(text, offset, match.string[match.end() : match.end() + 1])
    if kind == "string":
        return Token("string", text, offset, _ESCAPE.sub(lambda m: _escape(m, offset), text[1:-1]))
    return Token("name" if kind == "name" else "operator", text, offset)


def _number(text: str, offset: int, following: str) -> Token:
    if following.isalnum() or following in ("_", "."):
        raise SyntaxMistake(offset, "this is not a number", "write a decimal number such as 3 or 0.25")
    if not text.isdigit():
        value = float(text)
        if math.isinf(value):
            raise SyntaxMistake(offset, "the number is too large")
        return Token("number", text, offset, value)
    if len(text) > _LONGEST_INT:
        raise SyntaxMistake(offset, f"the number has more than {_LONGEST_INT} digits")
    if text[0] == "0" and len(text) > 1:
        raise SyntaxMistake(offset, "a whole number does not begin with 0", f"write {int(text)}")
    return Token("number", text, offset, int(text))


def _escape(match: re.Match[str], offset: int) -> str:
    character = match.group(1)
    if character not in _ESCAPES:
        where = offset + 1 + match.start()
        raise SyntaxMistake(where, f"there is no escape {shown(match.group())}", "write \\\\ for a backslash")
    return _ESCAPES[character]
