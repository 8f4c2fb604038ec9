"""The quick way through text of which no pair of words was read before: most pairs never were.

Most tokens are white space and one word. What such a text adds is its word's own feature, which recurs,
and the n-grams that end in it, of which a vocabulary knows few. So what the word comes to is kept, and the
n-grams are merely asked for. The kernel does that itself where the word is kept, without a look at the steps,
which pairs that hardly ever recur would only fill.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from guardsteer.classify.words.recent import Recent
from guardsteer.classify.words.running import Lone, Word
from guardsteer.classify.words.vectorizer import Vectorizer

if TYPE_CHECKING:
    from guardsteer.classify.words.packs import Packer, Step
    from guardsteer.classify.words.reading import Place

__all__ = ["LoneWords"]

_LONE = re.compile(r"[ \n]\w+")
_CACHED_WORDS = 8_192
_CACHED_PAIRS = 8_192
_CACHED_CHARACTERS = 32


class LoneWords:
    """Steps of texts that are white space and one word, for single words and pairs of a vocabulary.

    ``kept`` is what a kernel reads them from.
    """

    __slots__ = ("_firsts", "_known", "_least", "_packer", "_pairs", "_vectorizer", "_words", "kept")

    def __init__(self, vectorizer: Vectorizer, packer: Packer) -> None:
        pairs: Iterable[Any] = vectorizer.vocabulary or () if vectorizer.settings.ngrams[1] > 1 else ()
        self._vectorizer = vectorizer
        self._packer = packer
        self._least = vectorizer.settings.shortest_word
        self._firsts = frozenset(gram.partition(" ")[0] for gram in pairs if " " in gram)
        self._known = vectorizer.vocabulary or {}
        self._words: Recent[str, Word] = Recent(_CACHED_WORDS)
        self._pairs: Recent[str, Any] = Recent(_CACHED_PAIRS)
        self.kept = Lone(self._words.young, self._pairs.young, self._known)

    @staticmethod
    def serve(vectorizer: Vectorizer) -> bool:
        """Tell whether texts of a vectorizer can be read like this."""
        settings = vectorizer.settings
        plain = settings.analyzer == "word" and vectorizer.normaliser is None
        return plain and settings.ngrams in ((1, 1), (1, 2)) and vectorizer.vocabulary is not None

    def step(self, place: Place, text: str, before: str) -> Step | None:
        """Return what reading ``text`` from ``place`` comes to; None where it is no such text.

        ``place`` is one behind white space wherever the text begins with some. ``before``: the last item but
        one of its step. What it takes is kept for the kernel, which does the same with what is kept.
        """
        found = self._words.young.get(text) or self._words.older(text) or self._lone(text, before)
        if found is None:
            return None
        word, change, before, cut, spaced = found
        _, previous = place
        if previous:
            # Of a word too long to be kept no vocabulary knows a pair.
            pair = f"{previous[-1]}{spaced}"
            if pair in self._known:
                change = self._change(word, pair)
        return (word, previous), change, before, cut

    def _change(self, word: str, pair: str) -> Any:
        """Return what a word adds behind another; cached."""
        change = self._pairs.young.get(pair) or self._pairs.older(pair)
        if change is None:
            change = self._packer.grams((word, pair))
            self._pairs.put(pair, change)
        return change

    def _lone(self, text: str, before: str) -> Word | None:
        """Read a text by itself."""
        if len(text) > _CACHED_CHARACTERS or _LONE.fullmatch(text) is None:
            return None
        vectorizer = self._vectorizer
        word = vectorizer.strip(text.lower() if vectorizer.lowercase else text)[1:]
        spaced = f" {word}"
        # Lowering and stripping can leave what is no word, nothing at all, or several.
        if len(word) < self._least or _LONE.fullmatch(spaced) is None:
            return None
        # What begins no pair of the vocabulary is nothing to what follows it.
        cut: Place = ("", (word,) if word in self._firsts else ())
        found = Word(word, self._packer.grams((word,)), before, cut, spaced)
        self._words.put(text, found)
        return found
