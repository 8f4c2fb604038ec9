"""Whether RE2 (https://github.com/google/re2), which runs in linear time, takes a pattern; if not, why."""

from __future__ import annotations

from typing import NamedTuple

import re2

from guardsteer.rules.places import shown

__all__ = ["MAX_PATTERN_LENGTH", "PatternMistake", "pattern_mistake"]

MAX_PATTERN_LENGTH = 1000
_MOST_MEMORY = 2 << 20
_LINEAR = "patterns run in linear time"
_REASONS = (
    ("(?=", "lookahead is not available", f"{_LINEAR}; write the alternatives out"),
    ("(?!", "lookahead is not available", f"{_LINEAR}; write the alternatives out"),
    ("(?<=", "lookbehind is not available", f"{_LINEAR}; write the alternatives out"),
    ("(?<!", "lookbehind is not available", f"{_LINEAR}; write the alternatives out"),
    ("(?>", "atomic groups are not available", f"{_LINEAR}; a plain group (?:…) does"),
    ("(?#", "comments within patterns are not available", ""),
    ("(?P=", "references to groups are not available", f"{_LINEAR}; write the repeated part out"),
    ("(?(", "conditional groups are not available", f"{_LINEAR}; write two patterns"),
)
_MESSAGES = (
    ("missing ]", "'[' has no ']'", "write \\[ for the character itself"),
    ("missing )", "'(' has no ')'", "write \\( for the character itself"),
    ("unexpected )", "')' has no '('", "write \\) for the character itself"),
    ("trailing \\", "the pattern ends with a backslash", "write \\\\ for the character itself"),
    (
        "no argument for repetition",
        "there is nothing to repeat",
        "write a backslash before it for the character",
    ),
    (
        "bad repetition operator",
        "possessive and doubled repetitions are not available",
        "use * + ? or {m,n}",
    ),
    ("invalid repetition size", "repetitions multiply to more than 1000", ""),
    (
        "invalid character class range",
        "the range in '[…]' has its ends the wrong way round",
        "",
    ),
    ("pattern too large", "the pattern is too large", "write several smaller patterns"),
)


class PatternMistake(NamedTuple):
    """What is wrong with a pattern, at a character of it."""

    offset: int
    message: str
    hint: str = ""


def pattern_mistake(pattern: str, *, ignore_case: bool) -> PatternMistake | None:
    """Return why ``pattern`` cannot be used, or None."""
    if len(pattern) > MAX_PATTERN_LENGTH:
        return PatternMistake(
            0, f"the pattern has more than {MAX_PATTERN_LENGTH} characters", "write several"
        )
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_MEMORY
    options.case_sensitive = not ignore_case
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        told = error.args[0] if error.args else b""
        return _explain(pattern, told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told))
    if compiled.search("") is not None:
        return PatternMistake(
            0, "the pattern matches the empty text, so it would always match", "use + instead of *"
        )
    return None


def _explain(pattern: str, told: str) -> PatternMistake:
    reason, _, fragment = told.partition(": ")
    offset = max(pattern.find(fragment), 0) if fragment else 0
    if reason == "invalid escape sequence":
        if fragment[1:2].isdigit() or fragment[1:2] in ("g", "k"):
            hint = f"{_LINEAR}; write the repeated part out"
            return PatternMistake(offset, "references to groups are not available", hint)
        return PatternMistake(offset, f"there is no escape {shown(fragment)}", "write \\\\ for a backslash")
    if reason in ("invalid perl operator", "invalid named capture group"):
        for opening, message, hint in _REASONS:
            if opening.startswith(fragment) and opening in pattern:
                return PatternMistake(pattern.index(opening), message, hint)
        return PatternMistake(offset, "groups of this kind are not available", "a plain group (?:…) does")
    if reason == "invalid character class range" and not fragment[:1].isalnum():
        return PatternMistake(offset, f"there is no class of characters {shown(fragment)}")
    for start, message, hint in _MESSAGES:
        if reason.startswith(start):
            return PatternMistake(offset, message, hint)
    return PatternMistake(offset, "this is not a pattern of RE2", told)
