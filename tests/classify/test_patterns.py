"""Literals and patterns in a stream: what is found does not depend on how the text is cut."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from guardsteer.classify.patterns import PatternClassifier, PatternState
from guardsteer.errors import ClassifierError

PATTERNS = (r"\bab+\b", r"^a b", r"c$", r"(?m)^d", r"(?m)e$", r"a.{0,3}z", r"\Bx\B", r"é{2}", r"\b\d{3}\b")
PIECES = st.lists(st.text(alphabet="ab cdexz\né1", max_size=5), max_size=12)


def fed(classifier: PatternClassifier, *pieces: str) -> PatternState:
    state = classifier.start()
    assert isinstance(state, PatternState)
    for piece in pieces:
        state.push(piece)
    return state


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("tail_characters", [8, 256])
@given(pieces=PIECES)
def test_a_pattern_is_found_at_each_prefix_as_in_the_whole_text(
    pattern: str, tail_characters: int, pieces: list[str]
) -> None:
    state = PatternClassifier(patterns=[pattern], ignore_case=False, tail_characters=tail_characters).start()
    text = ""
    for piece in pieces:
        state.push(piece)
        text += piece
        if "ab" + "b" * tail_characters in text:
            return  # a match longer than the tail, of which nothing is promised
        assert state.scores() == (1.0 if re2.search(pattern, text) else 0.0,)


@given(
    literal=st.text(alphabet="sSßΣςσΆάİiK\u212a", min_size=1, max_size=4),
    before=st.text(max_size=12),
    after=st.text(max_size=4),
    cuts=st.lists(st.integers(0, 20), max_size=4),
    swap=st.booleans(),
)
def test_a_literal_is_found_in_any_case_and_over_any_cut(
    literal: str, before: str, after: str, cuts: list[int], swap: bool
) -> None:
    text = before + (literal.swapcase() if swap else literal) + after
    classifier = PatternClassifier(literals=[literal, "never in it" * 3], tail_characters=1)
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    state = fed(classifier, *(text[first:last] for first, last in pairwise(edges)))
    assert state.scores() == (1.0 if literal.casefold() in text.casefold() else 0.0,)


def test_full_case_folding_finds_a_sharp_s() -> None:
    assert fed(PatternClassifier(literals=["STRASSE"]), "Die Stra", "ße").scores() == (1.0,)
    assert fed(PatternClassifier(literals=["STRASSE"], ignore_case=False), "straße").scores() == (0.0,)


def test_patterns_ignore_case_unless_told_not_to() -> None:
    assert fed(PatternClassifier(patterns=["da+mn"]), "DAA", "MN").scores() == (1.0,)
    assert fed(PatternClassifier(patterns=["da+mn"], ignore_case=False), "DAMN").scores() == (0.0,)


def test_a_match_that_leans_on_the_end_is_taken_back_when_the_word_goes_on() -> None:
    state = fed(PatternClassifier(patterns=[r"\bdamn\b"]), "oh ", "damn")
    assert state.scores() == (1.0,)
    state.push("ation")
    assert state.scores() == (0.0,)
    state.push(" damn ")
    assert state.scores() == (1.0,)
    state.push("and then much more")
    assert state.scores() == (1.0,)


def test_a_cut_tail_is_no_beginning_of_text_nor_of_a_word() -> None:
    classifier = PatternClassifier(patterns=[r"^abcd", r"\bbcd"], tail_characters=4)
    assert fed(classifier, "xxxxabc", "d").scores() == (0.0,)
    assert fed(classifier, "xxxxxé", "abcd").scores() == (0.0,)


def test_a_match_longer_than_the_tail_is_found_within_one_push_alone() -> None:
    classifier = PatternClassifier(patterns=["a{6}"], tail_characters=3)
    assert fed(classifier, "aaaaaa").scores() == (1.0,)
    assert fed(classifier, *"aaaaaa").scores() == (0.0,)


def test_a_row_that_read_nothing_has_no_match() -> None:
    classifier = PatternClassifier(literals=["x"])
    assert classifier.outputs == ("match",)
    assert classifier.start().scores() == (0.0,)
    assert fed(classifier, "", "").scores() == (0.0,)


def test_half_a_surrogate_pair_hides_nothing() -> None:
    classifier = PatternClassifier(patterns=[r"bad"], literals=["worse"])
    assert fed(classifier, "\ud800bad").scores() == (1.0,)
    assert fed(classifier, "\ud800wor", "se").scores() == (1.0,)


def test_a_fork_goes_its_own_way() -> None:
    state = fed(PatternClassifier(literals=["abc"], patterns=["x+y"]), "ab")
    twin = state.fork()
    twin.push("c")
    assert (state.scores(), twin.scores()) == ((0.0,), (1.0,))
    state.push("x")
    again = state.fork()
    again.push("y")
    assert (state.scores(), again.scores()) == ((0.0,), (1.0,))


def test_digest_tells_what_is_looked_for() -> None:
    one, same = (PatternClassifier(literals=["a"], patterns=["b"]) for _ in range(2))
    other = PatternClassifier(literals=["a"], patterns=["b"], ignore_case=False)
    assert one.digest == same.digest != other.digest


def test_every_mistake_is_reported_at_once() -> None:
    with pytest.raises(ClassifierError) as caught:
        PatternClassifier(literals=["", "\ud800"], patterns=["(", r"(a)\1", "a*"], tail_characters=0)
    message = str(caught.value)
    for part in (
        "literal is empty",
        "surrogate",
        "'('",
        r"(a)\\1",
        "'a*' matches the empty",
        "tail_characters",
    ):
        assert part in message
    with pytest.raises(ClassifierError, match="nothing to look for"):
        PatternClassifier()


@settings(max_examples=5)
@given(st.sampled_from([r"(a+)+$", r"(a|aa)+b", r"(.*a){8}c"]))
def test_no_pattern_takes_more_than_linear_time(pattern: str) -> None:
    state = PatternClassifier(patterns=[pattern], tail_characters=256).start()
    began = time.process_time()
    for _ in range(1_000):
        state.push("aaaaa!")
    assert time.process_time() - began < 5.0
