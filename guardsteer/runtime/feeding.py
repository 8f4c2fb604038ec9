"""Classifiers' states as a row feeds them: a text goes in, scores come out among the row's signals."""

from __future__ import annotations

from typing import Protocol, cast

from guardsteer.core.signals import TextState

__all__ = ["FedState", "fed"]


class FedState(TextState, Protocol):
    """A state that writes its scores where they belong."""

    def read_into(self, text: str, signals: list[float], first: int, /) -> None:
        """Append ``text`` and write the scores into ``signals``, from ``first`` on."""

    def fork(self) -> FedState:
        """Return an independent copy."""


class _Asked:
    """A state that has to be asked for its scores."""

    __slots__ = ("_state", "push", "scores")

    def __init__(self, state: TextState) -> None:
        self._state = state
        self.push, self.scores = state.push, state.scores

    def read_into(self, text: str, signals: list[float], first: int, /) -> None:
        self.push(text)
        scores = self.scores()
        signals[first : first + len(scores)] = scores

    def fork(self) -> FedState:
        return _Asked(self._state.fork())


def fed(state: TextState) -> FedState:
    """Return ``state`` itself where it has ``read_into``, as linear models' have, else around it what has."""
    return cast(FedState, state) if hasattr(state, "read_into") else _Asked(state)
