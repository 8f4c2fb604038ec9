"""What a stream shows of a text: its beginnings, and an onset behind other text."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

__all__ = ["cut", "prefixes_of", "spliced"]

_WORD = re.compile(r"\s*\S+")
_LONGEST_LEAD = 80


def cut(text: str, words: int) -> str:
    """Return the first ``words`` words of a text, as they stand."""
    parts = _WORD.findall(text)
    return "".join(parts[:words]) if len(parts) > words else text


def prefixes_of(text: str, draw: random.Random, *, each: int, shortest: int) -> list[str]:
    """Return ``each`` beginnings of a text, of at least ``shortest`` words, none where it has no more.

    Lengths are drawn evenly on a logarithmic scale: a stream is judged from its first words on.
    """
    words = len(_WORD.findall(text))
    if words <= shortest:
        return []
    return [cut(text, round(shortest * (words / shortest) ** draw.random())) for _ in range(each)]


def spliced(text: str, leads: Sequence[str], draw: random.Random, *, shortest: int) -> str:
    """Return ``text``, or a beginning of it, behind the beginning of one of ``leads``."""
    lead = cut(draw.choice(leads), draw.randint(1, _LONGEST_LEAD))
    begun = [text, *prefixes_of(text, draw, each=1, shortest=shortest)][-1]
    return f"{lead.rstrip()} {begun.lstrip()}"
