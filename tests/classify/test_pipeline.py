"""Whole scikit-learn pipelines, converted."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB, ComplementNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline

from guardsteer.classify.load import load_folder
from guardsteer.classify.pipeline import PipelineClassifier
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.data import Example
from guardsteer.lab.classifiers.fitting import About, Settings
from guardsteer.lab.classifiers.pipelines import named_pipeline, train_pipeline, write_pipeline
from tests.classify.folders import edit_card, redigest
from tests.classify.models import TEXTS

_DRAW = random.Random(3)
_ANGRY = [
    "give me my money back",
    "useless, all of you",
    "this is a disgrace",
    "refund me now",
    "I am furious",
]
_CALM = ["thank you so much", "what a lovely day", "could you help me please", "how do I pay", "good morning"]
_ROWS = [
    (
        f"{_DRAW.choice(part)} {_DRAW.choice(['today', 'again', 'Ms Ångström', 'ΟΔΟΣ', 'ok 😀'])} {place}",
        label,
    )
    for place in range(60)
    for part, label in ((_ANGRY, 1), (_CALM, 0))
]
_PIPELINES: dict[str, Any] = {
    "words, reduced": lambda: make_pipeline(
        TfidfVectorizer(), TruncatedSVD(4, random_state=0), LogisticRegression()
    ),
    "characters, Bayes": lambda: make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3), sublinear_tf=True), ComplementNB()
    ),
    "hashed, a network": lambda: make_pipeline(
        HashingVectorizer(analyzer="char", ngram_range=(1, 2), n_features=64),
        MLPClassifier((8,), random_state=0, max_iter=60),
    ),
    "binary, Bayes": lambda: make_pipeline(
        TfidfVectorizer(binary=True, use_idf=False, norm=None), BernoulliNB()
    ),
    "a forest": lambda: make_pipeline(
        TfidfVectorizer(binary=True, use_idf=False, norm=None), RandomForestClassifier(5, random_state=0)
    ),
}


def _fitted(name: str, classes: int = 2) -> Pipeline:
    texts = [text for text, _ in _ROWS]
    labels = [label if classes == 2 else (label + place) % classes for place, (_, label) in enumerate(_ROWS)]
    made: Pipeline = _PIPELINES[name]().fit(texts, labels)
    return made


def _written(folder: Path, pipeline: Pipeline, outputs: tuple[str, ...] = ("score",)) -> PipelineClassifier:
    texts = [text for text, _ in _ROWS]
    write_pipeline(folder, pipeline, outputs, {"name": "own"}, texts=texts, read="every 2")
    found = load_folder(folder)
    assert isinstance(found, PipelineClassifier)
    return found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", _PIPELINES)
def test_the_scores_are_the_pipelines(name: str, tmp_path: Path) -> None:
    """On texts of every script, the ones that it never saw too."""
    pipeline = _fitted(name)
    found = _written(tmp_path, pipeline)
    texts = [*TEXTS, "", "Back to MONEY: now!", *(text for text, _ in _ROWS)]
    assert np.allclose(found.predict(texts)[:, 0], pipeline.predict_proba(texts)[:, 1], atol=1e-4)
    assert found.predict([]).shape == (0, 1)


def test_several_classes_have_an_output_each(tmp_path: Path) -> None:
    """In the order of the model's classes."""
    pipeline = _fitted("words, reduced", classes=3)
    found = _written(tmp_path, pipeline, ("a", "b", "c"))
    assert np.allclose(found.predict(TEXTS), pipeline.predict_proba(list(TEXTS)), atol=1e-4)


def test_a_stream_is_read_where_the_card_says(tmp_path: Path) -> None:
    """Scores are those of the text up to there."""
    found = _written(tmp_path, _fitted("words, reduced"))
    state = found.start()
    state.push("refund me")
    assert list(state.scores()) == [0.0]
    state.push(" now you")
    assert list(state.scores()) == [pytest.approx(found.predict(["refund me "])[0, 0], abs=1e-9)]


def test_a_graph_that_is_another_is_refused(tmp_path: Path) -> None:
    """Damaged, or no graph, or one with other inputs."""
    _written(tmp_path / "one", _fitted("words, reduced"))
    model = tmp_path / "one" / "model.onnx"
    whole = model.read_bytes()
    model.write_bytes(whole[:-1] + b"\0")
    with pytest.raises(ClassifierError, match="is not the file that the card names"):
        load_folder(tmp_path / "one")
    model.write_bytes(b"no graph")
    redigest(tmp_path / "one")
    with pytest.raises(ClassifierError, match="cannot be loaded by onnxruntime"):
        load_folder(tmp_path / "one")
    model.write_bytes(whole.replace(b"features", b"signals!"))
    redigest(tmp_path / "one")
    with pytest.raises(ClassifierError, match="expected features in float and probabilities"):
        load_folder(tmp_path / "one")


def test_a_card_that_does_not_fit_its_graph_is_told_when_it_is_asked(tmp_path: Path) -> None:
    """Other outputs than the graph gives end in an error and not in scores."""
    _written(tmp_path, _fitted("words, reduced", classes=3), ("a", "b", "c"))
    edit_card(tmp_path, lambda card: card.update(outputs=["a", "b", "c", "d"]))
    found = load_folder(tmp_path)
    assert isinstance(found, PipelineClassifier)
    with pytest.raises(ClassifierError, match="expected 4 columns"):
        found.predict(["text"])


@pytest.mark.parametrize(
    ("pipeline", "told"),
    [
        (lambda: make_pipeline(CountVectorizer(), ComplementNB()), "CountVectorizer is no TfidfVectorizer"),
        (lambda: make_pipeline(TfidfVectorizer(stop_words=["a"]), ComplementNB()), "its own stop_words"),
        (lambda: make_pipeline(TfidfVectorizer(), TruncatedSVD(2)), "ends in predict_proba"),
    ],
)
def test_what_cannot_be_written_is_refused(pipeline: Any, told: str, tmp_path: Path) -> None:
    """With what it is about."""
    made = pipeline().fit([text for text, _ in _ROWS], [label for _, label in _ROWS])
    with pytest.raises(ClassifierError, match=told):
        write_pipeline(tmp_path, made, ("score",), {"name": "own"}, texts=["a"], read="prompt")


def test_what_the_graph_computes_otherwise_is_refused(tmp_path: Path) -> None:
    """A pipeline that is changed behind the graph's back stands for one that float32 moves."""
    pipeline = _fitted("words, reduced")

    class Moved:
        """The pipeline with other probabilities."""

        steps = pipeline.steps
        classes_ = pipeline.classes_

        def __getitem__(self, part: slice) -> Any:
            return pipeline[part]

        def predict_proba(self, texts: list[str]) -> Any:
            return 1 - pipeline.predict_proba(texts)

    with pytest.raises(ClassifierError, match="on 2 of 2 texts the scores are not the pipeline's"):
        write_pipeline(
            tmp_path,
            Moved(),
            ("score",),
            {"name": "own"},
            texts=["refund me now", "thank you so much"],
            read="prompt",
        )


def test_training_fits_the_function_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From rows to a folder with figures on rows that it did not see, the same bytes each time."""
    (tmp_path / "own_pipeline.py").write_text(
        "from sklearn.feature_extraction.text import TfidfVectorizer\n"
        "from sklearn.naive_bayes import ComplementNB\n"
        "from sklearn.pipeline import make_pipeline\n"
        "def make():\n    return make_pipeline(TfidfVectorizer(), ComplementNB())\n"
        "def wrong():\n    return 1\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_pipeline", raising=False)
    rows = [Example(text, "angry" if label else "calm") for text, label in _ROWS]
    settings = Settings(positive="angry", tune=0.2, test=0.2)
    for name in ("one", "two"):
        made = named_pipeline("own_pipeline:make")
        trained = train_pipeline(rows, made, settings, About("own"), tmp_path / name, read="prompt")
    assert trained.metrics["auroc"]["value"] > 0.9
    for file in ("model.onnx", "vocabulary.json", "weights.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    for name, told in (
        ("own_pipeline:wrong", "made a int"),
        ("own_pipeline:no", "AttributeError"),
        ("x", "MODULE:FUNCTION"),
    ):
        with pytest.raises(ClassifierError, match=told):
            named_pipeline(name)
