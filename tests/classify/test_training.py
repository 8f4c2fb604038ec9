"""Training: reproducible, split by text, with figures of rows that were kept out."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import roc_auc_score

from guardsteer.classify import LinearClassifier, load_folder
from guardsteer.classify.files.card import read_card
from guardsteer.classify.probe import load_probe
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.data import Example, part_of, read_examples
from guardsteer.lab.classifiers.sklearn_models import from_sklearn
from guardsteer.lab.classifiers.train import About, Settings, train
from guardsteer.lab.metrics.agreement import metrics_for, operating_points, with_intervals
from guardsteer.lab.probes.train import train_probe

ANGRY = ("useless", "terrible", "awful", "broken again", "worst service", "angry")
CALM = ("thanks", "lovely", "great help", "kind of you", "best service", "happy")
THINGS = ("invoice", "router", "account", "refund", "phone", "delivery", "password", "seat", "plan", "card")


def examples(count: int = 600, labels: tuple[str, ...] = ("calm", "angry")) -> list[Example]:
    chooser = random.Random(7)
    rows = []
    for number in range(count):
        label = labels[number % len(labels)]
        word = chooser.choice(ANGRY if label == "angry" else CALM)
        mark = "" if label in ("calm", "angry") else f" {label} "
        rows.append(Example(f"{word} {mark} my {chooser.choice(THINGS)} number {number}", label))
    return rows


def test_the_written_classifier_does_what_its_card_says(tmp_path: Path) -> None:
    done = train(
        examples(), Settings(positive="angry"), About("mood", licence="Apache-2.0"), tmp_path / "mood"
    )
    loaded = load_folder(done.folder)
    assert isinstance(loaded, LinearClassifier)
    assert loaded.outputs == ("score",)
    test = [row for row in examples() if part_of(row.text, seed=0, tune=0.1, test=0.1) == "test"]
    said = loaded.predict([row.text for row in test])[:, 0] >= 0.5
    accuracy = float(np.mean(said == np.array([row.label == "angry" for row in test])))
    assert done.metrics["accuracy"]["value"] == pytest.approx(accuracy, abs=1e-6)
    assert accuracy > 0.95
    assert done.metrics["accuracy"]["rows"] == len(test)
    readme = (done.folder / "README.md").read_text()
    assert "Apache-2.0" in readme
    assert f"{accuracy:.4f}" in readme


@pytest.mark.parametrize("model", ["logistic", "sgd"])
def test_training_twice_gives_the_same_bytes(tmp_path: Path, model: str) -> None:
    settings = Settings(positive="angry", model="sgd" if model == "sgd" else "logistic")
    for out in ("one", "two"):
        train(examples(300), settings, About("mood"), tmp_path / out)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_texts_alike_but_for_case_and_spaces_share_a_part() -> None:
    for number in range(200):
        parts = {
            part_of(text, seed=3, tune=0.3, test=0.3)
            for text in (f"Hello world {number}", f"  hello   WORLD {number}\n")
        }
        assert len(parts) == 1


def test_a_text_keeps_its_part_when_the_data_grows_and_shares_hold() -> None:
    drawn = [part_of(f"text {number}", seed=0, tune=0.1, test=0.2) for number in range(4000)]
    assert drawn.count("test") / 4000 == pytest.approx(0.2, abs=0.03)
    assert drawn.count("tune") / 4000 == pytest.approx(0.1, abs=0.03)
    assert drawn != [part_of(f"text {number}", seed=1, tune=0.1, test=0.2) for number in range(4000)]


def test_repeated_texts_count_once(tmp_path: Path) -> None:
    rows = examples(300)
    shouted = [Example(row.text.upper(), row.label) for row in rows]
    done = train([*rows, *shouted], Settings(positive="angry"), About("mood"), tmp_path / "mood")
    data = read_card(done.folder).data
    assert data is not None
    assert data.rows == 300 == data.train + data.tune + data.test


def test_more_labels_give_an_output_each(tmp_path: Path) -> None:
    rows = examples(600, ("Billing issue", "tech-support", "calm"))
    done = train(
        rows, Settings(vectorizer="hashing", analyzer="word", ngrams=(1, 2)), About("topic"), tmp_path / "t"
    )
    loaded = load_folder(done.folder)
    assert isinstance(loaded, LinearClassifier)
    assert loaded.outputs == ("billing_issue", "calm", "tech_support")
    np.testing.assert_allclose(loaded.predict(["great help calm"]).sum(), 1.0)
    assert done.metrics["accuracy"]["value"] > 0.9
    assert {point["output"] for point in done.operating_points} <= set(loaded.outputs)


@pytest.mark.parametrize(
    ("rows", "settings", "reason"),
    [
        (examples(), Settings(), "which of two labels is positive"),
        (examples(), Settings(positive="furious"), "furious"),
        (examples(600, ("a", "b", "c")), Settings(positive="a"), "leave it out"),
        (examples(600, ("a b", "a-b", "c")), Settings(), "differ in more"),
        (examples(6), Settings(positive="angry"), "has 3 examples"),
        ([*examples(), Example(" ", "calm")], Settings(positive="angry"), "no text"),
        ([*examples(), Example("\ud800", "calm")], Settings(positive="angry"), "surrogate"),
        ([Example(f"t {n}", "calm") for n in range(50)], Settings(), "two labels at least"),
        (examples(20), Settings(positive="angry", test=0.0), "fell into the part 'test'"),
        (examples(), Settings(positive="angry", min_count=601), "no features"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    tmp_path: Path, rows: list[Example], settings: Settings, reason: str
) -> None:
    with pytest.raises(ClassifierError, match=reason):
        train(rows, settings, About("mood"), tmp_path / "mood")
    assert not (tmp_path / "mood").exists()


def test_files_are_read_or_refused_by_line(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["said", "mood"], ["hello,\nyou", "calm"], ["go away", "angry"]])
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"said": "hello,\\nyou", "mood": "calm"}\n\n{"said": "go away", "mood": "angry"}\n')
    expected = [Example("hello,\nyou", "calm"), Example("go away", "angry")]
    for path in (table, lines):
        assert read_examples(path, text_column="said", label_column="mood") == expected
    lines.write_text('{"said": "hello", "mood": "calm"}\n{"said": null, "mood": "calm"}\n[]\n')
    with pytest.raises(ClassifierError) as caught:
        read_examples(lines, text_column="said", label_column="mood")
    assert [problem.line for problem in caught.value.problems] == [2, 3]
    for broken in ("{", "\x00", "[" * 100_000):
        lines.write_text(broken)
        with pytest.raises(ClassifierError):
            read_examples(lines, text_column="said", label_column="mood")
    with pytest.raises(ClassifierError, match="cannot be read"):
        read_examples(tmp_path / "absent.csv", text_column="said", label_column="mood")


@pytest.mark.parametrize(
    ("vectorizer", "reason"),
    [
        (TfidfVectorizer(stop_words="english"), "stop_words"),
        (TfidfVectorizer(token_pattern=r"\w+"), "token_pattern"),
        (TfidfVectorizer(tokenizer=str.split, token_pattern=None), "tokenizer"),
        (TfidfVectorizer(norm="l1"), "norm"),
        (HashingVectorizer(preprocessor=str.upper), "preprocessor"),
    ],
)
def test_settings_that_no_stream_follows_are_refused(
    vectorizer: TfidfVectorizer | HashingVectorizer, reason: str
) -> None:
    texts = ["some words here", "other words there"]
    model = LogisticRegression().fit(vectorizer.fit_transform(texts), [0, 1])
    with pytest.raises(ClassifierError, match=reason):
        from_sklearn(vectorizer, model, ["score"])


def test_models_without_probabilities_or_with_other_outputs_are_refused() -> None:
    vectorizer = TfidfVectorizer()
    features = vectorizer.fit_transform(["some words here", "other words there"])
    with pytest.raises(ClassifierError, match="log_loss"):
        from_sklearn(vectorizer, SGDClassifier().fit(features, [0, 1]), ["score"])
    with pytest.raises(ClassifierError, match="1 outputs, 2 were named"):
        from_sklearn(vectorizer, LogisticRegression().fit(features, [0, 1]), ["a", "b"])
    with pytest.raises(ClassifierError, match="not fitted"):
        from_sklearn(vectorizer, LogisticRegression(), ["score"])


def test_a_probe_finds_a_planted_direction_in_raw_states(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    labels = ["harm" if number % 2 else "safe" for number in range(800)]
    hidden = generator.normal(size=(800, 16)) * np.array([50.0, *[1.0] * 15]) + 7.0
    hidden[1::2, 5] += 6.0
    done = train_probe(
        hidden,
        labels,
        [f"text {number}" for number in range(800)],
        block=2,
        fingerprint="b3:" + "1" * 64,
        dtype="float32",
        settings=Settings(positive="harm"),
        about=About("harm-probe"),
        out=tmp_path / "probe",
    )
    assert done.metrics["auroc"]["value"] > 0.99
    loaded = load_probe(done.folder)
    assert (loaded.block, loaded.width, loaded.outputs) == (2, 16, ("score",))
    scores = loaded.score(torch.from_numpy(hidden))[:, 0].numpy()
    assert np.mean((scores >= 0.5) == np.array([label == "harm" for label in labels])) > 0.98
    with pytest.raises(ClassifierError, match="not finite"):
        train_probe(
            hidden * np.nan,
            labels,
            labels,
            block=2,
            fingerprint="b3:0",
            dtype="float32",
            settings=Settings(positive="harm"),
            about=About("harm-probe"),
            out=tmp_path / "none",
        )


def test_intervals_hold_the_figure_and_narrow_with_rows() -> None:
    generator = np.random.default_rng(0)

    def width(rows: int) -> float:
        labels = generator.integers(0, 2, rows)
        positive = np.clip(labels * 0.3 + generator.random(rows) * 0.7, 0, 1)
        found = with_intervals(
            labels, np.stack([1 - positive, positive], 1), metrics_for(2), seed=1, resamples=200
        )
        for measure in found.values():
            assert measure["low"] <= measure["value"] <= measure["high"]
        return float(found["auroc"]["high"] - found["auroc"]["low"])

    assert width(4000) < width(250)


def test_auroc_counts_ties_as_half() -> None:
    labels = np.array([0, 0, 1, 1, 0, 1])
    scores = np.array([0.1, 0.4, 0.4, 0.8, 0.8, 0.8])
    found = with_intervals(labels, np.stack([1 - scores, scores], 1), metrics_for(2), seed=0, resamples=50)
    assert found["auroc"]["value"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)


def test_a_threshold_keeps_the_false_positive_rate_that_it_is_for() -> None:
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 2, 20_000)
    scores = 1 / (1 + np.exp(-generator.normal(size=20_000) - 2.0 * labels))
    half = (labels[:10_000], scores[:10_000]), (labels[10_000:], scores[10_000:])
    rates = [point["false_positive_rate"] for point in operating_points("score", *half)]
    np.testing.assert_allclose(rates, [0.01, 0.02, 0.05], atol=0.008)
