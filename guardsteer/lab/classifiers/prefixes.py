"""What a stream shows of a text: its beginnings, and an onset behind other text."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

from guardsteer.classify.words.windows import Windows

__all__ = ["cut", "openings_of", "pieces_of", "prefixes_of", "spliced", "windows_of"]

_WORD = re.compile(r"\s*\S+")
_LONGEST_LEAD = 80
_LEAST_OPENING = 5
_LEAST_PIECE = 3


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


def openings_of(
    text: str, leads: Sequence[str], draw: random.Random, *, each: int, windows: Windows
) -> list[str]:
    """Return ``each`` windows that a text begins in, up to half a window of another text before it."""
    found = []
    for _ in range(each):
        before = draw.choice([0, 0, *range(1, windows.longest // 2 + 1)])
        words = _WORD.findall(draw.choice(leads))
        start = draw.randrange(max(1, len(words) - before))
        opening = cut(text, draw.randint(_LEAST_OPENING, _LEAST_OPENING + windows.longest))
        found.append(f"{''.join(words[start : start + before]).strip()} {opening.lstrip()}".lstrip())
    return found


def pieces_of(text: str, draw: random.Random, *, each: int, windows: Windows) -> list[str]:
    """Return pieces of a text of up to a window and a third, its beginning and at most ``each`` more."""
    words = _WORD.findall(text)
    longest = windows.longest + windows.longest // 3
    found = ["".join(words[: draw.randint(_LEAST_PIECE, longest)])]
    for _ in range(min(each, 1 + len(words) // 8)):
        start = draw.randrange(max(1, len(words) - _LEAST_PIECE))
        found.append("".join(words[start : start + draw.randint(_LEAST_PIECE, longest)]).lstrip())
    return found


def windows_of(text: str, windows: Windows) -> Iterator[str]:
    """Yield what each window of a text holds after each of its words, from where it counts."""
    words = _WORD.findall(text)
    for start in range(0, len(words), windows.every):
        shortest = windows.shortest if start else 1
        for size in range(shortest, min(windows.longest, len(words) - start) + 1):
            yield "".join(words[start : start + size]).lstrip()
