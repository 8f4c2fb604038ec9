"""Classifiers' states as a row feeds them: a text goes in, scores come out among the row's signals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, cast

from guardsteer.core.signals import TextState

__all__ = ["FedState", "fed"]

_Check: TypeAlias = Callable[[Sequence[float]], Sequence[float]]


class FedState(TextState, Protocol):
    """A state that writes its scores where they belong."""

    def read_into(self, text: str, signals: list[float], first: int, /) -> None:
        """Append ``text`` and write the scores into ``signals``, from ``first`` on."""

    def fork(self) -> FedState:
        """Return an independent copy."""


class _Asked:
    """A state that has to be asked for its scores; ``check`` returns them, or raises what is wrong."""

    __slots__ = ("_check", "_state", "push", "scores")

    def __init__(self, state: TextState, check: _Check) -> None:
        self._state, self._check = state, check
        self.push, self.scores = state.push, state.scores

    def read_into(self, text: str, signals: list[float], first: int, /) -> None:
        self.push(text)
        scores = self._check(self.scores())
        signals[first : first + len(scores)] = scores

    def fork(self) -> FedState:
        return _Asked(self._state.fork(), self._check)


def fed(state: TextState, check: _Check) -> FedState:
    """Return ``state`` itself where it has ``read_into``, as linear models' have, else around it what has.

    ``check`` is given a state's scores and returns them; what it raises, ``read_into`` raises.
    """
    return cast(FedState, state) if hasattr(state, "read_into") else _Asked(state, check)
