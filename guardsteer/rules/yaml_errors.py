"""YAML's own complaints, as its two parsers put them, in a policy writer's words."""

from __future__ import annotations

import yaml

from guardsteer.rules.places import Report

__all__ = ["add_syntax_error"]

_QUOTE = "put the whole text in quotes"
_INDENT = "check the indentation"
_COMPLAINTS = (
    ("anchor", "'&' begins a YAML anchor here, and anchors are not allowed", _QUOTE),
    ("alias", "'*' begins a YAML alias here, and aliases are not allowed", _QUOTE),
    ("mapping values are not allowed", "': ' cannot stand here", f"{_INDENT}, or quote text that holds ': '"),
    ("cannot start any token", "text cannot begin with this character", _QUOTE),
    ("unknown escape character", "there is no such escape in double quotes", "write '\\\\' for a backslash"),
    ("hexdecimal number", "the escape has too few hexadecimal digits", ""),
    ("hexadecimal number", "the escape has too few hexadecimal digits", ""),
    ("unexpected ':'", "a space is missing after ':'", f"write 'key: value', or {_QUOTE}"),
    ("unexpected end of stream", "the quoted text has no closing quote", "add the closing quote"),
    ("block scalar", "only an indentation number or '+' or '-' may follow '|' and '>'", _QUOTE),
    ("flow sequence", "the list has no ',' or ']' here", "add it, or quote text that holds '[', ']' or ','"),
    (
        "flow mapping",
        "the mapping has no ',' or '}' here",
        "add it, or quote text that holds '{', '}' or ','",
    ),
    ("block collection", "this is neither an item '- ' of the list nor its end", _INDENT),
    ("block mapping", "this is neither a 'key: value' of the mapping nor its end", f"{_INDENT}, or {_QUOTE}"),
    ("could not find expected ':'", "a ':' is missing", "write 'key: value'"),
    ("document start", "the document ends before this", f"{_INDENT}, or {_QUOTE}"),
)


def add_syntax_error(report: Report, error: yaml.MarkedYAMLError) -> None:
    """Add what the parser could not read, in our words where the complaint is a known one."""
    mark = error.problem_mark or error.context_mark
    index = mark.index if mark is not None else 0
    told = f"{error.context or ''} {error.problem or ''}"
    for pattern, message, hint in _COMPLAINTS:
        if pattern in told:
            report.add(index, message, hint)
            return
    report.add(index, "this is not valid YAML", str(error.problem or ""))
