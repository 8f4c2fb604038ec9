"""What may name a part of a policy."""

from __future__ import annotations

from guardsteer.rules.names import IDENTIFIER, KEYWORDS
from guardsteer.rules.places import Report, shown

__all__ = ["check_name"]


def check_name(report: Report, name: str, start: int, what: str) -> None:
    """Add a problem where ``name`` cannot name a ``what``."""
    if not IDENTIFIER.fullmatch(name):
        hint = "use up to 64 letters, digits and '_', a letter first"
        report.add(start, f"{shown(name)} cannot be the name of a {what}", hint)
    elif name in KEYWORDS:
        report.add(
            start, f"{shown(name)} is a word of the language and cannot name a {what}", "choose another name"
        )
