"""What single characters are read as where a text is normalised: tables of this project's own, and rules.

The rules are Unicode's compatibility decomposition and the characters' names (``unicodedata``); the tables
add what these do not know: which letters of another script look like which Latin ones. Unicode's own table
of confusables is not used: it is far longer, and most of it is no letter that anybody writes a word with.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["LEET", "LOOKALIKES", "TWINS", "character_table"]

_ASCII = "abcdefghijklmnopqrstuvwxyz"


def _pairs(text: str) -> dict[str, str]:
    """Return a mapping from pairs of letters, a space between."""
    return {pair[0]: pair[1] for pair in text.split()}


TWINS: Mapping[str, str] = MappingProxyType(
    _pairs(
        # Cyrillic small, then capital letters.
        "\u0430a \u0441c \u0501d \u0435e \u04bbh \u0456i \u0457i \u0458j \u04cfl \u043eo \u0440p"
        " \u051bq \u0455s \u051dw \u0445x \u0443y \u04afy \u0410a \u0412b \u0421c \u0415e \u041dh"
        " \u0406i \u0407i \u0408j \u041ak \u04c0l \u041cm \u041eo \u0420p \u051aq \u0405s \u0422t"
        " \u051cw \u0425x \u0423y \u04aey"
        # Greek, the same.
        " \u03b1a \u03b9i \u03bfo \u03c1p \u03c5u \u03bdv \u03c7x \u0391a \u0392b \u0395e \u0397h"
        " \u0399i \u039ak \u039cm \u039dn \u039fo \u03a1p \u03a4t \u03a7x \u03a5y \u0396z"
    )
)
"""Letters of Cyrillic and Greek that nobody tells from a Latin one, and that one, small."""

LOOKALIKES: Mapping[str, str] = MappingProxyType(
    dict(TWINS)
    | _pairs(
        " \u0432b \u0433r \u0434a \u0437e \u0438n \u0439n \u043ak \u043cm \u043dh \u043fn \u0442t"
        " \u0447y \u0448w \u0449w \u044cb \u044ab \u044de \u044fr \u0451e \u0454e \u0463b \u0493f"
        " \u049bk \u04a3h \u04b3x \u0452h \u0444o \u0446u \u0436x \u043bn \u044bb \u044ei \u0431b"
        " \u0413r \u0414a \u0417e \u0418n \u0419n \u041fn \u0427y \u0428w \u0429w \u042cb \u042de"
        " \u042fr \u0401e \u0404e \u0424o \u0426u \u0416x \u041bn \u0411b \u03b5e \u03b3y \u03bak"
        " \u03b2b \u03b4d \u03b6z \u03b7n \u03b8o \u03bba \u03bcu \u03bee \u03c0n \u03c3o \u03c2s"
        " \u03c4t \u03c6o \u03c8y \u03c9w \u0393r \u0394a \u0398o \u039ba \u039ee \u03a0n \u03a3e"
        " \u03a6o \u03a8y \u03a9o"
        # Armenian and Cherokee.
        " \u0578n \u057du \u0585o \u0570h \u0581g \u0563q \u0566q \u0575j \u056cl \u0561w \u13a0d"
        " \u13a1r \u13a2t \u13aci \u13b3w \u13bbh \u13b7m \u13a9y \u13d9v \u13dae \u13dfc \u13e2p"
        " \u13d2r \u13d4w \u13aaa \u13ebo"
    )
)
"""Letters that are read as a Latin one inside a word that has Latin letters, and that one, small."""

LEET: Mapping[str, str] = MappingProxyType(_pairs("0o 1i 3e 4a 5s 7t @a $s !i \u20ace"))
"""Digits and signs that stand for letters inside a word that has letters."""

_LETTERS: Mapping[str, str] = MappingProxyType(
    _pairs(
        "\u0131i \u0237j \u0251a \u0261g \u0269i \u028bv \u0138k \u0275o \u0186o"
        " \u2019' \u2018' \u201b' \u02bc' \u02b9' \u2032' \u00b4' `' \u055a' \u2010- \u2011- \u2012- \u2013-"
        ' \u2014- \u2212- \u201c" \u201d" \u201e" \u00ab" \u00bb"'
    )
    | {
        "\u00df": "ss",
        "\u1e9e": "SS",
        "\u00e6": "ae",
        "\u00c6": "AE",
        "\u0153": "oe",
        "\u0152": "OE",
        "\u00f0": "d",
        "\u00d0": "D",
        "\u00fe": "th",
        "\u00de": "TH",
        "\u2800": " ",
    }
)
"""Letters of Latin that are no accented form of one by name, marks that stand for an ASCII one, a blank."""

# Marks that any letter may carry. Those of one script alone, such as the vowel signs of Hindi, are kept.
_MARKS = (
    (0x0300, 0x036F),
    (0x0483, 0x0489),
    (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF),
    (0x20D0, 0x20FF),
    (0xFE20, 0xFE2F),
)

# Shown as nothing, though Unicode counts them as letters or marks: fillers, joiners, variation selectors.
_UNSEEN = ((0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x3164, 0x3164), (0xFE00, 0xFE0F))
_UNSEEN_FURTHER = ((0xFFA0, 0xFFA0), (0xE0000, 0xE0FFF))

# Letters in circles, squares and flags that do not decompose, in rows of 26.
_ROWS = (0x1F150, 0x1F170, 0x1F1E6)

_NAME = re.compile(r"LATIN (?:(SMALL|CAPITAL) LETTER|LETTER SMALL CAPITAL) ([A-Z])(?: WITH .*)?")


class _Table(dict[int, str]):
    """A table for ``str.translate``, filled as characters turn up."""

    __slots__ = ("_lower",)

    def __init__(self, *, lower: bool) -> None:
        super().__init__()
        self._lower = lower

    def __missing__(self, code: int) -> str:
        read = _read_as(chr(code))
        if self._lower:
            read = "".join(part.lower() for part in read).replace("\u03c2", "\u03c3")
        self[code] = read
        return read


def character_table(*, lower: bool) -> dict[int, str]:
    """Return a table for ``str.translate`` that reads each character by itself.

    Invisible characters, controls and accents go; compatibility forms (full width, mathematical, circled)
    and accented letters become the plain ones, curly quotes and dashes the straight ones, white space
    beyond ASCII a space. ``lower``: letters become small, the final sigma the ordinary one.
    """
    return _Table(lower=lower)


def _read_as(character: str) -> str:
    if character.isspace():
        return character if character.isascii() else " "
    if character in _LETTERS:
        return _LETTERS[character]
    code = ord(character)
    if unicodedata.category(character) in ("Cf", "Cc") or _in(code, _MARKS + _UNSEEN + _UNSEEN_FURTHER):
        return ""
    for start in _ROWS:
        if start <= code < start + 26:
            return _ASCII[code - start]
    decomposed = unicodedata.normalize("NFKD", character)
    if decomposed[0] == " ":
        # An accent that stands by itself: not a gap between words.
        return character
    kept = [_plain(part) for part in decomposed if not _in(ord(part), _MARKS + _UNSEEN + _UNSEEN_FURTHER)]
    return unicodedata.normalize("NFC", "".join(kept))


def _plain(part: str) -> str:
    if part in _LETTERS:
        return _LETTERS[part]
    found = _NAME.fullmatch(unicodedata.name(part, "")) if not part.isascii() else None
    if found is None:
        return part
    return found[2] if found[1] == "CAPITAL" else found[2].lower()


def _in(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(low <= code <= high for low, high in ranges)
