"""Lowering and stripping by the character give what they give on whole texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import strip_accents_ascii, strip_accents_unicode

from guardsteer.classify.words.characters import PLAIN, StripAccents, accent_table, case_of

TEXTS = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("é\u0323\u0301\u0345¨ﬁ한ﷺİΣ")),
    max_size=30,
)


@pytest.mark.parametrize(
    ("kind", "whole"), [("unicode", strip_accents_unicode), ("ascii", strip_accents_ascii)]
)
@given(text=TEXTS)
def test_accents_are_stripped_as_scikit_learn_does(kind: StripAccents, whole: object, text: str) -> None:
    assert callable(whole)
    assert text.translate(accent_table(kind)) == whole(text)


@given(text=TEXTS)
def test_all_but_the_sigma_is_lowered_by_the_character(text: str) -> None:
    without = text.replace("Σ", "")
    assert "".join(character.lower() for character in without) == without.lower()


def test_final_sigma_never_looks_past_a_plain_character() -> None:
    assert {character for character in PLAIN if case_of(character) == "ignorable"} == set()


def test_case_is_what_lower_makes_of_it() -> None:
    assert case_of("a") == case_of("Σ") == "cased"
    assert case_of(".") == case_of("\u0301") == "ignorable"
    assert case_of(" ") == case_of("1") == "other"
