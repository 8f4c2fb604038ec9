"""The quick way through text of which no pair of words was read before: most pairs never were.

Most tokens are white space and one word. What such a text adds is its word's own feature, which recurs,
and the n-grams that end in it, of which a vocabulary knows few. So what the word comes to is kept, and the
n-grams are merely asked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from guardsteer.classify.words.recent import Recent
from guardsteer.classify.words.vectorizer import Vectorizer

if TYPE_CHECKING:
    from guardsteer.classify.words.packs import Packer, Step
    from guardsteer.classify.words.reading import Place

__all__ = ["LoneWords"]

_LONE = re.compile(r"[ \n]\w+")
_CACHED_WORDS = 8_192
_CACHED_CHARACTERS = 32


class _Word(NamedTuple):
    """A word, what it adds by itself, the last item of its step, and the place behind white space then."""

    word: str
    change: Any
    before: str
    cut: Place


class LoneWords:
    """Steps of texts that are white space and one word, for single words and pairs of a vocabulary."""

    __slots__ = ("_known", "_least", "_longest", "_packer", "_vectorizer", "_words")

    def __init__(self, vectorizer: Vectorizer, packer: Packer) -> None:
        settings = vectorizer.settings
        self._vectorizer = vectorizer
        self._packer = packer
        self._least = settings.shortest_word
        self._longest = settings.ngrams[1]
        self._known = vectorizer.vocabulary
        self._words: Recent[str, _Word] = Recent(_CACHED_WORDS)

    @staticmethod
    def serve(vectorizer: Vectorizer) -> bool:
        """Tell whether texts of a vectorizer can be read like this."""
        settings = vectorizer.settings
        plain = settings.analyzer == "word" and vectorizer.normaliser is None
        return plain and settings.ngrams in ((1, 1), (1, 2)) and vectorizer.vocabulary is not None

    def step(self, place: Place, text: str, before: str) -> Step | None:
        """Return what reading ``text`` from ``place`` comes to; None where it is no such text.

        ``place`` is one behind white space wherever the text begins with some. ``before``: the last item of
        its step.
        """
        _, previous = place
        found = self._words.young.get(text) or self._words.older(text) or self._lone(text, before)
        if found is None:
            return None
        word, change, before, cut = found
        for former in previous:
            # Of a word too long to be kept no vocabulary knows a pair.
            pair = f"{former} {word}"
            if self._known is not None and pair in self._known:
                change = self._packer.grams((word, pair))
        return (word, previous), change, before, cut

    def _lone(self, text: str, before: str) -> _Word | None:
        """Read a text by itself."""
        if len(text) > _CACHED_CHARACTERS or _LONE.fullmatch(text) is None:
            return None
        vectorizer = self._vectorizer
        word = vectorizer.strip(text.lower() if vectorizer.lowercase else text)[1:]
        # Lowering and stripping can leave what is no word, nothing at all, or several.
        if len(word) < self._least or _LONE.fullmatch(f" {word}") is None:
            return None
        cut: Place = ("", (word,) if self._longest > 1 else ())
        found = _Word(word, self._packer.grams((word,)), before, cut)
        self._words.put(text, found)
        return found
