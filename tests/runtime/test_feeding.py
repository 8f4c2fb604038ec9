"""A row's signals are filled alike by states that write their scores and by states that are asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from guardsteer.errors import ClassifierError
from guardsteer.runtime.feeding import fed


class Lengths:
    """Scores how many characters were read, and how many times something was."""

    def __init__(self, characters: float = 0.0, times: float = 0.0) -> None:
        self.characters, self.times = characters, times

    def push(self, text: str) -> None:
        """Count a text."""
        self.characters += len(text)
        self.times += 1

    def scores(self) -> Sequence[float]:
        """Return both counts."""
        return self.characters, self.times

    def fork(self) -> Lengths:
        """Return an independent copy."""
        return Lengths(self.characters, self.times)


class Writing(Lengths):
    """Writes its scores itself."""

    def read_into(self, text: str, signals: list[float], first: int, /) -> None:
        """Count a text and write both counts."""
        self.push(text)
        signals[first : first + 2] = self.scores()


class Growing(Lengths):
    """Gives a score more with each text."""

    def scores(self) -> Sequence[float]:
        """Return as many scores as there were texts, and one more."""
        return (self.characters,) * int(1 + self.times)


def two(scores: Sequence[float]) -> Sequence[float]:
    """Refuse what is not two scores."""
    if len(scores) != 2:
        raise ClassifierError(f"gave {len(scores)} scores, expected 2")
    return scores


def test_scores_that_are_too_many_reach_no_signal_of_others() -> None:
    state, signals = fed(Growing(), two), [9.0] * 4
    state.read_into("abc", signals, 1)
    with pytest.raises(ClassifierError, match="gave 3 scores"):
        state.read_into("d", signals, 1)
    assert signals == [9.0, 3.0, 3.0, 9.0]


def test_scores_are_written_where_they_belong_and_nowhere_else() -> None:
    for made in (Lengths(), Writing()):
        state, signals = fed(made, two), [9.0] * 4
        state.read_into("abc", signals, 1)
        state.read_into("d", signals, 1)
        assert signals == [9.0, 4.0, 2.0, 9.0]


def test_a_fork_reads_on_by_itself() -> None:
    for made in (Lengths(), Writing()):
        state, signals = fed(made, two), [0.0] * 2
        state.read_into("abc", signals, 0)
        fork = fed(state.fork(), two)
        fork.read_into("d", signals, 0)
        assert signals == [4.0, 2.0]
        state.push("ef")
        assert state.scores() == (5.0, 2.0)
        assert fork.scores() == (4.0, 2.0)


def test_a_state_that_writes_its_scores_is_used_as_it_is() -> None:
    made: Any = Writing()
    assert fed(made, two) is made
