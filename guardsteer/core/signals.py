"""What turns text into signals, as the runtime sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["TextClassifier", "TextState"]


class TextState(Protocol):
    """One row's reading of one text, fed piece by piece."""

    def push(self, text: str) -> None:
        """Append ``text``; costs the same however much came before."""

    def scores(self) -> Sequence[float]:
        """Return the scores, one for each output, of all the text pushed so far."""

    def fork(self) -> TextState:
        """Return an independent copy."""


class TextClassifier(Protocol):
    """A classifier that reads text; shared by all rows, holds no row's state."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the scores, in order."""

    @property
    def digest(self) -> str:
        """Digest of everything that decides the scores."""

    def start(self) -> TextState:
        """Return the state of a row that has read nothing."""
