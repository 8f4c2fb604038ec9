"""The newest words alone: the stream scores what the windows at the end of the text do, at a flat cost."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from guardsteer.classify.files.card import read_card
from guardsteer.classify.files.writing import write_linear
from guardsteer.classify.load import load_folder
from guardsteer.classify.words.normalise import Normaliser
from guardsteer.classify.words.windows import WindowedClassifier, Windows, open_windows
from guardsteer.lab.classifiers.sklearn_models import from_sklearn

ONSET = "I am sorry but I cannot help with that"
BENIGN = "the boat went down the river and we all had a very good time with it that day in the sun "
TEXTS = [
    ONSET,
    f"{ONSET} request",
    "cannot help you",
    BENIGN,
    BENIGN[20:],
    "a good day in the sun",
    "we help",
]
SHAPES = [
    Windows(every=1, open=1),
    Windows(every=4, open=3, shortest=3),
    Windows(every=3, open=2, shortest=1),
    Windows(every=5, open=1, shortest=4),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Windows, WindowedClassifier]:
    return {
        shape: written(tmp_path_factory.mktemp("windowed"), shape, normalise=number % 2 == 1)
        for number, shape in enumerate(SHAPES)
    }


def written(folder: Path, windows: Windows, *, normalise: bool = False) -> WindowedClassifier:
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2),
        token_pattern=r"(?u)\b\w+\b",
        preprocessor=Normaliser("skeleton") if normalise else None,
    )
    model = LogisticRegression(C=30).fit(vectorizer.fit_transform(TEXTS), [1, 1, 1, 0, 0, 0, 0])
    write_linear(folder, replace(from_sklearn(vectorizer, model, ["score"]), windows=windows), {"name": "w"})
    loaded = load_folder(folder)
    assert isinstance(loaded, WindowedClassifier)
    return loaded


WORDS = st.sampled_from([*ONSET.split(), *BENIGN.split(), " ", "  ", "\n", "\u00a0", "c a n n o t", "\u200b"])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@settings(max_examples=150, deadline=None)
@given(words=st.lists(WORDS, max_size=40), cuts=st.lists(st.integers(0, 200), max_size=12))
def test_the_stream_scores_the_windows_at_the_end_of_each_prefix(
    folders: dict[Windows, WindowedClassifier], shape: Windows, words: list[str], cuts: list[int]
) -> None:
    classifier, text = folders[shape], " ".join(words)
    state, streamed, prefixes = classifier.start(), [], []
    for start, end in pairwise(sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})):
        state.push(text[start:end])
        streamed.append(list(state.scores()))
        prefixes.append(text[:end])
        fork = state.fork()
        for piece in (ONSET[:4], ONSET[4:]):
            fork.push(piece)
        further = classifier.predict([text[:end] + ONSET])
        np.testing.assert_allclose([list(fork.scores())], further, rtol=0, atol=1e-5)
    if prefixes:
        np.testing.assert_allclose(streamed, classifier.predict(prefixes), rtol=0, atol=1e-5)


def test_windows_are_staggered_and_the_first_counts_from_its_first_word() -> None:
    windows = Windows(every=2, open=2, shortest=2)
    assert windows.longest == 4
    assert open_windows("", windows) == open_windows(" \n", windows) == []
    assert open_windows(" a", windows) == ["a"]
    assert open_windows("a b c", windows) == ["a b c"]
    assert open_windows("a b c d", windows) == ["a b c d", "c d"]
    assert open_windows("a b c d e", windows) == ["c d e"]
    assert open_windows("a b c d e f ", windows) == ["c d e f ", "e f "]


def test_an_onset_is_heard_behind_any_text_and_forgotten(
    folders: dict[Windows, WindowedClassifier],
) -> None:
    classifier = folders[SHAPES[1]]
    state = classifier.start()
    state.push(BENIGN * 20)
    quiet = state.scores()[0]
    state.push(ONSET)
    heard = state.scores()[0]
    state.push(f" {BENIGN}")
    assert quiet < 0.5 < heard
    assert state.scores()[0] < 0.5
    assert classifier.classifier.predict([BENIGN * 20 + ONSET])[0, 0] < heard


def test_the_shape_is_on_the_card_and_decides_the_digest(tmp_path: Path) -> None:
    one, other = (written(tmp_path / str(shape.every), shape) for shape in SHAPES[1:3])
    card = read_card(tmp_path / "4")
    assert card.kind == "linear"
    assert card.windows == one.windows == SHAPES[1]
    assert len({one.digest, other.digest, one.classifier.digest}) == 3
    assert one.classifier.digest == other.classifier.digest
    for fields in (
        {"every": 0, "open": 1},
        {"every": 1, "open": 17},
        {"every": 1},
        {"every": 1.5, "open": 1},
    ):
        with pytest.raises(ValidationError):
            Windows.model_validate(fields)


def test_a_token_costs_the_same_however_much_came_before(folders: dict[Windows, WindowedClassifier]) -> None:
    state = folders[SHAPES[1]].start()

    def seconds() -> float:
        began = time.thread_time()
        for word in BENIGN.split() * 40:
            state.push(f" {word}")
            state.scores()
        return time.thread_time() - began

    seconds()
    early = min(seconds() for _ in range(3))
    for _ in range(20):
        seconds()
    assert min(seconds() for _ in range(3)) < 1.5 * early
    assert len(state._open) == 3
