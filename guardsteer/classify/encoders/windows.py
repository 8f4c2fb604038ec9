"""A text of any length in windows of at most so many tokens, each overlapping the next by half.

Windows follow the text from its beginning: where one ends and the next begins is decided by the text up to
there and a word behind it, so that a text which grows moves none of them, and only its end is read anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from guardsteer.classify.encoders.encoder import Tokens

__all__ = ["LONGEST_WORD", "Cutter", "Window", "WordBreaker"]

LONGEST_WORD = 96
"""Characters after which a word is broken by a space: encoders that know words see nothing of longer ones."""


class Tokenizes(Protocol):
    """What cuts text into tokens."""

    def tokens(self, text: str) -> Tokens:
        """Return token ids, and where each lies in ``text``."""


@dataclass(frozen=True, slots=True)
class Window:
    """Token ids, the characters of the text that they were made of, and whether no more text changes them."""

    ids: tuple[int, ...]
    first: int
    end: int
    settled: bool


class WordBreaker:
    """Puts a space behind every 96th character of a word, however the text is cut into pieces."""

    __slots__ = ("_length",)

    def __init__(self, length: int = 0) -> None:
        self._length = length

    def push(self, text: str) -> str:
        """Return ``text`` with its spaces."""
        if self._length + len(text) <= LONGEST_WORD:
            # The usual piece: a word or a sentence.
            self._length = self._after(text)
            return text
        parts: list[str] = []
        for piece in _runs(text):
            if piece.isspace():
                self._length = 0
                parts.append(piece)
                continue
            while self._length + len(piece) > LONGEST_WORD:
                room = LONGEST_WORD - self._length
                parts += [piece[:room], " "]
                piece, self._length = piece[room:], 0
            parts.append(piece)
            self._length += len(piece)
        return "".join(parts)

    def fork(self) -> WordBreaker:
        """Return an independent copy."""
        return WordBreaker(self._length)

    def _after(self, text: str) -> int:
        for place in range(len(text) - 1, -1, -1):
            if text[place].isspace():
                return len(text) - 1 - place
        return self._length + len(text)


class Cutter:
    """Cuts what stands behind a place into windows of at most ``content`` tokens.

    ``stride`` is half of that: the next window begins at most so many tokens later, in front of a word where
    there is one, so that each token has a quarter of a window on both sides in some window, unless the text
    begins or ends there.
    """

    __slots__ = ("_characters", "content", "stride", "tokenizer")

    def __init__(self, tokenizer: Tokenizes, content: int) -> None:
        self.tokenizer = tokenizer
        self.content = content
        self.stride = max(1, content // 2)
        # Enough text for a window, mostly: a few characters a token.
        self._characters = 8 * content + 2 * LONGEST_WORD

    def next(self, text: str) -> tuple[list[Window], int]:
        """Return the first windows of ``text``, and where the one after them begins, or -1 for nowhere.

        One settled window and a place behind its beginning where more text follows than it holds; else
        those that hold all of the text, none of them settled, and -1.
        """
        limit = self._characters
        while True:
            whole = limit >= len(text)
            piece = text if whole else text[:limit]
            ids, spans = self.tokenizer.tokens(piece)
            if len(ids) > self.content:
                end = spans[self.content - 1][1]
                if any(map(str.isspace, piece[end:])) or len(ids) >= 2 * self.content:
                    window = Window(tuple(ids[: self.content]), 0, end, True)
                    return [window], self._begin(piece, spans)
            if whole:
                return self._last(ids, spans, len(text)), -1
            limit *= 2

    def _last(self, ids: list[int], spans: list[tuple[int, int]], length: int) -> list[Window]:
        content = self.content
        if len(ids) <= content:
            return [Window(tuple(ids), 0, length, False)] if ids else []
        # The word at the window's end has not ended, so all is read in overlapping windows until it has.
        starts = sorted({*range(0, len(ids) - content, self.stride), len(ids) - content})
        return [
            Window(
                tuple(ids[start : start + content]),
                spans[start][0] if start else 0,
                length if start + content == len(ids) else spans[start + content - 1][1],
                False,
            )
            for start in starts
        ]

    def _begin(self, piece: str, spans: list[tuple[int, int]]) -> int:
        """Return where the next window begins: in front of the white space before a word."""
        for token in range(self.stride, self.stride // 2, -1):
            start = spans[token][0]
            if start > 1 and piece[start - 1].isspace():
                return start - 1
            if start and piece[start].isspace():
                return start
        # Inside a word of very many tokens; several of one character have the same place.
        return next((start for start, _ in spans[self.stride :] if start), spans[-1][1])


def _runs(text: str) -> list[str]:
    """Return ``text`` in runs of white space and runs of anything else."""
    runs: list[str] = []
    start = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or text[place].isspace() != text[start].isspace():
            runs.append(text[start:place])
            start = place
    return runs
