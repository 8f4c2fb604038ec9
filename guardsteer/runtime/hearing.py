"""What a row has heard: its text so far, the states of its classifiers, and what they say of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from guardsteer.core.sentences import SentenceCounter
from guardsteer.runtime.beginning import befall, begin_reading
from guardsteer.runtime.text import TextReader

if TYPE_CHECKING:
    from guardsteer.runtime.feeding import FedState
    from guardsteer.runtime.fragile import Befallen, Fragile
    from guardsteer.runtime.rowkit import Reading, RowKit
    from guardsteer.runtime.steps import Step

__all__ = ["Hearing"]


class Hearing:
    """Reads a row's text token by token.

    ``signals`` holds the row's scores in the program's order, ``active`` the plain classifiers that read on,
    ``fragile`` the others; ``incidents`` is what befell them and was not told yet. One that raises is missing
    from then on.
    """

    __slots__ = ("_counting", "active", "fragile", "incidents", "reader", "sentences", "signals")

    def __init__(self, kit: RowKit) -> None:
        self._counting = kit.counting
        self.signals: list[float] = [0.0] * kit.program.n_signals
        self.reader = TextReader(kit.vocabulary)
        self.sentences = SentenceCounter()
        self.active: list[tuple[Reading, FedState]] = []
        self.fragile: Fragile | None = None
        self.incidents: list[Befallen] = []

    def begin(self, kit: RowKit, prompt: Sequence[int], user: tuple[int, int] | None) -> None:
        """Let every classifier of ``kit`` read of the prompt what is its to read."""
        begun = begin_reading(kit, self.reader, prompt, user, self.signals)
        self.active, self.fragile, self.incidents = begun.active, begun.fragile, begun.incidents

    def hear(self, token: int, step: Step) -> None:
        """Read ``token``, which begins ``step``; costs the same however much came before."""
        signals, text = self.signals, self.reader.push(token)
        if text:
            if self._counting:
                self._count(text, step)
            for reading, state in self.active:
                try:
                    state.read_into(text, signals, reading.first)
                except Exception as error:
                    self.lose(reading, error)
        if self.fragile is not None:
            self.incidents += self.fragile.read(text, signals)

    def _count(self, text: str, step: Step) -> None:
        sentences = self.sentences
        ended = sentences.ended
        sentences.push(text)
        if sentences.ended > ended:
            # A token may end a sentence and begin another, as " The" does; then it belongs to that.
            step.anchor = step.written - sentences.begun

    def lose(self, reading: Reading, error: Exception) -> None:
        """Count a classifier that raised as missing from here on."""
        self.active = [entry for entry in self.active if entry[0] is not reading]
        self.incidents.append(befall(reading, error, self.signals))

    def told(self) -> tuple[Befallen, ...]:
        """Return what befell classifiers, and forget it."""
        incidents = tuple(self.incidents)
        self.incidents = []
        return incidents

    def fork(self) -> Hearing:
        """Return an independent copy, of which nothing is left to tell."""
        copy = self._copy()
        copy.active = [(reading, state.fork()) for reading, state in self.active]
        copy.fragile = None if self.fragile is None else self.fragile.fork()
        copy.sentences = self.sentences.fork()
        return copy

    def read_again(self, tokens: Sequence[int]) -> Hearing:
        """Return a copy that has read ``tokens`` too, and counted the sentences that ended in these alone."""
        copy = self._copy()
        copy.sentences = SentenceCounter()
        pieces = [copy.reader.push(token) for token in tokens]
        for piece in pieces:
            copy.sentences.push(piece)
        text = "".join(pieces)
        copy.active = []
        for reading, asked in self.active:
            try:
                state = asked.fork()
                if text:
                    state.push(text)
            except Exception:
                # It raised at this text before, which was told then.
                continue
            copy.active.append((reading, state))
        copy.fragile = None if self.fragile is None else self.fragile.read_again(text)
        return copy

    def _copy(self) -> Hearing:
        copy = Hearing.__new__(Hearing)
        copy._counting = self._counting
        copy.signals = list(self.signals)
        copy.reader = self.reader.fork()
        copy.incidents = []
        return copy
