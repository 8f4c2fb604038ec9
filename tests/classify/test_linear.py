"""The linear classifier: scikit-learn, onnxruntime and the stream say the same of every prefix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.classify.models import TEXTS, Model, build, recipes

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    root: Path = tmp_path_factory.mktemp("models")
    return {name: build(root / name, *recipe) for name, recipe in recipes().items()}


SIGMAS = st.text(alphabet="ΣσςΑaBs'’.:·¨´ \u0301\u00adʰ1-\n_", max_size=24)
WORDS = st.sampled_from([word for text in TEXTS for word in text.split(" ")])
SPACES = st.sampled_from([" ", "  ", "\n", "\t ", "\u00a0", "\u3000", "\r\n", "", "\x1c"])
LONG = st.builds(lambda part, times: part * times, st.text(min_size=1, max_size=4), st.integers(1, 60))
PIECES = st.one_of(WORDS, SPACES, SPACES, SIGMAS, LONG, st.text(max_size=12)).filter(
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
