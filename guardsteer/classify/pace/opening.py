"""A classifier that hears the beginning of a text alone: some things are said at once or never."""

from __future__ import annotations

from collections.abc import Sequence

from guardsteer.core.digests import digest_json
from guardsteer.core.signals import TextClassifier, TextState

__all__ = ["OpeningClassifier", "OpeningState", "opening_of"]


def opening_of(text: str, words: int) -> str:
    """Return the text up to the white space behind its first ``words`` words, as a state hears it."""
    heard, _, _ = _heard(text, words, inside=False)
    return heard


class OpeningClassifier:
    """``classifier`` over the first ``words`` words of a text; a word ends at white space."""

    __slots__ = ("classifier", "digest", "words")

    def __init__(self, classifier: TextClassifier, words: int) -> None:
        self.classifier = classifier
        self.words = words
        self.digest = digest_json({"first_words": words, "classifier": classifier.digest})

    @property
    def outputs(self) -> tuple[str, ...]:
        """The classifier's own."""
        return self.classifier.outputs

    def start(self) -> OpeningState:
        """Return the state of a row that has read nothing."""
        return OpeningState(self.classifier.start(), self.words)


class OpeningState:
    """One row's reading; once the beginning is over, ``push`` does nothing and ``scores`` stay."""

    __slots__ = ("_inner", "_inside", "_left", "_scores")

    def __init__(self, inner: TextState, words: int) -> None:
        self._inner: TextState = inner
        self._left = words
        self._inside = False
        self._scores: Sequence[float] | None = None

    def push(self, text: str) -> None:
        """Append ``text``, as far as it belongs to the beginning."""
        if not self._left or not text:
            return
        heard, self._left, self._inside = _heard(text, self._left, inside=self._inside)
        self._inner.push(heard)

    def scores(self) -> Sequence[float]:
        """Return the scores of the beginning so far."""
        if self._scores is not None:
            return self._scores
        scores = self._inner.scores()
        if not self._left:
            self._scores = scores
        return scores

    def fork(self) -> OpeningState:
        """Return an independent copy."""
        twin = OpeningState(self._inner.fork(), self._left)
        twin._inside, twin._scores = self._inside, self._scores
        return twin


def _heard(text: str, left: int, *, inside: bool) -> tuple[str, int, bool]:
    """Return what of ``text`` belongs to the next ``left`` words, how many are left, and if in one."""
    for place, character in enumerate(text, 1):
        if not character.isspace():
            inside = True
        elif inside:
            inside = False
            left -= 1
            if not left:
                return text[:place], 0, False
    return text, left, inside
