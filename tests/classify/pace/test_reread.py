"""Text that is read anew by a schedule."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from guardsteer.classify.pace.reread import RereadState
from guardsteer.classify.pace.schedule import Schedule

_TEXTS = st.lists(st.sampled_from(["a ", "go", ". ", "no. ", " ", "!", "\n"]), max_size=12)


class _Lengths:
    """Scores a text by its length, and remembers what it was given."""

    def __init__(self, schedule: Schedule) -> None:
        self.outputs = ("length",)
        self.schedule = schedule
        self.seen: list[str] = []

    def read(self, text: str) -> Sequence[float]:
        self.seen.append(text)
        return (len(text) / 1000,)


def _state(at: Schedule) -> tuple[_Lengths, RereadState]:
    reader = _Lengths(at)
    return reader, RereadState(reader)


def test_nothing_is_scored_before_a_reading_is_due() -> None:
    """Until then every score is 0."""
    reader, state = _state(Schedule("sentences"))
    state.push("not yet.")
    assert list(state.scores()) == [0.0]
    assert not reader.seen


def test_the_text_up_to_the_due_place_is_read_once() -> None:
    """What stands behind the end of a sentence waits for the next end, and nothing is read twice."""
    reader, state = _state(Schedule("sentences"))
    for piece in ("One. Two", " more", ". "):
        state.push(piece)
        state.scores()
        state.scores()
    assert reader.seen == ["One. ", "One. Two more. "]


def test_places_that_nobody_asked_at_are_left_out() -> None:
    """Pushed without asking, only the last due place is read."""
    reader, state = _state(Schedule("every", 1))
    for piece in ("a ", "b ", "c"):
        state.push(piece)
    assert list(state.scores()) == [0.004]
    assert reader.seen == ["a b "]


@given(_TEXTS, st.sampled_from([Schedule("sentences"), Schedule("every", 2)]))
def test_scores_are_those_of_the_text(pieces: list[str], schedule: Schedule) -> None:
    """Pushed piece by piece, asked each time, the scores are those of the text pushed at once."""
    _, state = _state(schedule)
    text = ""
    for piece in pieces:
        state.push(piece)
        text += piece
        _, whole = _state(schedule)
        whole.push(text)
        assert list(state.scores()) == list(whole.scores())


@given(_TEXTS, _TEXTS, _TEXTS, st.booleans())
def test_forks_are_independent(past: list[str], one: list[str], other: list[str], asked: bool) -> None:
    """A copy and its original score what each of them was given."""
    _, state = _state(Schedule("every", 1))
    for piece in past:
        state.push(piece)
        if asked:
            state.scores()
    twin = state.fork()
    for piece in one:
        state.push(piece)
    for piece in other:
        twin.push(piece)
    for kept, more in ((state, one), (twin, other)):
        _, whole = _state(Schedule("every", 1))
        whole.push("".join([*past, *more]))
        assert list(kept.scores()) == list(whole.scores())
