"""Scores of whole texts, by any classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from guardsteer.classify import combine, from_callable
from guardsteer.classify.combined.whole import score_whole
from guardsteer.classify.load import load_folder
from guardsteer.classify.pace.opening import OpeningClassifier
from guardsteer.classify.patterns import PatternClassifier
from tests.classify.folders import linear_folder

TEXTS = ["money back now or else", "so kind of you", "", "damn"]


def test_every_kind_scores_whole_texts(tmp_path: Path) -> None:
    """By predict where there is one, by a state where not, through openings and combinations."""
    words = load_folder(linear_folder(tmp_path / "words", classes=2))
    assert hasattr(words, "predict")
    assert hasattr(words, "start")
    whole = words.predict(TEXTS)
    assert np.array_equal(score_whole(words, TEXTS), whole)
    assert score_whole(PatternClassifier(literals=["damn"]), TEXTS)[:, 0].tolist() == [0.0, 0.0, 0.0, 1.0]
    opening = OpeningClassifier(words, 2)
    assert np.array_equal(score_whole(opening, TEXTS), words.predict(["money back ", "so kind ", "", "damn"]))
    found = score_whole(combine({"whole": words, "opening": opening}), TEXTS)
    assert np.array_equal(found, np.maximum(whole, score_whole(opening, TEXTS)))
    own = from_callable(lambda text: len(text) / 100, name="own", version="1", read="prompt")
    assert score_whole(own, TEXTS)[:, 0].tolist() == [0.22, 0.14, 0.0, 0.04]
    assert score_whole(own, []).shape == (0, 1)
