"""A state for classifiers that read all the text so far anew, where a schedule says that it is time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from guardsteer.classify.pace.schedule import Schedule

__all__ = ["RereadState", "Rereader"]


class Rereader(Protocol):
    """What scores a whole text."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the scores, in order."""

    @property
    def schedule(self) -> Schedule:
        """Where readings are due."""

    def read(self, text: str) -> Sequence[float]:
        """Return the scores, one for each output, of the text so far."""


class RereadState:
    """One row's text, and the scores of it up to the last place where a reading was due.

    0.0 each where none was due yet. ``scores`` reads, once for each such place that is still the last when
    it is called; ``push`` never does. Memory: the text.
    """

    __slots__ = ("_clock", "_due", "_length", "_parts", "_read", "_reader", "_scores")

    def __init__(self, reader: Rereader) -> None:
        self._reader = reader
        self._clock = reader.schedule.start()
        self._parts: list[str] = []
        self._length = self._due = self._read = 0
        self._scores: Sequence[float] = (0.0,) * len(reader.outputs)

    def push(self, text: str) -> None:
        """Append ``text``; reads nothing."""
        due = self._clock.push(text)
        if due:
            self._due = self._length + due
        self._parts.append(text)
        self._length += len(text)

    def scores(self) -> Sequence[float]:
        """Return the scores of the text up to the last place where a reading is due."""
        if self._due > self._read:
            whole = "".join(self._parts)
            self._parts = [whole]
            self._scores = self._reader.read(whole[: self._due])
            self._read = self._due
        return self._scores

    def fork(self) -> RereadState:
        """Return an independent copy."""
        twin = RereadState.__new__(RereadState)
        twin._reader, twin._clock = self._reader, self._clock.fork()
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        twin._parts = list(self._parts)
        twin._length, twin._due, twin._read = self._length, self._due, self._read
        twin._scores = self._scores
        return twin
