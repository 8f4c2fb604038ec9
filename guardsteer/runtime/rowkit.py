"""What all rows under one policy share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guardsteer.core.plan import Plan
from guardsteer.core.policy import ReviseSpec, Scope
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import ClassifierError
from guardsteer.runtime.joining import NOTHING_JOINED, Joining
from guardsteer.runtime.resting import Resting
from guardsteer.runtime.terms import Terms
from guardsteer.runtime.text import Vocabulary

__all__ = ["Reading", "RowKit"]


@dataclass(frozen=True, slots=True)
class Reading:
    """A text classifier of the policy and the slice of the signals that it fills."""

    name: str
    scope: Scope
    classifier: TextClassifier
    first: int
    end: int

    def checked(self, scores: Sequence[float]) -> Sequence[float]:
        """Return ``scores``; raises ``ClassifierError`` where they are not as many as the slice is long."""
        if len(scores) != self.end - self.first:
            raise ClassifierError(f"gave {len(scores)} scores, expected {self.end - self.first}")
        return scores


@dataclass(frozen=True, slots=True)
class RowKit:
    """What all rows of a guard share; ``explain``: somebody wants to know of every comparison.

    ``revising`` holds, by number, the rules that may take text back; ``counting``: sentences are counted.
    ``joining``: what is made of other classifiers' scores, none of it in ``readings``.
    """

    program: Any
    readings: tuple[Reading, ...]
    vocabulary: Vocabulary
    idle: Plan
    explain: bool = False
    counting: bool = True
    revising: Mapping[int, ReviseSpec] = field(default_factory=dict)
    joining: Joining = NOTHING_JOINED

    def start(self, context: dict[str, Any], terms: Terms) -> Any:
        """Return the rules of a row: of the request's keys, those that the policy knows."""
        if terms.mode == "off":
            return Resting(self.idle)
        known = {key: value for key, value in context.items() if key in self.program.context}
        return self.program.start(known, terms.strengths, terms.mode, explain=self.explain)
