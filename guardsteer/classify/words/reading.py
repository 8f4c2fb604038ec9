"""How a stream of text becomes n-grams, for each of scikit-learn's analyzers.

A reader is pure: ``read(place, text)`` returns the place after ``text`` and the *units* that it
finished, ``open_unit(place)`` the unit that would be finished if the text ended here, and
``grams(unit)`` the unit's n-grams. The n-grams of a text are those of all its finished units and of
the open one. A unit is small and recurs (a word, say), so what it adds to a score can be cached.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from guardsteer.classify.words.murmur import NOTHING, Midstate, feed

__all__ = ["GAPS", "Analyzer", "Gram", "Place", "Reader", "Unit", "growth", "make_reader"]

Analyzer: TypeAlias = Literal["word", "char", "char_wb"]

Place: TypeAlias = tuple[Any, ...]
Unit: TypeAlias = str | tuple[Any, ...]
Gram: TypeAlias = str | Midstate
"""An n-gram, or the state of its hash where it is too long to be kept."""

# A word that no n-gram fits into counts as a whole, so n-grams must be shorter than words read by pieces.
_LONG_WORD = 24
_LONG_TOKEN = 64

GAPS = frozenset(" \n")
"""White space whatever is done to case and accents."""

_WHITE = re.compile(r"\s")
_WHITE_RUN = re.compile(r"\s\s+")
_WORD_START = re.compile(r"\w*")
_words = re.compile(r"\w+").findall


class Reader(Protocol):
    """What an analyzer does to a stream."""

    @property
    def start(self) -> Place:
        """The place before any text."""

    def read(self, place: Place, text: str) -> tuple[Place, list[Unit]]:
        """Return the place after ``text``, which is not empty, and the units that it finished."""

    def open_unit(self, place: Place) -> Unit | None:
        """Return the unit that would be finished if the text ended here."""

    @property
    def cuts_to(self) -> Place | None:
        """What ``cut`` returns where that is the same for every place."""

    def cut(self, place: Place) -> Place | None:
        """Return the place from which text that begins with one of ``GAPS`` reads on.

        It finishes the open unit first, which the place has left behind. None: it goes on inside.
        """

    def grams(self, unit: Unit) -> list[Gram]:
        """Return the n-grams of a unit, repeated as often as they occur."""


def make_reader(
    analyzer: Analyzer, shortest: int, longest: int, longest_term: int = 0, shortest_word: int = 2
) -> Reader:
    """Return the reader of an analyzer with n-grams of ``shortest`` to ``longest`` words or characters.

    ``longest_term``: characters in the longest n-gram of the vocabulary, 0 where there is none.
    ``shortest_word``: letters that a word must have to be one.
    """
    if analyzer == "char_wb":
        return _WordEdgeReader(shortest, longest)
    if analyzer == "char":
        return _CharacterReader(shortest, longest)
    return _WordReader(shortest, longest, max(_LONG_TOKEN, longest_term), shortest_word)


def _last(text: str, count: int) -> str:
    return text[-count:] if count else ""


def _windows(unit: tuple[str, str], shortest: int, longest: int) -> list[Gram]:
    """Return the n-grams that end inside the unit's second part."""
    before, new = unit
    text, known = before + new, len(before)
    return [
        text[end - size : end]
        for size in range(shortest, longest + 1)
        for end in range(max(known + 1, size), len(text) + 1)
    ]


def growth(before: Unit, after: Unit, ngrams: tuple[int, int]) -> tuple[list[Gram], list[Gram]] | None:
    """Return the n-grams more and less where a whole word of ``char_wb`` grows; None for other units.

    They are those at its end, most of a word's n-grams aside.
    """
    if not (isinstance(before, str) and isinstance(after, str) and after.startswith(before)):
        return None
    if len(before) + 2 < ngrams[0]:
        return None
    inside = f" {before}"
    return _windows((inside, f"{after[len(before) :]} "), *ngrams), _windows((inside, " "), *ngrams)


class _WordEdgeReader:
    """``char_wb``: n-grams of characters inside words, each word padded with a space on both sides.

    Place: the unfinished word and None; or, inside a word so long that it is read piece by piece,
    an empty string and the characters that n-grams to come may still begin with. Unit: a whole
    word, or a pair (characters read before, new characters).
    """

    __slots__ = ("_longest", "_shortest", "start")

    def __init__(self, shortest: int, longest: int) -> None:
        self._shortest, self._longest = shortest, longest
        self.start: Place = ("", None)

    def read(self, place: Place, text: str) -> tuple[Place, list[Unit]]:
        tail, window = place
        if window is not None:
            return self._read_long(window, text)
        words: list[Unit] = (tail + text).split()
        if not words or text[-1].isspace():
            return self.start, words
        tail = words.pop()
        if len(tail) > _LONG_WORD:
            words.append(("", f" {tail}"))
            return ("", _last(f" {tail}", self._longest - 1)), words
        return (tail, None), words

    def _read_long(self, window: str, text: str) -> tuple[Place, list[Unit]]:
        white = _WHITE.search(text)
        new = text if white is None else text[: white.start()]
        units: list[Unit] = []
        if new:
            units.append((window, new))
            window = _last(window + new, self._longest - 1)
        if white is None:
            return ("", window), units
        place, words = self.read(self.start, text[white.start() :])
        return place, [*units, (window, " "), *words]

    @property
    def cuts_to(self) -> Place | None:
        return self.start

    def cut(self, _place: Place) -> Place | None:
        return self.start

    def open_unit(self, place: Place) -> Unit | None:
        tail, window = place
        return tail or (None if window is None else (window, " "))

    def grams(self, unit: Unit) -> list[Gram]:
        if isinstance(unit, tuple):
            return _windows((unit[0], unit[1]), self._shortest, self._longest)
        padded = f" {unit} "
        grams: list[Gram] = []
        for size in range(self._shortest, self._longest + 1):
            if size >= len(padded):
                grams.append(padded)
                break
            grams += [padded[start : start + size] for start in range(len(padded) - size + 1)]
        return grams


class _CharacterReader:
    """``char``: n-grams of characters over the text, each run of whitespace as one space.

    Place: the characters that n-grams to come may still begin with, and the run of whitespace at the
    text's end (its first two characters say all). Unit: a pair (characters read before, new ones).
    """

    __slots__ = ("_longest", "_shortest", "start")

    def __init__(self, shortest: int, longest: int) -> None:
        self._shortest, self._longest = shortest, longest
        self.start: Place = ("", "")

    def read(self, place: Place, text: str) -> tuple[Place, list[Unit]]:
        window, space = place
        text = space + text
        body = text.rstrip()
        space = text[len(body) : len(body) + 2]
        if not body:
            return (window, space), []
        body = _WHITE_RUN.sub(" ", body)
        return (_last(window + body, self._longest - 1), space), [(window, body)]

    cuts_to = None

    def cut(self, _place: Place) -> Place | None:
        return None

    def open_unit(self, place: Place) -> Unit | None:
        window, space = place
        return (window, space if len(space) == 1 else " ") if space else None

    def grams(self, unit: Unit) -> list[Gram]:
        return _windows((unit[0], unit[1]), self._shortest, self._longest)


class _LongToken(NamedTuple):
    """A word too long to be kept: the states of the hashes of the last 1, 2, ... words up to it."""

    states: tuple[Midstate, ...]


_Tokens: TypeAlias = tuple[Any, ...]


class _WordReader:
    """``word``: n-grams of words of ``least`` or more letters, digits or underscores.

    Place: the unfinished word and the words before it that n-grams to come may begin with. Unit: a
    word after those before it.
    """

    __slots__ = ("_least", "_long", "_longest", "_shortest", "start")

    def __init__(self, shortest: int, longest: int, long: int, least: int) -> None:
        self._shortest, self._longest, self._long, self._least = shortest, longest, long, least
        self.start: Place = ("", ())

    def read(self, place: Place, text: str) -> tuple[Place, list[Unit]]:
        tail, previous = place
        units: list[Unit] = []
        if isinstance(tail, _LongToken):
            match = _WORD_START.match(text)
            new = match.group() if match else ""
            data = new.encode("utf-8", "surrogatepass")
            tail = _LongToken(tuple(feed(state, data) for state in tail.states))
            if len(new) == len(text):
                return (tail, previous), units
            previous = self._finish(units, previous, tail)
            text, tail = text[len(new) :], ""
        text = tail + text
        words = _words(text)
        tail = words.pop() if text and (text[-1].isalnum() or text[-1] == "_") else ""
        for word in words:
            if len(word) >= self._least:
                token = word if len(word) <= self._long else self._long_token(previous, word)
                previous = self._finish(units, previous, token)
        if len(tail) > self._long:
            tail = self._long_token(previous, tail)
        return (tail, previous), units

    cuts_to = None

    def cut(self, place: Place) -> Place | None:
        tail, previous = place
        if len(tail) >= self._least or isinstance(tail, _LongToken):
            previous = (*previous, tail)[-(self._longest - 1) :] if self._longest > 1 else ()
        return "", previous

    def open_unit(self, place: Place) -> Unit | None:
        tail, previous = place
        if isinstance(tail, _LongToken) or len(tail) >= self._least:
            return (*previous, tail)
        return None

    def grams(self, unit: Unit) -> list[Gram]:
        sizes = range(self._shortest, min(self._longest, len(unit)) + 1)
        # N-grams of the words after the last long one can be kept as they are.
        kept = 0
        for token in reversed(unit):
            if isinstance(token, _LongToken):
                break
            kept += 1
        else:
            return [" ".join(unit[-size:]) for size in sizes]
        states = self._states(tuple(unit))
        return [" ".join(unit[-size:]) if size <= kept else states[size - 1] for size in sizes]

    def _finish(
        self, units: list[Unit], previous: tuple[Any, ...], token: str | _LongToken
    ) -> tuple[Any, ...]:
        unit = (*previous, token)
        units.append(unit)
        return unit[-(self._longest - 1) :] if self._longest > 1 else ()

    def _long_token(self, previous: _Tokens, word: str) -> _LongToken:
        return _LongToken(self._states((*previous, word)))

    def _states(self, tokens: _Tokens) -> tuple[Midstate, ...]:
        """Return the states of the hashes of the last 1, 2, ... of the tokens."""
        states: tuple[Midstate, ...] = ()
        for token in tokens:
            if isinstance(token, _LongToken):
                states = token.states
                continue
            data = token.encode("utf-8", "surrogatepass")
            states = (feed(NOTHING, data), *(feed(state, b" " + data) for state in states))
        return states[: self._longest]
