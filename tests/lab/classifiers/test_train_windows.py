"""A classifier of the newest words is trained on fragments and its own false alarms, and tried in streams."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.classify.files.card import read_card
from guardsteer.classify.load import load_folder
from guardsteer.classify.patterns import PatternClassifier
from guardsteer.classify.words.windows import WindowedClassifier, Windows, open_windows
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.data import Example
from guardsteer.lab.classifiers.fitting import Settings
from guardsteer.lab.classifiers.prefixes import openings_of, pieces_of, windows_of
from guardsteer.lab.classifiers.recipe import load_classifier_recipe
from guardsteer.lab.classifiers.text_fitting import as_streamed, fit_texts, judged_text
from guardsteer.lab.classifiers.train_recipe import train_recipe
from guardsteer.lab.classifiers.train_streams import as_classifier, streams_of

WINDOWS = Windows(every=4, open=3, shortest=3)
PLAIN = [
    first + middle + last
    for first in "bdfglm"
    for middle in ("ar", "el", "on", "ist")
    for last in ("ba", "do", "ki", "mu")
]
OPENINGS = ["I am afraid I cannot do it", "sorry but this I will not write", "no I must decline this one"]

RECIPE = """format: guardsteer.classifier/1
name: onset
description: Whether somebody begins to decline.
licence: Apache-2.0
positive: declines
sources:
  - {use: ./one.jsonl, labels: {declines: [declines], plain: [plain]}}
  - {use: ./two.jsonl, labels: {declines: [declines], plain: [plain]}}
left_out: [./one.jsonl]
vectorizer: {ngrams: [1, 2], min_count: 1, shortest_word: 1, normalise: skeleton}
model: {penalties: [10.0]}
windows: {every: 4, open: 3, shortest: 3, fragments: 3, mined: 1, leads: [./two.jsonl]}
split: {tune: 0.25, test: 0.25}
target_false_positive_rate: 0.05
"""


def plain(draw: random.Random, words: int) -> str:
    return " ".join(draw.choice(PLAIN) for _ in range(words))


def rows(count: int, seed: int) -> list[dict[str, str]]:
    draw = random.Random(seed)
    return [
        {"text": f"{draw.choice(OPENINGS)} {plain(draw, 20)}", "label": "declines"}
        if number % 2
        else {"text": plain(draw, draw.randint(10, 60)), "label": "plain"}
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    for seed, name in enumerate(("one", "two")):
        lines = [json.dumps(row) for row in rows(160, seed)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(autouse=True)
def fewer_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardsteer.lab.classifiers.train_streams._STREAMS", 30)


def test_an_onset_is_heard_in_streams_of_what_was_left_out(folder: Path, tmp_path: Path) -> None:
    built = train_recipe(folder, None, tmp_path / "onset")
    loaded, card = load_folder(tmp_path / "onset"), read_card(tmp_path / "onset")
    assert isinstance(loaded, WindowedClassifier)
    assert card.kind == "linear"
    assert card.windows == WINDOWS
    assert card.vectorizer.shortest_word == 1
    assert json.loads(str(card.training["windows"])) == WINDOWS.model_dump()
    heard = {(each.part, each.after, each.tuned): each for each in built.evaluation.streamed}
    left = heard["onsets of ./one.jsonl, left out", 1, True]
    own = heard["onsets of ./one.jsonl behind its other texts, left out", 1, True]
    for each in (left, own, heard["", 1, True]):
        assert each.caught["12"].value > 0.9
        assert each.benign_tokens > 2_000
    assert heard["", 3, True].median is not None
    # The whole text hears less of an onset, the more came before it.
    draw = random.Random(5)
    before = plain(draw, 300)
    assert (
        loaded.predict([f"{before} {OPENINGS[0]}"])[0, 0]
        > loaded.classifier.predict([f"{before} {OPENINGS[0]}"])[0, 0]
    )


def test_false_alarms_of_the_first_round_are_trained_on() -> None:
    draw = random.Random(3)
    # "cannot do it" opens what declines and stands deep inside what does not, where no fragment may fall.
    benign = [f"{plain(draw, 30)} you cannot do it {plain(draw, 30)}" for _ in range(40)]
    texts = [*(f"{OPENINGS[0]} {plain(draw, 20)}" for _ in range(40)), *benign]
    numbers = np.array([1] * 40 + [0] * 40)
    settings = Settings(
        analyzer="word",
        ngrams=(1, 2),
        min_count=1,
        positive="x",
        penalties=(10.0,),
        windows=WINDOWS,
        fragments=1,
        shortest_word=1,
    )
    scores = []
    for mined in (0, 2):
        fitted = fit_texts((texts, numbers), (texts, numbers), replace(settings, mined=mined))
        scores.append(float(fitted.predict([" ".join(benign[0].split()[28:36])])[0, 0]))
    assert scores[1] < scores[0]


def test_what_a_pattern_hears_beside_it_raises_the_flag_as_well(folder: Path) -> None:
    declines = [Example(row["text"], row["label"]) for row in rows(160, 7)]
    settings = load_classifier_recipe(folder).settings
    quiet = fit_texts(
        ([row.text for row in declines], np.array([int(row.label == "declines") for row in declines])),
        ([row.text for row in declines], np.array([int(row.label == "declines") for row in declines])),
        settings,
    )
    beside = ("phrases", PatternClassifier(literals=["afraid", "sorry", "decline"]))
    alone, together = streams_of(
        as_classifier(quiet, ["score"]), declines, declines, "declines", seed=0, part="all", beside=beside
    )[:2]
    assert (alone.part, together.part) == ("all", "all, together with phrases")
    assert alone.threshold == together.threshold
    assert together.caught["8"].value >= alone.caught["8"].value
    assert together.caught["8"].value == 1.0


TEXT = st.lists(st.sampled_from(PLAIN), min_size=1, max_size=40).map(" ".join)


@given(text=TEXT, lead=TEXT, seed=st.integers(0, 99), each=st.integers(1, 5))
def test_fragments_are_no_longer_than_what_a_window_may_hold(
    text: str, lead: str, seed: int, each: int
) -> None:
    draw = random.Random(seed)
    openings = openings_of(text, [lead], draw, each=each, windows=WINDOWS)
    assert len(openings) == each
    first = text.split()[:5]
    for opening in openings:
        words = opening.split()
        assert any(words[start : start + len(first)] == first for start in range(7))
    pieces = pieces_of(text, draw, each=each, windows=WINDOWS)
    assert 1 <= len(pieces) <= each + 1
    assert all(piece in text and 0 < len(piece.split()) <= 16 for piece in pieces)


@given(text=TEXT)
def test_every_window_that_a_stream_scores_is_looked_at(text: str) -> None:
    words = text.split()
    prefixes = [" ".join(words[:count]) for count in range(1, len(words) + 1)]
    scored = {window for prefix in prefixes for window in open_windows(prefix, WINDOWS)}
    assert set(windows_of(text, WINDOWS)) == scored


def test_a_model_is_judged_by_what_a_window_holds() -> None:
    text = " ".join(map(str, range(40)))
    assert judged_text(text, Settings(windows=WINDOWS)).split() == text.split()[:12]
    assert judged_text(text, Settings()) == text


def test_windows_need_two_labels() -> None:
    with pytest.raises(ClassifierError, match="windows need two labels"):
        as_streamed((["a", "b", "c"], np.array([0, 1, 2])), Settings(windows=WINDOWS))


def test_a_recipe_says_what_is_wrong_with_its_windows(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("every: 4", "every: 0").replace("mined: 1", "mines: 1"))
    with pytest.raises(ClassifierError) as found:
        load_classifier_recipe(path)
    assert "windows.every" in str(found.value)
    assert "windows.mines" in str(found.value)


def test_the_two_classifiers_of_refusals_learn_from_the_same_sentences() -> None:
    folders = Path(__file__).resolve().parents[3] / "classifiers"
    one, other = (
        (folders / name / "pairs.jsonl").read_bytes() for name in ("refusal", "refusal-onset-words")
    )
    assert one == other
