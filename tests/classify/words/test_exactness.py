"""A sample of the benchmark of exactness: the stream, scikit-learn and onnxruntime agree at every prefix."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.exactness import TOLERANCE, Model, compare, models, texts_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    return models(tmp_path_factory.mktemp("exact"), list(texts_of(300, seed=1)))


def test_every_kind_agrees_at_every_prefix_of_random_texts(trained: dict[str, Model]) -> None:
    texts = list(texts_of(60, seed=2))
    for name, model in trained.items():
        found = compare(model, texts, seed=3)
        assert found.prefixes == sum(map(len, texts))
        assert found.largest <= TOLERANCE, (name, found)


def test_a_stream_that_is_off_is_found(trained: dict[str, Model]) -> None:
    model = trained["char_wb (3, 5)"]
    other = replace(model, expected=lambda rows: model.expected(rows) + 2 * TOLERANCE)
    found = compare(other, list(texts_of(3, seed=2)), seed=3)
    assert min(found.stream, found.pieces, found.onnx) > TOLERANCE
    lost = replace(model, loaded=trained["char_wb (3, 5), hashed"].loaded)
    assert compare(lost, list(texts_of(20, seed=2)), seed=3).stream > TOLERANCE


def test_the_texts_are_of_many_scripts_with_emoji_marks_and_broken_bytes() -> None:
    texts = list(texts_of(400, seed=0))
    assert texts == list(texts_of(400, seed=0))
    assert all(texts)
    characters = set("".join(texts))
    scripts = {unicodedata.name(one, "").split(" ")[0] for one in characters if one.isalpha()}
    assert len(scripts) > 100
    assert {"\ufffd", "\u200d", "Σ", "\u3000", "\u0301"} <= characters
    assert not any("\ud800" <= one <= "\udfff" for one in characters)
    assert np.mean([len(text) for text in texts]) > 20
