"""Instructions whose following can be checked by a program, in the manner of IFEval (Zhou et al., 2023).

``expect`` of a prompt names what a reply must be: a number of words, a list, JSON, a required section.
Prompts and checks are guardsteer's own; the idea is the paper's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import re2

__all__ = ["KINDS", "Expectation", "compile_pattern", "expectations", "holds"]

Value: TypeAlias = str | int | bool | tuple[str, ...]

_WORD = re.compile(r"\w[\w'’-]*")
_ENDS = re.compile(r"[.!?]+[\"')\]]*(?=\s|$)")
_ITEM = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+\S", re.MULTILINE)
_HEADING = re.compile(r"^[\s#*]*(.*?)[\s:*#]*$")
_QUOTES = ('"', "“", "'", "«")


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that a reply must be: a key of ``KINDS`` and what it is held against."""

    kind: str
    value: Value


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a kind takes (``int``, ``str``, ``bool`` or ``tuple`` of text) and how it is checked."""

    takes: type
    test: Callable[[str, Any], bool]


def expectations(given: Any) -> tuple[Expectation, ...]:
    """Return the expectations of a mapping from kind to value, such as ``{"words_at_most": 20}``.

    Raises ``ValueError`` with all that is wrong: kinds that are unknown, values of another type, a pattern
    that RE2 does not know.
    """
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"expect: got {given!r:.60}, expected what a reply must be, of {', '.join(KINDS)}")
    found, mistakes = [], []
    for kind, value in given.items():
        if kind not in KINDS:
            mistakes.append(f"expect: there is no {kind!r}; there are {', '.join(KINDS)}")
            continue
        try:
            found.append(Expectation(kind, _value(kind, value)))
        except ValueError as error:
            mistakes.append(f"expect: {kind}: {error}")
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return tuple(found)


def compile_pattern(pattern: str) -> Any:
    """Return a compiled pattern of RE2; ``ValueError`` says why it is none."""
    options = re2.Options()
    options.log_errors = False  # The mistake is ours to tell, not the library's to print.
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        told = error.args[0]
        reason = told.decode(errors="replace") if isinstance(told, bytes) else str(error)
        raise ValueError(reason) from error


def holds(expectation: Expectation, reply: str) -> bool:
    """Return whether ``reply``, without white space around it, is as expected; an empty one never is."""
    stripped = reply.strip()
    return bool(stripped) and KINDS[expectation.kind].test(stripped, expectation.value)


def _value(kind: str, value: Any) -> Value:
    takes = KINDS[kind].takes
    if takes is tuple:
        texts = [value] if isinstance(value, str) else value
        if (
            not isinstance(texts, list)
            or not texts
            or not all(isinstance(each, str) and each for each in texts)
        ):
            raise ValueError(f"got {value!r:.60}, expected a text or a list of texts")
        return tuple(texts)
    fits = {
        # True is a whole number to Python, and no number of words.
        int: isinstance(value, int) and not isinstance(value, bool) and value >= 1,
        str: isinstance(value, str) and bool(value),
        bool: value is True,
    }
    if not fits[takes]:
        names = {int: "a whole number of 1 or more", str: "text", bool: "true"}
        raise ValueError(f"got {value!r:.60}, expected {names[takes]}")
    if kind == "matches":
        compile_pattern(value)
    made: Value = value
    return made


def _words(reply: str) -> int:
    return len(_WORD.findall(reply))


def _sentences(reply: str) -> int:
    # What follows the last full stop counts, so that a reply without any is one sentence.
    return len([part for part in _ENDS.split(reply) if _WORD.search(part)])


def _fenced(reply: str) -> str:
    lines = reply.splitlines()
    if len(lines) > 2 and lines[0].startswith("```") and lines[-1].strip() == "```":
        return "\n".join(lines[1:-1])
    return reply


def _json(reply: str) -> Any:
    try:
        return json.loads(_fenced(reply))
    except (ValueError, RecursionError):
        return None


def _has_word(reply: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(text)}(?!\w)", reply, re.IGNORECASE) is not None


def _headings(reply: str) -> set[str]:
    matches = (_HEADING.match(line.partition(":")[0]) for line in reply.splitlines())
    return {match.group(1).casefold() for match in matches if match}


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".!")


KINDS: Mapping[str, _Kind] = {
    "words_at_most": _Kind(int, lambda reply, most: _words(reply) <= most),
    "words_at_least": _Kind(int, lambda reply, least: _words(reply) >= least),
    "sentences": _Kind(int, lambda reply, number: _sentences(reply) == number),
    "sentences_at_most": _Kind(int, lambda reply, most: _sentences(reply) <= most),
    "items": _Kind(int, lambda reply, number: len(_ITEM.findall(reply)) == number),
    "has": _Kind(tuple, lambda reply, texts: all(_has_word(reply, text) for text in texts)),
    "lacks": _Kind(tuple, lambda reply, texts: not any(_has_word(reply, text) for text in texts)),
    "sections": _Kind(tuple, lambda reply, texts: {text.casefold() for text in texts} <= _headings(reply)),
    "json": _Kind(bool, lambda reply, _: isinstance(_json(reply), dict | list)),
    "json_keys": _Kind(
        tuple, lambda reply, keys: isinstance(found := _json(reply), dict) and set(keys) <= set(found)
    ),
    "starts_with": _Kind(str, lambda reply, text: reply.casefold().startswith(text.casefold())),
    "ends_with": _Kind(str, lambda reply, text: _plain(reply).endswith(_plain(text))),
    "upper_case": _Kind(bool, lambda reply, _: reply == reply.upper() != reply.lower()),
    "lower_case": _Kind(bool, lambda reply, _: reply == reply.lower() != reply.upper()),
    "no_commas": _Kind(bool, lambda reply, _: "," not in reply),
    "quoted": _Kind(bool, lambda reply, _: reply.startswith(_QUOTES) and reply[-1] in "\"”'»"),
    "exactly": _Kind(tuple, lambda reply, texts: _plain(reply) in {_plain(text) for text in texts}),
    "matches": _Kind(str, lambda reply, pattern: re2.search(pattern, reply) is not None),
}
"""What can be expected of a reply. ``items``: lines that begin with a bullet or number. ``sections``:
headings at the start of a line. ``exactly``: one of these texts, whatever the case and a last full stop.
"""
