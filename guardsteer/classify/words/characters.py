"""How text is lowered and stripped of accents, one character at a time.

scikit-learn does both to the whole text. Done to a stream they give the same, because each is a
function of single characters: the accents' because what canonical ordering moves is exactly what is
removed, and lowering but for one letter, the Greek capital sigma, whose small form depends on what
stands before and after (Unicode's Final_Sigma; ``guardsteer.classify.words.linear`` takes care of it).
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, TypeAlias

__all__ = [
    "CAPITAL_SIGMA",
    "PLAIN",
    "SMALL_SIGMA",
    "SMALL_SIGMA_FINAL",
    "StripAccents",
    "accent_table",
    "case_context",
    "case_of",
]

StripAccents: TypeAlias = Literal["unicode", "ascii"]

CAPITAL_SIGMA, SMALL_SIGMA, SMALL_SIGMA_FINAL = "Σ", "σ", "ς"

PLAIN = frozenset(string.printable) - frozenset("'.:^`")
"""Characters that Final_Sigma never looks past: the quick way out for most text."""


class _AccentTable(dict[int, str]):
    """A table for ``str.translate``, filled as characters turn up."""

    __slots__ = ("_strip",)

    def __init__(self, strip: Callable[[str], str]) -> None:
        super().__init__()
        self._strip = strip

    def __missing__(self, code: int) -> str:
        stripped = self[code] = self._strip(chr(code))
        return stripped


def accent_table(kind: StripAccents) -> dict[int, str]:
    """Return a table for ``str.translate`` that strips accents as scikit-learn's ``strip_accents`` does.

    By table and not by normalising the text: normalising sorts a run of combining marks in time
    that grows with its square.
    """
    return _AccentTable(_base if kind == "unicode" else _ascii)


def _base(character: str) -> str:
    decomposed = unicodedata.normalize("NFKD", character)
    return "".join(part for part in decomposed if not unicodedata.combining(part))


def _ascii(character: str) -> str:
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode("ascii")


@lru_cache(maxsize=65_536)
def case_of(character: str) -> Literal["ignorable", "cased", "other"]:
    """Return what Final_Sigma takes a character for, as this Python's ``str.lower`` sees it."""
    if f"AΣ{character}".lower()[1] == SMALL_SIGMA:
        return "cased"
    return "ignorable" if f"AΣ{character}A".lower()[1] == SMALL_SIGMA else "other"


def case_context(before: str, text: str) -> str:
    """Return the last character of ``before + text`` that is not case-ignorable, or ``before``."""
    for character in reversed(text):
        if case_of(character) != "ignorable":
            return character
    return before
