"""Long text in windows: no position escapes, and a text that grows moves none of them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guardsteer.classify.encoders.encoder import Encoder, open_encoder
from guardsteer.classify.encoders.windows import LONGEST_WORD, Cutter, Window, WordBreaker

_WORDS = st.sampled_from(
    [
        "the",
        "money",
        "back.",
        "thanks",
        "extraordinarily",
        "İ",
        "退款谢谢",
        "😀",
        "ﷺ",
        " ",
        "\n\n",
        "x" * 40,
        "né",
    ]
)
_TEXTS = st.lists(st.tuples(_WORDS, st.sampled_from([" ", " ", "", "\n"])), max_size=60).map(
    lambda pairs: "".join(word + gap for word, gap in pairs)
)


@pytest.fixture(scope="module", params=["bert", "roberta"])
def encoder(request: pytest.FixtureRequest, encoders: Path) -> Encoder:
    return open_encoder(encoders / "encoders" / request.param)


def _windows(cutter: Cutter, text: str) -> list[Window]:
    """Return all windows of a text, placed in it."""
    windows: list[Window] = []
    base, begin = 0, 0
    while begin >= 0:
        base += begin
        found, begin = cutter.next(text[base:])
        windows += [Window(each.ids, each.first + base, each.end + base, each.settled) for each in found]
    return windows


@settings(deadline=None, max_examples=60)
@given(text=_TEXTS, content=st.sampled_from([24, 40]))
@example(text="x" * 95 + " " + "😀" * 95, content=24)
@example(text="ﷺ" * 90, content=24)
def test_every_character_lies_in_a_window_with_context(encoder: Encoder, text: str, content: int) -> None:
    """Every token is read in some window in which a quarter of it stands on both sides, or the text's end."""
    text = WordBreaker().push(text)
    windows = _windows(Cutter(encoder, content), text)
    ids, spans = encoder.tokens(text)
    assert bool(windows) == bool(ids)
    assert all(len(window.ids) <= content for window in windows)
    covered: set[int] = set()
    for window in windows:
        covered.update(range(window.first, window.end))
    assert all(set(range(*span)) <= covered for span in spans)
    quarter = content // 4
    for place, (first, end) in enumerate(spans):
        before = spans[max(0, place - quarter + 1)][0]
        behind = spans[min(len(spans) - 1, place + quarter - 1)][1]
        assert any(window.first <= before and behind <= window.end for window in windows), (
            f"{text[first:end]!r} at {first}"
        )


@settings(deadline=None, max_examples=60)
@given(text=_TEXTS, more=_TEXTS)
def test_a_settled_window_stays_as_it_is(encoder: Encoder, text: str, more: str) -> None:
    """However a text goes on, the windows that were settled are those of the longer text."""
    text, longer = WordBreaker().push(text), WordBreaker().push(text + more)
    assert longer.startswith(text)
    cutter = Cutter(encoder, 24)
    settled = [window for window in _windows(cutter, text) if window.settled]
    assert _windows(cutter, longer)[: len(settled)] == settled


@pytest.mark.parametrize("word", ["the end of lines ", "x" * 90 + " a ", "退款 😀 "])
def test_a_settled_window_stays_wherever_a_text_is_cut(encoder: Encoder, word: str) -> None:
    """A word whose tokens change once it goes on, as "en" becomes "end", ends no settled window."""
    text = word * (200 // len(word))
    for content in range(24, 34):
        cutter = Cutter(encoder, content)
        windows = _windows(cutter, text)
        for end in range(len(text)):
            settled = [window for window in _windows(cutter, text[:end]) if window.settled]
            assert windows[: len(settled)] == settled


@settings(deadline=None, max_examples=40)
@given(text=_TEXTS)
@example(text=("a " + "x" * 90 + " ") * 4)
def test_windows_are_few(encoder: Encoder, text: str) -> None:
    """Each window but the last goes a quarter of its length forward at least."""
    content = 24
    text = WordBreaker().push(text)
    _, spans = encoder.tokens(text)
    begun = [
        sum(start < window.first for start, _ in spans)
        for window in _windows(Cutter(encoder, content), text)
        if window.settled
    ]
    # A character of several tokens counts for one place of them all.
    assert all(later - earlier >= content // 4 - 4 for earlier, later in pairwise(begun))


def test_a_short_text_is_one_window(encoder: Encoder) -> None:
    """A text that fits is read as it is."""
    text = "thanks, that was kind"
    windows = _windows(Cutter(encoder, 40), text)
    assert [window.ids for window in windows] == [tuple(encoder.tokens(text)[0])]


def test_a_window_begins_in_front_of_a_word(encoder: Encoder) -> None:
    """No word is cut where a window begins."""
    text = "money " * 60
    starts = [window.first for window in _windows(Cutter(encoder, 24), text)]
    assert len(starts) > 3
    assert all(start == 0 or text[start : start + 2] == " m" for start in starts)


@given(st.text(alphabet="ab é\n😀", max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_long_words_are_broken_wherever_a_text_is_cut(text: str, cuts: list[int]) -> None:
    """A space stands behind every 96th character of a word, and nowhere else, in pieces as in one."""
    whole = WordBreaker().push(text)
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    breaker = WordBreaker()
    assert "".join(breaker.push(text[first:end]) for first, end in pairwise(places)) == whole
    assert all(len(word) <= LONGEST_WORD for word in whole.split())
    assert whole.replace(" ", "") == text.replace(" ", "")
    if all(len(word) <= LONGEST_WORD for word in text.split()):
        assert whole == text


def test_a_very_long_word_is_broken() -> None:
    """Two hundred letters are three words, in one piece as in many."""
    breaker = WordBreaker()
    assert "".join(breaker.push("x" * 10) for _ in range(20)) == WordBreaker().push("x" * 200)
    assert [len(word) for word in WordBreaker().push("x" * 200).split()] == [96, 96, 8]


def test_words_that_end_are_not_broken() -> None:
    """Many short words in a row, in pieces that hold several, stay as they are."""
    breaker = WordBreaker()
    assert "".join(breaker.push("ab cd ") + breaker.push("ef") for _ in range(60)) == "ab cd ef" * 60
