"""Where sentences end does not depend on how a text is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.core.sentences import SentenceCounter


def ends(text: str) -> int:
    counter = SentenceCounter()
    counter.push(text)
    return counter.ended


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("Hello", 0),
        ("Hello.", 0),
        ("Hello. ", 1),
        ("Hello.  \n\n", 1),
        ("It costs 3.5 dollars, e.g., here", 0),
        ('He said "No!" and left. Then', 2),
        ("Wait...", 0),
        ("Wait... what?! ", 2),
        ("A title\nand text", 1),
        ("\n\nText", 0),
        ("\u4f60\u597d\u3002\u518d\u89c1\uff01", 2),
        ("Mr. Smith", 1),
    ],
)
def test_a_sentence_ends_with_the_space_behind_its_stop(text: str, count: int) -> None:
    assert ends(text) == count


@given(st.lists(st.text(alphabet="ab .!?\u2026\u3002\"')\n", max_size=6)))
def test_pieces_count_as_the_whole_text_does(pieces: list[str]) -> None:
    counter = SentenceCounter()
    for piece in pieces:
        counter.push(piece)
    assert counter.ended == ends("".join(pieces))


@given(st.text(alphabet="ab .!?\n"), st.text(alphabet="ab .!?\n"), st.text(alphabet="ab .!?\n"))
def test_a_fork_goes_its_own_way(past: str, one: str, other: str) -> None:
    counter = SentenceCounter()
    counter.push(past)
    copy = counter.fork()
    counter.push(one)
    copy.push(other)
    assert (counter.ended, copy.ended) == (ends(past + one), ends(past + other))
