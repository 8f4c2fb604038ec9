"""When a classifier reads that is too slow for every token: a pure function of the text so far.

How the text is cut into pieces makes no difference to where readings are due, so a row that is read
again, forked or read in larger pieces by a slow thread is read at the same places.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal

from guardsteer.core.sentences import SentenceCounter
from guardsteer.errors import ClassifierError

__all__ = ["LONGEST_SENTENCE", "LONGEST_WORD", "Clock", "Schedule", "parse_schedule"]

LONGEST_WORD: Final = 8
"""Characters after which a word counts once more, so that text without spaces is read too."""

LONGEST_SENTENCE: Final = 64
"""Words after which a sentence is read that has not ended, so that text without full stops is read too."""

_MOST_WORDS = 100_000
# A sentence ends at white space or at a wide full stop, and nowhere else.
_PIECES = re.compile("[^\\s\u3002\uff01\uff1f]*[\\s\u3002\uff01\uff1f]?")
_EVERY = re.compile("every ([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Where in a text readings are due.

    ``prompt``: at the end of the first piece, and never again. ``sentences``: where a sentence ends, and in
    one that goes on, after each ``words``. ``every``: after each ``words``. A word ends at white space, and
    counts once more for each 8 characters. ``opening``: the first piece is a text by itself, such as a
    prompt, and is read at its end too, wherever that is.
    """

    at: Literal["prompt", "sentences", "every"]
    words: int = LONGEST_SENTENCE
    opening: bool = False

    def __str__(self) -> str:
        """Return it as policies and cards write it."""
        return f"every {self.words}" if self.at == "every" else self.at

    def begun_with(self, *, opening: bool) -> Schedule:
        """Return it for texts that begin with a whole piece, or do not."""
        return replace(self, opening=opening)

    def start(self) -> Clock:
        """Return the clock of a text of which nothing was read."""
        return Clock(self)


def parse_schedule(text: str) -> Schedule:
    """Return the schedule that ``text`` writes: ``prompt``, ``sentences`` or ``every N``.

    Raises ``ClassifierError`` for anything else.
    """
    if text == "prompt":
        return Schedule("prompt")
    if text == "sentences":
        return Schedule("sentences")
    found = _EVERY.fullmatch(text)
    if found is None or int(found[1]) > _MOST_WORDS:
        raise ClassifierError(
            f"read: got {text!r:.60}, expected prompt, sentences, or every N (words, 1 to {_MOST_WORDS})"
        )
    return Schedule("every", int(found[1]))


class Clock:
    """Follows one text by a schedule, piece by piece."""

    __slots__ = ("_characters", "_opened", "_schedule", "_sentences", "_words")

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._opened = False
        # Words since the last reading was due, and characters of the word that has not ended.
        self._words = self._characters = 0
        self._sentences = SentenceCounter() if schedule.at == "sentences" else None

    def push(self, text: str) -> int:
        """Append ``text``; return behind how many of its characters the last reading in it is due, or 0.

        Costs in proportion to ``text``, however much came before.
        """
        if not text:
            return 0
        opening, self._opened = not self._opened, True
        if self._schedule.at == "prompt":
            return len(text) if opening else 0
        due = self._follow(text)
        if opening and self._schedule.opening:
            self._words = 0
            return len(text)
        return due

    @property
    def over(self) -> bool:
        """True where no reading will ever be due again."""
        return self._opened and self._schedule.at == "prompt"

    def fork(self) -> Clock:
        """Return an independent copy."""
        twin = Clock.__new__(Clock)
        twin._schedule, twin._opened = self._schedule, self._opened
        twin._words, twin._characters = self._words, self._characters
        twin._sentences = None if self._sentences is None else self._sentences.fork()
        return twin

    def _follow(self, text: str) -> int:
        due = end = 0
        sentences = self._sentences
        for piece in _PIECES.findall(text):
            start, end = end, end + len(piece)
            due = self._count(piece, start) or due
            if sentences is not None:
                before = sentences.ended
                sentences.push(piece)
                if sentences.ended > before:
                    due, self._words = end, 0
        return due

    def _count(self, piece: str, start: int) -> int:
        """Count the words that end in ``piece``, whose last character may be white space."""
        due = 0
        gap = piece[-1:].isspace()
        length = len(piece) - gap
        first = LONGEST_WORD - self._characters
        ends = [*range(first, length + 1, LONGEST_WORD)]
        self._characters = length - ends[-1] if ends else self._characters + length
        if gap:
            if self._characters:
                ends.append(length + 1)
            self._characters = 0
        for end in ends:
            self._words += 1
            if self._words >= self._schedule.words:
                due, self._words = start + end, 0
        return due
