"""What a row must keep so that text can be taken back from it, and how far back that may ever go.

Rules, signals and the like are kept for every step that is within reach. Text classifiers are not: going
back is rare, so they read again what stays, from the prompt on. Tokens are counted from 1; 0 is the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guardsteer.core.policy import ReviseSpec
from guardsteer.core.sentences import SentenceCounter
from guardsteer.core.signals import TextState
from guardsteer.runtime.fragile import Fragile
from guardsteer.runtime.rowkit import Reading
from guardsteer.runtime.steps import Step
from guardsteer.runtime.text import TextReader

__all__ = ["Light", "Past", "Reach", "Taken"]

_Active = list[tuple[Reading, TextState]]


@dataclass(frozen=True, slots=True)
class Taken:
    """Text that ``rule`` took back at ``step``: ``kept`` tokens of the generation stay, ``dropped`` went.

    ``revision`` counts what the rule took back of this row, from 1.
    """

    rule: int
    step: int
    kept: int
    dropped: int
    revision: int


@dataclass(frozen=True, slots=True)
class Light:
    """A row as a step left it, without its text classifiers; ``step`` is None before the prompt's."""

    step: Step | None
    engine: Any
    reader: TextReader
    sentences: SentenceCounter
    signals: tuple[float, ...]
    lost: frozenset[str]


class Reach:
    """How much the rules may still take back of a row."""

    __slots__ = ("_counts", "rules", "sentences", "tokens")

    def __init__(self, rules: Mapping[int, ReviseSpec], counts: Mapping[int, int]) -> None:
        self.rules = rules
        self._counts = counts
        left = [(spec, spec.most - counts.get(rule, 0)) for rule, spec in rules.items()]
        # Tokens that go by number in all revisions that are left, and revisions that go by sentence.
        self.tokens = sum(most * spec.tokens for spec, most in left if spec.tokens is not None)
        self.sentences = sum(most for spec, most in left if spec.tokens is None)

    @classmethod
    def of(cls, rules: Mapping[int, ReviseSpec]) -> Reach:
        """Return the reach of rules, by number, that took nothing back yet."""
        return cls(rules, {})

    def count(self, rule: int) -> int:
        """Return how often ``rule`` took text back."""
        return self._counts.get(rule, 0)

    def counted(self, rule: int) -> Reach:
        """Return the reach after one more revision by ``rule``."""
        return Reach(self.rules, {**self._counts, rule: self.count(rule) + 1})

    @property
    def spent(self) -> bool:
        """True where no revision is left."""
        return not self.tokens and not self.sentences


class Past:
    """The past of one row, as far as it can be needed again.

    ``active`` and ``fragile`` are the text classifiers that have read the prompt and nothing else.
    """

    __slots__ = ("_active", "_anchors", "_fragile", "_kept", "_pieces", "at", "reach")

    def __init__(self, reach: Reach, first: Light, active: _Active, fragile: Fragile | None) -> None:
        self.reach = reach
        self._active, self._fragile = active, fragile
        # The last token whose step was kept.
        self.at = -1
        self._kept: dict[int, Light] = {-1: first}
        # Where sentences ended: how many tokens stay when all behind the end goes, and in which it came.
        self._anchors: list[tuple[int, int]] = [(0, -1)]
        self._pieces: list[str] = []

    def fork(self) -> Past:
        """Return an independent copy."""
        copy = Past(self.reach, self._kept[min(self._kept)], *self.read_again(""))
        copy.at, copy._kept = self.at, dict(self._kept)
        copy._anchors, copy._pieces = list(self._anchors), list(self._pieces)
        return copy

    def read(self, piece: str) -> None:
        """Note the text of the next token."""
        self._pieces.append(piece)

    def keep(self, token: int, light: Light) -> None:
        """Keep the row as the step of ``token`` left it; forget what is out of reach by now."""
        self.at = token
        self._kept[token] = light
        before = self._kept.get(token - 1)
        ended = token > 0 and before is not None and light.sentences.ended > before.sentences.ended
        if ended and self._anchors[-1][1] < token:
            # A token may end a sentence and begin another, as " The" does; then it goes with the other.
            self._anchors.append((token - 1 if light.sentences.begun else token, token))
        lowest = self.floor - 1
        for old in [old for old in self._kept if old < lowest]:
            del self._kept[old]

    @property
    def floor(self) -> int:
        """How many tokens no rule can take back any more, once the step of token ``at`` took nothing back."""
        tokens, sentences = self.reach.tokens, self.reach.sentences
        if tokens and sentences:
            return 0
        if sentences:
            return self._anchors[-min(sentences, len(self._anchors))][0]
        return max(0, self.at + 1 - tokens)

    def target(self, rule: int, written: int) -> int:
        """Return how many of ``written`` tokens stay when ``rule`` takes text back.

        The newest token always goes, and with it the sentence that it ended.
        """
        spec = self.reach.rules[rule]
        if spec.tokens is not None:
            return max(0, written - spec.tokens)
        return next(kept for kept, end in reversed(self._anchors) if end < written)

    def back(self, kept: int) -> Light:
        """Forget all but ``kept`` tokens and return the row as it was before it read the last of them."""
        light = self._kept[kept - 1]
        for token in [token for token in self._kept if token >= kept]:
            del self._kept[token]
        while self._anchors[-1][1] >= max(kept, 1):
            self._anchors.pop()
        del self._pieces[max(kept - 1, 0) :]
        self.at = kept - 1
        return light

    def read_again(self, text: str | None = None) -> tuple[_Active, Fragile | None]:
        """Return text classifiers that have read the prompt and ``text`` (None: the generation so far)."""
        text = "".join(self._pieces) if text is None else text
        active: _Active = []
        for reading, asked in self._active:
            try:
                state = asked.fork()
                if text:
                    state.push(text)
            except Exception:
                # It raised at this text before, which was told then.
                continue
            active.append((reading, state))
        return active, None if self._fragile is None else self._fragile.read_again(text)
