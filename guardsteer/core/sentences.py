"""Where sentences end, told as text streams in.

A sentence ends with the white space behind ``.``, ``!``, ``?`` or ``…`` (closing quotes and brackets may
stand between), with a line break behind any text, and at once with the full stops of Chinese and
Japanese. An abbreviation such as ``Mr. `` counts as an end, ``3.5`` and ``e.g.,`` do not: no dictionary is
asked, so that every reader of a text finds the same ends.
"""

from __future__ import annotations

import re

__all__ = ["SentenceCounter"]

_STOPS = frozenset(".!?\u2026")
_WIDE_STOPS = frozenset("\u3002\uff01\uff1f")
_CLOSERS = frozenset("\"')]}\u2019\u201d\u00bb\u300d\u300f\uff09")
_OF_INTEREST = re.compile("[\\s.!?\u2026\u3002\uff01\uff1f]")


class SentenceCounter:
    """Counts the sentences of one text as it grows; ``ended`` is how many have ended."""

    __slots__ = ("_begun", "_stopped", "ended")

    def __init__(self) -> None:
        self.ended = 0
        self._begun = False
        self._stopped = False

    @property
    def begun(self) -> bool:
        """True while a sentence has begun that has not ended."""
        return self._begun

    def push(self, text: str) -> None:
        """Append ``text``; costs the same however much came before."""
        if not self._stopped and _OF_INTEREST.search(text) is None:
            self._begun = self._begun or bool(text)
            return
        for character in text:
            if character.isspace():
                if self._stopped or (self._begun and character in "\n\r\u2028\u2029"):
                    self._end()
            elif character in _STOPS:
                self._begun = self._stopped = True
            elif character in _WIDE_STOPS:
                self._end()
            elif not (self._stopped and character in _CLOSERS):
                self._begun, self._stopped = True, False

    def fork(self) -> SentenceCounter:
        """Return an independent copy."""
        copy = SentenceCounter.__new__(SentenceCounter)
        copy.ended, copy._begun, copy._stopped = self.ended, self._begun, self._stopped
        return copy

    def _end(self) -> None:
        self.ended += 1
        self._begun = self._stopped = False
