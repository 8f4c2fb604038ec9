"""Tables of weights trained on embeddings: as scikit-learn would, with all that training on words has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from guardsteer.classify.encoders.load import ENVIRONMENT
from guardsteer.classify.encoders.reading import EncoderClassifier
from guardsteer.classify.files.card import EncoderCard, read_card
from guardsteer.classify.load import load_folder
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.data import Example
from guardsteer.lab.classifiers.encoders.embedding import open_embedding
from guardsteer.lab.classifiers.fitting import About, Settings
from guardsteer.lab.classifiers.text_fitting import fit_texts
from guardsteer.lab.classifiers.train import train
from guardsteer.lab.classifiers.train_recipe import train_recipe
from tests.classify.encoder_models import exported, make_model

RECIPE = """
format: guardsteer.classifier/1
name: kind
description: Is it kind?
licence: MIT
positive: kind
sources:
  - {use: ./one.jsonl, labels: {kind: [kind], cold: [cold]}}
  - {use: ./other.jsonl, labels: {kind: [kind], cold: [cold]}}
left_out: [./other.jsonl]
encoder: {name: bert, window: 32, read: every 4}
model: {penalties: [1.0]}
"""


def _examples(count: int, source: str = "", seed: int = 0) -> list[Example]:
    """Texts of two kinds that share no word of their own, each with words that no other text has."""
    draw = np.random.default_rng(seed)
    words = {
        "kind": ["thanks", "very", "kind", "lot", "you"],
        "cold": ["money", "back", "want", "end", "the"],
    }
    return [
        Example(" ".join([*draw.choice(words[label], 6), *_nonsense(draw)]), label, source)
        for place in range(count)
        for label in words
    ]


def _nonsense(draw: np.random.Generator) -> list[str]:
    return ["".join(draw.choice(list("bdfgjpxz"), 3)) for _ in range(4)]


@pytest.fixture
def encoder(encoders: Path) -> Path:
    return encoders / "encoders" / "bert"


def test_a_table_is_the_logistic_regression_of_the_embeddings(encoder: Path) -> None:
    """Fitted without calibration, it gives scikit-learn's probabilities of first windows."""
    embedding = open_embedding(encoder)
    rows = _examples(30)
    texts, numbers = [row.text for row in rows], np.array([int(row.label == "kind") for row in rows])
    settings = Settings(encoder=embedding, penalties=(3.0,))
    fitted = fit_texts((texts, numbers), (texts, numbers), settings)
    plain = LogisticRegression(C=3.0, max_iter=2000, random_state=0)
    plain.fit(embedding.transform(texts), numbers)
    expected = plain.predict_proba(embedding.transform(texts))[:, 1:]
    assert np.abs(fitted.predict(texts) - expected).max() < 1e-6


def test_what_is_written_scores_as_what_was_fitted(encoder: Path, tmp_path: Path) -> None:
    """The folder has a card with figures, data and the encoder's identity, and gives the fitted scores."""
    embedding = open_embedding(encoder, read="every 4", window=32)
    settings = Settings(encoder=embedding, positive="kind", prefixes=1, calibrated=True, tune=0.2, test=0.2)
    done = train(_examples(60), settings, About("kind", licence="MIT"), tmp_path / "kind")
    card = read_card(tmp_path / "kind")
    assert isinstance(card, EncoderCard)
    assert card.encoder.identity == embedding.encoder.manifest.identity
    assert (card.window, card.read, card.over) == (32, "every 4", "mean")
    assert card.data is not None
    assert card.data.rows == 120
    assert card.metrics["auroc"].value > 0.8
    assert card.training["prefixes"] == 1
    assert "analyzer" not in card.training, "what is said of words says nothing here"
    found = load_folder(done.folder, encoders=[encoder])
    assert isinstance(found, EncoderClassifier)
    scores = found.predict(["thanks very kind " * 3, "money back " * 3])[:, 0]
    assert scores[0] > 0.5 > scores[1]


def test_training_is_the_same_twice(encoder: Path, tmp_path: Path) -> None:
    """The same rows and encoder give the same bytes."""
    settings = Settings(encoder=open_embedding(encoder), positive="kind", tune=0.2, test=0.2)
    for name in ("one", "two"):
        train(_examples(40), settings, About("kind"), tmp_path / name)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def _write(path: Path, rows: list[Example]) -> None:
    path.write_text("\n".join(json.dumps({"text": row.text, "label": row.label}) for row in rows))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE)
    _write(folder / "one.jsonl", _examples(60, "first", seed=1))
    _write(folder / "other.jsonl", _examples(40, "second", seed=2))
    return folder


def test_a_recipe_trains_on_its_encoder(recipe: Path, encoder: Path, tmp_path: Path) -> None:
    """Sources left out, beginnings, streams and thresholds are judged as for words."""
    built = train_recipe(recipe, None, tmp_path / "out", encoder=encoder)
    sheets = {(sheet.source, sheet.seen) for sheet in built.evaluation.sheets}
    assert ("./other.jsonl", "source left out") in sheets
    assert built.evaluation.streamed
    assert built.evaluation.thresholds
    card = read_card(tmp_path / "out")
    assert isinstance(card, EncoderCard)
    assert (card.read, card.window) == ("every 4", 32)


def test_the_encoder_of_a_recipe_must_be_given_and_fit(recipe: Path, encoder: Path, tmp_path: Path) -> None:
    """None, another name, one that classifies by itself, and one that no recipe names are told."""
    out = tmp_path / "out"
    with pytest.raises(ClassifierError, match=r"reads with the encoder bert; name its folder with --encoder"):
        train_recipe(recipe, None, out)
    with pytest.raises(ClassifierError, match="is the encoder roberta, and the recipe names bert"):
        train_recipe(recipe, None, out, encoder=encoder.parent / "roberta")
    make_model(tmp_path / "model", labels=["a", "b"])
    exported(tmp_path / "model", tmp_path / "bert")
    with pytest.raises(ClassifierError, match="is a sequence classifier with labels of its own"):
        train_recipe(recipe, None, out, encoder=tmp_path / "bert")
    text = RECIPE.replace("encoder: {name: bert, window: 32, read: every 4}", "")
    (recipe / "recipe.yaml").write_text(text)
    with pytest.raises(ClassifierError, match="its recipe names no encoder; leave --encoder out"):
        train_recipe(recipe, None, out, encoder=encoder)
    for more in ("vectorizer: {analyzer: char}", "windows: {every: 8, open: 2}"):
        (recipe / "recipe.yaml").write_text(RECIPE + more + "\n")
        with pytest.raises(ClassifierError, match="with an encoder there are no vectorizer and no windows"):
            train_recipe(recipe, None, out, encoder=encoder)


def test_a_table_is_trained_from_the_command_line(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``train --data --encoder`` writes what ``eval`` reads with the encoder of the environment."""
    _write(tmp_path / "rows.jsonl", _examples(60))
    command = [sys.executable, "-m", "guardsteer", "classifiers"]
    rows = ["--data", str(tmp_path / "rows.jsonl"), "--positive", "kind", "--json"]
    trained = subprocess.run(
        [*command, "train", *rows, "--encoder", str(encoder), "--out", str(tmp_path / "kind")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["metrics"]["auroc"]["value"] > 0.8
    evaluate = [*command, "eval", str(tmp_path / "kind"), *rows]
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    lost = subprocess.run(evaluate, capture_output=True, text=True, timeout=120)
    assert lost.returncode == 2
    assert "reads with the encoder bert" in lost.stderr
    monkeypatch.setenv(ENVIRONMENT, str(encoder))
    found = subprocess.run(evaluate, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
