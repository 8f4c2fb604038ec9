"""What of a row's classifiers is not simply pushed and asked.

Those that may be late, be left alone, or have something stand in for them; and behind them the combinations,
which are made of what all others say.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

from guardsteer.classify.pace.guarded import GuardedState, Incident
from guardsteer.runtime.joining import Joint

__all__ = ["Befallen", "Fragile", "Slots"]

Befallen: TypeAlias = tuple[str, Incident]
"""A classifier's name and what befell it."""


class Slots(Protocol):
    """The signals that a classifier fills."""

    @property
    def name(self) -> str:
        """The classifier's name."""

    @property
    def first(self) -> int:
        """Its first signal."""

    @property
    def end(self) -> int:
        """The signal behind its last one."""


class Fragile:
    """One row's guarded states, and its combinations. What they score goes into the row's signals."""

    __slots__ = ("_states", "joint")

    def __init__(self) -> None:
        self._states: list[tuple[Slots, GuardedState, bool]] = []
        self.joint: Joint | None = None

    def begin(
        self, slots: Slots, state: GuardedState, said: str, continued: bool, signals: list[float]
    ) -> list[Befallen]:
        """Take in a state and the text that it begins with; ``continued`` where more is to come."""
        if said:
            state.push(said)
        signals[slots.first : slots.end] = state.scores()
        if continued or state.late:
            self._states.append((slots, state, continued))
        return [(slots.name, incident) for incident in state.take()]

    def read(self, text: str, signals: list[float]) -> list[Befallen]:
        """Take in the text of a step, which may be empty, and the scores that have come."""
        if text:
            # All begin to read before one is waited for.
            for _, state, continued in self._states:
                if continued:
                    state.push(text)
        told: list[Befallen] = []
        done = False
        for slots, state, continued in self._states:
            if not ((text and continued) or state.late):
                continue
            signals[slots.first : slots.end] = state.scores()
            if state.incidents:
                told += [(slots.name, incident) for incident in state.take()]
            done = done or not (continued or state.late)
        if done:
            self._states = [entry for entry in self._states if entry[2] or entry[1].late]
        if self.joint is not None:
            told += self.joint.read(text, signals)
        return told

    def read_again(self, text: str) -> Fragile:
        """Return a copy that has read ``text`` too; nothing is told of it."""
        twin = self.fork()
        for _, state, continued in twin._states:
            if continued and text:
                state.push(text)
            state.take()
        if self.joint is not None:
            twin.joint = self.joint.read_again(text)
        return twin

    def fork(self) -> Fragile:
        """Return an independent copy."""
        twin = Fragile()
        twin._states = [(slots, state.fork(), continued) for slots, state, continued in self._states]
        twin.joint = None if self.joint is None else self.joint.fork()
        return twin
