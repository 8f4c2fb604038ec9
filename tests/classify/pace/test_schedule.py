"""When readings are due."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.classify.pace.schedule import LONGEST_SENTENCE, LONGEST_WORD, Clock, Schedule, parse_schedule
from guardsteer.core.sentences import SentenceCounter
from guardsteer.errors import ClassifierError

_TEXTS = st.text(alphabet=st.sampled_from('ab é.?!"\n\t\u3002\uff01 xyzßक\u200b😀'), max_size=80)
_LONG = st.lists(st.sampled_from(["word", "a", "extraordinarily", ". ", " ", "\n", "。", "so"])).map("".join)
_SCHEDULES = st.one_of(
    st.just(Schedule("sentences")),
    st.builds(Schedule, st.just("sentences"), st.integers(1, 5)),
    st.builds(Schedule, st.just("every"), st.integers(1, 7)),
)


def _last_due(clock: Clock, pieces: list[str]) -> int:
    """Return the place of the last reading that is due in all pieces together."""
    place = last = 0
    for piece in pieces:
        due = clock.push(piece)
        last = place + due if due else last
        place += len(piece)
    return last


def _cut(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in pairwise(places)]


@given(_SCHEDULES, st.one_of(_TEXTS, _LONG), st.lists(st.integers(0, 1000), max_size=8))
def test_pieces_make_no_difference(schedule: Schedule, text: str, cuts: list[int]) -> None:
    """However a text is cut, the last reading is due at the same place."""
    whole = _last_due(schedule.start(), [text])
    assert _last_due(schedule.start(), _cut(text, cuts)) == whole
    assert _last_due(schedule.start(), list(text)) == whole


@given(st.one_of(_TEXTS, _LONG))
def test_a_reading_is_due_where_a_sentence_ends(text: str) -> None:
    """Every end of a sentence is a place to read."""
    clock, sentences = Schedule("sentences").start(), SentenceCounter()
    for character in text:
        ended = sentences.ended
        sentences.push(character)
        due = clock.push(character)
        if sentences.ended > ended:
            assert due == 1


@given(_SCHEDULES, st.one_of(_TEXTS, _LONG))
def test_little_text_goes_unread(schedule: Schedule, text: str) -> None:
    """Between two readings are fewer words than the schedule says, however long they are."""
    clock, since = schedule.start(), ""
    for character in text:
        since = "" if clock.push(character) else since + character
        assert len(since.split()) <= schedule.words
        assert len("".join(since.split())) < LONGEST_WORD * schedule.words


@given(_SCHEDULES, _TEXTS, _TEXTS, _TEXTS)
def test_a_fork_goes_its_own_way(schedule: Schedule, text: str, one: str, other: str) -> None:
    """A copy says what the original would have said, and neither hears of the other."""
    clock = schedule.start()
    clock.push(text)
    twin = clock.fork()
    assert clock.push(one) == _due_behind(schedule, text, one)
    assert twin.push(other) == _due_behind(schedule, text, other)


def _due_behind(schedule: Schedule, text: str, more: str) -> int:
    clock = schedule.start()
    clock.push(text)
    return clock.push(more)


def test_a_prompt_is_read_once_and_whole() -> None:
    """The schedule prompt reads the first piece at its end, and no more."""
    clock = Schedule("prompt").start()
    assert clock.push("") == 0
    assert clock.push("Stop. And go") == 12
    assert clock.push(" on. Really. ") == 0


@pytest.mark.parametrize("schedule", [Schedule("sentences"), Schedule("every", 50)])
def test_an_opening_is_read_to_its_end(schedule: Schedule) -> None:
    """A prompt without a full stop is read all the same where the schedule says that one comes first."""
    assert schedule.start().push("kill a process") == 0
    assert schedule.begun_with(opening=True).start().push("kill a process") == 14


def test_after_an_opening_the_schedule_goes_on() -> None:
    """What follows a prompt is read by the schedule's own places."""
    clock = Schedule("every", 2, opening=True).start()
    assert clock.push("one two three") == 13
    assert [clock.push(piece) for piece in (" ", "four", " ", "five ")] == [0, 0, 1, 0]


def test_words_are_counted_at_their_ends() -> None:
    """Every third word: the reading is due behind the white space that ends it."""
    assert _places(Schedule("every", 3), "a bb ccc dddd e f g") == [9, 18]
    assert _places(Schedule("every", 2), "x" * 40) == [16, 32]


def test_a_sentence_that_goes_on_is_read() -> None:
    """Text without any full stop is read every 64 words."""
    text = "go " * (2 * LONGEST_SENTENCE)
    assert _places(Schedule("sentences"), text) == [3 * LONGEST_SENTENCE, 6 * LONGEST_SENTENCE]


def _places(schedule: Schedule, text: str) -> list[int]:
    clock = schedule.start()
    return [place for place, character in enumerate(text, 1) if clock.push(character)]


@pytest.mark.parametrize("text", ["prompt", "sentences", "every 1", "every 16", "every 100000"])
def test_a_schedule_is_written_as_it_is_read(text: str) -> None:
    """What is parsed is told in the same words."""
    assert str(parse_schedule(text)) == text


@pytest.mark.parametrize(
    "text", ["", "token", "every", "every 0", "every -1", "every 100001", "every  4", "all"]
)
def test_an_unknown_schedule_is_refused(text: str) -> None:
    """Anything else is an error that says what may stand there."""
    with pytest.raises(ClassifierError, match="expected prompt, sentences, or every N"):
        parse_schedule(text)
