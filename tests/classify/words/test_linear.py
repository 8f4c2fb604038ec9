"""The linear classifier: scikit-learn, onnxruntime and the stream say the same of every prefix."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

from tests.classify.models import TEXTS, Model, build, kernel_named, recipes

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    root: Path = tmp_path_factory.mktemp("models")
    return {name: build(root / name, *recipe) for name, recipe in recipes().items()}


@pytest.fixture(scope="module", params=["python", "compiled"])
def models(built: dict[str, Model], request: pytest.FixtureRequest) -> dict[str, Model]:
    """The same classifiers on each kernel."""
    kernel = kernel_named(request.param)
    return {name: replace(model, loaded=model.loaded.on(kernel)) for name, model in built.items()}


SIGMAS = st.text(alphabet="ΣσςΑaBs'’.:·¨´ \u0301\u00adʰ1-\n_", max_size=24)
WORDS = st.sampled_from([word for text in TEXTS for word in text.split(" ")])
SPACES = st.sampled_from([" ", "  ", "\n", "\t ", "\u00a0", "\u3000", "\r\n", "", "\x1c"])
LONG = st.builds(lambda part, times: part * times, st.text(min_size=1, max_size=4), st.integers(1, 60))
# As most tokens of a language model are.
TOKENS = WORDS.map(" {}".format)
PIECES = st.one_of(WORDS, TOKENS, TOKENS, SPACES, SPACES, SIGMAS, LONG, st.text(max_size=12)).filter(
    lambda text: not any("\ud800" <= character <= "\udfff" for character in text)
)


def prefixes(pieces: list[str]) -> Iterator[str]:
    text = ""
    for piece in pieces:
        text += piece
        yield text


@pytest.mark.parametrize("name", recipes())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(pieces=st.lists(PIECES, min_size=1, max_size=14))
def test_three_ways_agree_at_every_prefix(models: dict[str, Model], name: str, pieces: list[str]) -> None:
    model = models[name]
    pieces = [piece for piece in pieces if piece]
    if not pieces:
        return
    state = model.loaded.start()
    streamed = []
    for piece in pieces:
        state.push(piece)
        streamed.append(list(state.scores()))
    texts = list(prefixes(pieces))
    expected = model.expected(texts)
    np.testing.assert_allclose(np.array(streamed), expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(model.loaded.predict(texts), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "pieces",
    [
        ["ΑΣ"],
        ["Α", "Σ", "Α"],
        ["Α", "'", "Σ"],
        ["Α", ".", "\u0301'", "Σ", "'", ":", "Α"],
        ["1", "'", "Σ"],
        ["Σ", "Σ", " ", "Σ"],
        ["ΑΣ", "'" * 70, "Σ", "Σ'", "ʰ", "1", "ΑΣ\u00a8", "Α"],
        ["ΑΣ'", "Α", "ΑΣ ", "Α"],
    ],
)
@pytest.mark.parametrize("analyzer", ["char", "char_wb", "word"])
@pytest.mark.parametrize("accents", [None, "unicode"])
def test_a_capital_sigma_is_lowered_as_in_the_whole_text(
    tmp_path: Path, pieces: list[str], analyzer: str, accents: str | None
) -> None:
    """A model that knows nothing but the two small sigmas and what stands before them."""
    vectorizer = HashingVectorizer(
        analyzer=analyzer, ngram_range=(1, 2), n_features=4096, alternate_sign=False, strip_accents=accents
    )
    model = build(tmp_path / "sigma", vectorizer, LogisticRegression(C=1e4), 2)
    state = model.loaded.start()
    for piece, text in zip(pieces, prefixes(pieces), strict=True):
        state.push(piece)
        np.testing.assert_allclose([state.scores()], model.expected([text]), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", recipes())
def test_the_empty_text_is_not_a_text_that_was_not_read(models: dict[str, Model], name: str) -> None:
    loaded = models[name].loaded
    state = loaded.start()
    assert list(state.scores()) == [0.0] * len(loaded.outputs)
    state.push("")
    assert list(state.scores()) == [0.0] * len(loaded.outputs)
    np.testing.assert_allclose(loaded.predict(["", "a"]), models[name].expected(["", "a"]), atol=TOLERANCE)
    assert loaded.predict([]).shape == (0, len(loaded.outputs))


@pytest.mark.parametrize("name", recipes())
def test_a_fork_goes_its_own_way(models: dict[str, Model], name: str) -> None:
    model = models[name]
    state = model.loaded.start()
    state.push("ΟΔΥΣΣΕΥΣ refund the sa")
    before = list(state.scores())
    twin = state.fork()
    twin.push("me Σ.")
    assert list(state.scores()) == before
    state.push(" kind")
    both = np.array([state.scores(), twin.scores()])
    expected = model.expected(["ΟΔΥΣΣΕΥΣ refund the sa kind", "ΟΔΥΣΣΕΥΣ refund the same Σ."])
    np.testing.assert_allclose(both, expected, atol=TOLERANCE)


@pytest.mark.parametrize("name", recipes())
def test_asking_for_scores_changes_nothing(models: dict[str, Model], name: str) -> None:
    asked, silent = models[name].loaded.start(), models[name].loaded.start()
    for piece in ("I want", " my mon", "ey ba", "ck ΣΑΣ", "'", "s"):
        asked.push(piece)
        asked.scores()
        silent.push(piece)
    assert list(asked.scores()) == list(silent.scores())


@pytest.mark.parametrize("name", recipes())
def test_many_tokens_later_the_scores_still_agree(models: dict[str, Model], name: str) -> None:
    pieces = [f"{text[:start]} " for start in range(3, 60, 7) for text in TEXTS] * 20
    state = models[name].loaded.start()
    for piece in pieces:
        state.push(piece)
    np.testing.assert_allclose(
        [list(state.scores())], models[name].expected(["".join(pieces)]), rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize("name", recipes())
@pytest.mark.parametrize("unit", ["abcde", "Σ''''", "'''''", "ᾈ\u0301\u0323ʰʰ", "1_a\u3042\u3044"])
def test_a_word_without_end_costs_its_length_alone(models: dict[str, Model], name: str, unit: str) -> None:
    """Ten times the length may cost ten times the time, not a hundred times (with room for noise)."""
    loaded = models[name].loaded

    def seconds(tokens: int) -> float:
        state = loaded.start()
        state.push("ΑΣ")
        began = time.thread_time()
        for _ in range(tokens):
            state.push(unit)
            state.scores()
        return time.thread_time() - began

    seconds(60)
    assert min(seconds(600) for _ in range(2)) < 40 * min(seconds(60) for _ in range(3)) + 0.02


def test_threads_that_share_a_classifier_do_not_disturb_each_other(models: dict[str, Model]) -> None:
    model = models["wb_hash"]
    texts = [f"{text} {index} " * 40 for index, text in enumerate(TEXTS)]

    def read(text: str) -> list[float]:
        state = model.loaded.start()
        for start in range(0, len(text), 3):
            state.push(text[start : start + 3])
            state.scores()
        return list(state.scores())

    with ThreadPoolExecutor(max_workers=5) as pool:
        found = list(pool.map(read, texts))
    np.testing.assert_allclose(found, model.expected(texts), rtol=0, atol=TOLERANCE)


def test_the_cache_of_words_is_bounded(models: dict[str, Model]) -> None:
    loaded = models["word_l2"].loaded
    state = loaded.start()
    for number in range(40_000):
        state.push(f"w{number} ")
    assert len(loaded.packer.cache) <= 2 * 8_192
    assert len(loaded.steps) <= 2 * 8_192
    state.push("so " * 11 + "long")
    assert len(max((text for _, text in loaded.steps.young), key=len)) <= 32


@pytest.mark.parametrize("name", ["wb_l2", "char_l2", "word_l2", "wb_hash"])
def test_a_fork_keeps_its_own_reading_of_an_open_sigma(models: dict[str, Model], name: str) -> None:
    state = models[name].loaded.start()
    state.push("ΠΗΝΕΛΟΠΗ ΟΔΥΣΣΕΥΣ")
    twin = state.fork()
    texts = ["ΠΗΝΕΛΟΠΗ ΟΔΥΣΣΕΥΣ", "ΠΗΝΕΛΟΠΗ ΟΔΥΣΣΕΥΣ"]
    for own, other in (("'.", "'"), ("Β", "Α"), (" ΣΑΣ", "'")):
        for place, (each, text) in enumerate(((state, own), (twin, other))):
            each.push(text)
            texts[place] += text
        found = [list(state.scores()), list(twin.scores())]
        np.testing.assert_allclose(found, models[name].expected(texts), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["wb_l2", "wb_hash", "wb_sublinear"])
def test_a_word_said_forty_thousand_times_is_counted_to_the_end(models: dict[str, Model], name: str) -> None:
    model = models[name]
    state = model.loaded.start()
    text = "oh my " * 40_000
    state.push(text)
    np.testing.assert_allclose([list(state.scores())], model.expected([text]), rtol=0, atol=TOLERANCE)


def test_unnormalised_weights_keep_their_precision(models: dict[str, Model]) -> None:
    model = models["wb_short"]
    text = " ".join(TEXTS) * 50
    np.testing.assert_allclose(model.loaded.predict([text]), model.expected([text]), rtol=0, atol=TOLERANCE)
