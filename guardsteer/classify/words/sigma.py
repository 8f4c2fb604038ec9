"""Reading a Greek capital sigma, the one letter whose small form depends on what stands around it.

It is final (ς) after a cased character unless one follows, case-ignorable ones aside (Unicode's Final_Sigma).
While that is open it is read as final, which is right for a text that ends here, and the other reading (σ) is
carried along as a difference, taken over when a cased character follows.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from guardsteer.classify.words.characters import (
    CAPITAL_SIGMA,
    SMALL_SIGMA,
    SMALL_SIGMA_FINAL,
    case_of,
)
from guardsteer.classify.words.reading import Gram, Place

if TYPE_CHECKING:
    from guardsteer.classify.words.packs import Packer
    from guardsteer.classify.words.running import ReadSoFar
    from guardsteer.classify.words.vectorizer import Vectorizer

__all__ = ["SigmaReader"]


class SigmaReader:
    """Reads text in which the small form of a sigma is open, or comes to be; shared by rows and threads."""

    __slots__ = ("_packer", "_reader", "_vectorizer")

    def __init__(self, vectorizer: Vectorizer, packer: Packer) -> None:
        self._vectorizer = vectorizer
        self._reader = vectorizer.reader
        self._packer = packer

    def push(self, read: ReadSoFar, text: str) -> None:
        """Append ``text`` to what a row has read, whose open unit is not counted meanwhile."""
        start = 0
        for position, character in enumerate(text):
            kind = case_of(character)
            if kind == "ignorable":
                continue
            if read.other is not None:
                self._feed_both(read, text[start:position])
                self._close(read, taken=kind == "cased")
                start = position
            if character == CAPITAL_SIGMA:
                self._feed_lowered(read, text[start:position])
                start = position + 1
                if read.before and case_of(read.before) == "cased":
                    self._advance(read, read.place, SMALL_SIGMA_FINAL, SMALL_SIGMA)
                else:
                    self.feed(read, SMALL_SIGMA)
            read.before = character
        if read.other is not None:
            self._feed_both(read, text[start:])
        else:
            self._feed_lowered(read, text[start:])

    def feed(self, read: ReadSoFar, text: str) -> None:
        """Append text that is lowered already."""
        if not text:
            return
        read.place, units = self._reader.read(read.place, text)
        for unit in units:
            read.add(self._packer.unit(unit))

    def _feed_lowered(self, read: ReadSoFar, text: str) -> None:
        self.feed(read, self._vectorizer.strip(text.lower()))

    def _feed_both(self, read: ReadSoFar, text: str) -> None:
        lowered = self._vectorizer.strip(text.lower())
        if lowered and read.other is not None:
            self._advance(read, read.other, lowered, lowered)

    def _advance(self, read: ReadSoFar, other: Place, text: str, other_text: str) -> None:
        reader = self._reader
        read.place, units = reader.read(read.place, text)
        grams = [gram for unit in units for gram in reader.grams(unit)]
        change = self._packer.grams(grams)
        if change is not None:
            read.add(change)
        read.other, other_units = reader.read(other, other_text)
        other_grams = [gram for unit in other_units for gram in reader.grams(unit)]
        # A new one each time: a fork may hold the old one.
        difference = Counter[Gram](read.difference or ())
        difference.update(other_grams)
        difference.subtract(grams)
        for gram in {*grams, *other_grams}:
            if not difference[gram]:
                del difference[gram]
        read.difference = difference

    def _close(self, read: ReadSoFar, *, taken: bool) -> None:
        difference = read.difference
        if taken and difference is not None and read.other is not None:
            change = self._packer.grams(difference.elements(), list((-difference).elements()))
            if change is not None:
                read.add(change)
            read.place = read.other
        read.other = read.difference = None
