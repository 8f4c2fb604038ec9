"""Text as a reader sees it: disguised writing undone, in a stream, with the way back to the original.

Two kinds. ``unicode`` reads each character by itself (see ``letters``). ``skeleton`` also undoes, word by
word, what is written to be read by people and missed by machines:

- letters of Cyrillic, Greek, Armenian or Cherokee in a word that has Latin ones, and words of nothing but
  Latin's twins after a Latin word, or at the beginning of the text;
- digits and signs for letters, in words with a Latin letter (``h4t3``), measures and ordinals aside;
- stops, underscores and the like between letters (``ha.te``), hyphens between single ones (``h-a-t-e``);
- four or more single letters with one space between (``h a t e``);
- a letter three times or more in a row, which becomes one.

Words of another script alone are left as they are. A word longer than 64 characters is read in pieces of 64.
What the end of a text leaves open is read as if the text ended there, so a prefix of a text reads as that
prefix does by itself, and a state need keep no more than some 70 characters.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from guardsteer.classify.words.letters import LEET, LOOKALIKES, TWINS, character_table
from guardsteer.classify.words.recent import Recent

__all__ = ["Normalise", "Normalised", "Normaliser", "Reading"]

Normalise: TypeAlias = Literal["unicode", "skeleton"]

Reading: TypeAlias = tuple[bool, int, str]
"""Where a stream stands: whether the last word with letters was Latin; what came before the open part (see
below); the open part, characters read one by one and not settled yet."""

_BETWEEN, _INSIDE, _SPREAD = range(3)
"""Before the open part: a gap or nothing; a piece of the same word; a letter of a word written spread out."""

_Word: TypeAlias = tuple[str, bool, tuple[int, ...]]
"""What a word reads as, whether it is Latin, and which character of the word each one of it stands for."""

_CACHED_WORDS = 16_384
_LEAST_SPREAD = 4

_PIECE = re.compile(r"\s+|\S{1,64}")
_REPEAT = re.compile(r"([^\W\d_])\1{2,}")
_MARKED = re.compile(r"(?<=[^\W\d_])[._*~^|\u00b7\u2022\u2027](?=[^\W\d_])")
_CHAIN = re.compile(r"(?<![^\W_])(?:[^\W\d_][-._*~^|\u00b7\u2022\u2027]){3,}[^\W\d_](?![^\W_])")
_SUBWORD = re.compile(r"\$*[^\W_](?:[@$!\u20ac]*[^\W_])*\$*")
_LONE = re.compile(r"(?<!\S)\S(?!\S)")
_MEASURE = re.compile(
    r"\$?\d+(?:st|nd|rd|th|s|am|pm|[ckm]?m|k?g|m?l|mg|k|h|hrs?|mins?|sec|[kmgt]b|mph|ft|lbs?|oz|yrs?|k?w|v|[kmg]?hz|px"
    r"|pt|bn|usd|eur|x)\$?",
    re.IGNORECASE,
)
_TWIN_TABLE = str.maketrans(dict(TWINS))
_LOOKALIKE_TABLE = str.maketrans(dict(LOOKALIKES))
_LEET_TABLE = str.maketrans(dict(LEET))


@dataclass(frozen=True, slots=True)
class Normalised:
    """A normalised text, and where each of its characters begins in the original.

    What is left out belongs to the character before it, or to the first.
    """

    text: str
    starts: tuple[int, ...]
    length: int

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return where the characters from ``start`` up to ``end`` stand in the original, as start and end.

        Raises ``ValueError`` unless 0 <= start < end <= the length of the normalised text.
        """
        if not 0 <= start < end <= len(self.text):
            raise ValueError(
                f"start and end must hold 0 <= start < end <= {len(self.text)}, got {start} and {end}"
            )
        last = self.starts[end - 1]
        after = bisect_right(self.starts, last)
        return self.starts[start], self.starts[after] if after < len(self.starts) else self.length


class Normaliser:
    """One kind of normalisation at work; shared by all rows and threads.

    Called with a text it returns the whole text's, and so serves scikit-learn as a ``preprocessor``.
    ``read`` follows a stream: what is settled, and then ``rest`` in case the text ends there.
    """

    __slots__ = ("_table", "_words", "kind")

    start: Reading = (True, _BETWEEN, "")

    def __init__(self, kind: Normalise) -> None:
        self.kind: Normalise = kind
        self._table = character_table(lower=kind == "unicode")
        self._words: Recent[tuple[bool, str], _Word] = Recent(_CACHED_WORDS)

    def __call__(self, text: str) -> str:
        """Return a whole text, normalised."""
        reading, settled = self.read(self.start, text)
        return settled + self.rest(reading)

    def read(self, reading: Reading, text: str) -> tuple[Reading, str]:
        """Return where the stream stands after ``text``, and what is settled by it."""
        text = text.translate(self._table)
        if self.kind == "unicode":
            return reading, text
        latin, before, held = reading
        pieces = _PIECE.findall(held + text)
        stop, after = _settled(pieces, before)
        if not stop:
            return (latin, before, "".join(pieces)), ""
        settled, latin = self._emit(pieces[:stop], latin, before)
        return (latin, after, "".join(pieces[stop:])), settled

    def rest(self, reading: Reading) -> str:
        """Return what the open part reads as where the text ends here."""
        latin, before, held = reading
        return self._emit(_PIECE.findall(held), latin, before)[0] if held else ""

    def ended(self, reading: Reading) -> Reading | None:
        """Return where the stream stands once a gap ends the word that is open, or None where that is open.

        What is held reads then as ``rest`` says.
        """
        latin, before, held = reading
        if not held:
            return reading
        if before == _SPREAD or _single(held) or any(map(str.isspace, held)):
            return None
        return self._emit((held,), latin, before)[1], _BETWEEN, ""

    def trace(self, text: str) -> Normalised:
        """Return a whole text, normalised, with the way back to the original.

        Written without the stream's bookkeeping, so that the two check each other.
        """
        mapped = [(part, place) for place, each in enumerate(text) for part in each.translate(self._table)]
        if self.kind == "skeleton":
            mapped = self._trace_words(mapped)
        return Normalised("".join(part for part, _ in mapped), tuple(place for _, place in mapped), len(text))

    def _trace_words(self, mapped: list[tuple[str, int]]) -> list[tuple[str, int]]:
        joined = "".join(part for part, _ in mapped)
        gaps = _gaps_within(joined)
        found, latin = [], True
        for piece in _PIECE.finditer(joined):
            start = piece.start()
            if start in gaps:
                continue
            if piece[0].isspace():
                found += mapped[start : piece.end()]
                continue
            text, latin, origins = _read_word(piece[0], latin)
            found += [(part, mapped[start + place][1]) for part, place in zip(text, origins, strict=True)]
        return found

    def _emit(self, pieces: Sequence[str], latin: bool, before: int) -> tuple[str, bool]:
        """Return what complete pieces read as, and whether the last word with letters was Latin."""
        known, parts = self._words, []
        joining, inside = before == _SPREAD, before == _INSIDE
        for place, piece in enumerate(pieces):
            if piece[0].isspace():
                joining = (
                    joining and len(piece) == 1 and place + 1 < len(pieces) and _single(pieces[place + 1])
                )
                if not joining:
                    parts.append(piece)
                inside = False
                continue
            if not inside and not joining:
                joining = _singles_from(pieces, place) >= _LEAST_SPREAD
            inside = True
            key = latin, piece
            word = known.young.get(key) or known.older(key)
            if word is None:
                word = _read_word(piece, latin)
                known.put(key, word)
            parts.append(word[0])
            latin = word[1]
        return "".join(parts), latin


def _gaps_within(text: str) -> set[int]:
    """Return where the gaps stand between letters that are written spread out."""
    singles = [found.start() for found in _LONE.finditer(text) if _single(found[0])]
    gaps: set[int] = set()
    start = 0
    for end in range(1, len(singles) + 1):
        if end == len(singles) or singles[end] != singles[end - 1] + 2:
            if end - start >= _LEAST_SPREAD:
                gaps.update(place + 1 for place in singles[start : end - 1])
            start = end
    return gaps


def _single(piece: str) -> bool:
    """Return whether a word is one letter, of a script that has small and capital ones."""
    return len(piece) == 1 and piece.lower() != piece.upper()


def _singles_from(pieces: Sequence[str], place: int) -> int:
    """Return how many words of one letter follow each other from a place, with one space between."""
    count = 0
    while place < len(pieces) and _single(pieces[place]):
        count += 1
        if place + 1 < len(pieces) and len(pieces[place + 1]) > 1:
            break
        place += 2
    return count


def _settled(pieces: Sequence[str], before: int) -> tuple[int, int]:
    """Return how many pieces no further text can change, and what they leave before the others.

    Open are the last word, and words of one letter before it that may yet be four.
    """
    count = len(pieces)
    if not count:
        return 0, before
    end = count if pieces[-1][0].isspace() else count - 1
    if end < count and not _single_at(pieces, end, before):
        if not end:
            return 0, before
        return end, _BETWEEN if pieces[end - 1][0].isspace() else _INSIDE
    first = end
    while first >= 2 and len(pieces[first - 1]) == 1 and _single_at(pieces, first - 2, before):
        first -= 2
    attached = before == _SPREAD and first == 1 and len(pieces[0]) == 1
    if attached or end - first >= 2 * _LEAST_SPREAD:
        return end - 1, _SPREAD
    return first, _BETWEEN if first else before


def _single_at(pieces: Sequence[str], place: int, before: int) -> bool:
    """Return whether the piece at a place is a word of one letter, and not the end of a longer one."""
    inside = before == _INSIDE if place == 0 else not pieces[place - 1][0].isspace()
    return not inside and _single(pieces[place])


def _read_word(word: str, latin: bool) -> _Word:
    """Return what a word, or a piece of one, reads as after a word that was Latin or not."""
    places: Sequence[int] = range(len(word))
    if word.isascii() and word.isalpha():
        text, latin = word.lower(), True
    else:
        marks = _marks(word)
        places = [place for place in places if place not in marks]
        text, latin = _read_subwords("".join(word[place] for place in places), latin)
    repeats = {place for found in _REPEAT.finditer(text) for place in range(found.start() + 1, found.end())}
    if repeats:
        places = [place for number, place in enumerate(places) if number not in repeats]
        text = "".join(letter for number, letter in enumerate(text) if number not in repeats)
    return text, latin, tuple(places)


def _marks(word: str) -> set[int]:
    """Return where signs between letters stand that are no part of the word."""
    marks = {
        place
        for found in _CHAIN.finditer(word)
        for place in range(*found.span())
        if not word[place].isalpha()
    }
    return marks | {found.start() for found in _MARKED.finditer(word) if word[found.end()].islower()}


def _read_subwords(text: str, latin: bool) -> tuple[str, bool]:
    """Return a text of the same length in small letters: looks and signs as the letters they stand for."""
    parts, end = [], 0
    for found in _SUBWORD.finditer(text):
        read, latin = _read_subword(found[0], latin)
        parts += [text[end : found.start()], read]
        end = found.end()
    parts.append(text[end:])
    whole = "".join(parts)
    if whole.isascii():
        return whole.lower(), latin
    # One by one: lowering the whole would look around for the final sigma.
    return "".join(map(str.lower, whole)).replace("\u03c2", "\u03c3"), latin


def _read_subword(word: str, latin: bool) -> tuple[str, bool]:
    letters = [letter for letter in word if letter.isalpha()]
    if not letters:
        return word, latin
    foreign = [letter for letter in letters if not letter.isascii()]
    if len(foreign) < len(letters):
        if foreign and all(letter in LOOKALIKES for letter in foreign):
            word = word.translate(_LOOKALIKE_TABLE)
    elif latin and all(letter in TWINS for letter in foreign):
        word = word.translate(_TWIN_TABLE)
    else:
        return word, False
    return (word if _MEASURE.fullmatch(word) else word.translate(_LEET_TABLE)), True
