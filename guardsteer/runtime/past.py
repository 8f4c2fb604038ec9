"""What a row must keep so that text can be taken back from it, and how far back that may ever go.

Rules and signals are kept for every step that is within reach. What reads text is not: going back is rare,
so it reads again what stays, from the prompt's end on. Tokens are counted from 1; 0 is the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardsteer.core.policy import ReviseSpec
from guardsteer.runtime.hearing import Hearing
from guardsteer.runtime.steps import Step

__all__ = ["Light", "Past", "Reach", "Taken"]


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
    """What of a row a step left and text does not tell; ``step`` is None before the prompt's."""

    step: Step | None
    engine: Any
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
    """The past of one row, as far as it can be needed again; ``heard`` has read the prompt alone."""

    __slots__ = ("_anchors", "_heard", "_kept", "at", "reach")

    def __init__(self, reach: Reach, first: Light, heard: Hearing) -> None:
        self.reach = reach
        self._heard = heard
        # The last token whose step was kept.
        self.at = -1
        # Oldest first.
        self._kept: dict[int, Light] = {-1: first}
        # How many tokens stay when all behind the end of a sentence goes, for each that ended.
        self._anchors: list[int] = [0]

    def fork(self) -> Past:
        """Return an independent copy."""
        copy = Past(self.reach, next(iter(self._kept.values())), self.read_again(()))
        copy.at, copy._kept, copy._anchors = self.at, dict(self._kept), list(self._anchors)
        return copy

    def keep(self, step: Step, engine: Any, signals: Sequence[float], lost: frozenset[str]) -> None:
        """Keep the row as ``step`` left it; forget what is out of reach by now."""
        kept = self._kept
        self.at = step.written
        kept[step.written] = Light(step, engine.fork(), tuple(signals), lost)
        if step.anchor > self._anchors[-1]:
            self._anchors.append(step.anchor)
        lowest = self.floor - 1
        while (oldest := next(iter(kept))) < lowest:
            del kept[oldest]

    @property
    def floor(self) -> int:
        """How many tokens no rule can take back any more, once the step of token ``at`` took nothing back."""
        tokens, sentences = self.reach.tokens, self.reach.sentences
        if tokens and sentences:
            return 0
        if sentences:
            return self._anchors[-min(sentences, len(self._anchors))]
        return max(0, self.at + 1 - tokens)

    def target(self, rule: int, step: Step) -> int:
        """Return how many tokens stay when ``rule`` takes text back at ``step``.

        The newest token always goes, and with it the sentence that it ended.
        """
        spec = self.reach.rules[rule]
        if spec.tokens is not None:
            return max(0, step.written - spec.tokens)
        return step.parent.anchor if step.parent is not None else 0

    def back(self, kept: int) -> Light:
        """Forget all but ``kept`` tokens and return the row as it was before it read the last of them."""
        light = self._kept[kept - 1]
        for token in [token for token in self._kept if token >= kept]:
            del self._kept[token]
        anchor = 0 if light.step is None else light.step.anchor
        while self._anchors[-1] > anchor:
            self._anchors.pop()
        self.at = kept - 1
        return light

    def read_again(self, tokens: Sequence[int]) -> Hearing:
        """Return what has read the prompt and ``tokens``, with the sentences that ended in these."""
        return self._heard.read_again(tokens)
