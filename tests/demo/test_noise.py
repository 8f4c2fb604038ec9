"""Noise changes words, but never those without which the ticket would be another."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from guardsteer.demo.corpus.noise import roughen

TEXT = "Hello there. How many seats are in the Pro plan? I need it for the storage pack."


@given(seed=st.integers(0, 100_000))
def test_kept_words_stay_whole_and_in_order(seed: int) -> None:
    keep = {"pro", "storage", "pack"}
    words = [word.strip(".,?!").lower() for word in roughen(TEXT, keep, random.Random(seed)).split()]
    assert [word for word in words if word in keep] == ["pro", "storage", "pack"]


@given(seed=st.integers(0, 100_000), text=st.text(max_size=80))
def test_any_text_can_be_roughened_and_none_that_has_words_vanishes(seed: int, text: str) -> None:
    assert bool(roughen(text, (), random.Random(seed)).split()) == bool(text.split())


def test_about_a_fifth_of_the_words_change_and_the_same_seed_changes_the_same() -> None:
    rough = [roughen(TEXT, (), random.Random(seed)) for seed in range(300)]
    assert rough == [roughen(TEXT, (), random.Random(seed)) for seed in range(300)]
    gone = sum(len(set(TEXT.split()) - set(text.split())) for text in rough)
    assert 0.08 < gone / (300 * len(set(TEXT.split()))) < 0.30
