"""``classifiers train``, ``eval`` and ``show`` from the shell."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from guardsteer.classify.files.card import read_card
from guardsteer.classify.files.writing import write_card
from guardsteer.cli.main import main
from guardsteer.lab.classifiers.disguise import DISGUISES
from guardsteer.lab.classifiers.eval_file import read_evaluation

ANGRY = [
    "awful",
    "terrible",
    "useless",
    "rubbish",
    "broken",
    "horrible",
    "dreadful",
    "nonsense",
    "pathetic",
    "stupid",
]
CALM = ["lovely", "helpful", "great", "thanks", "wonderful", "kind", "pleasant", "perfect", "good", "nice"]
PLAIN = [
    "table",
    "river",
    "morning",
    "letter",
    "garden",
    "window",
    "paper",
    "street",
    "number",
    "school",
    "coffee",
    "music",
    "market",
    "winter",
    "train",
    "bottle",
    "picture",
    "kitchen",
    "weather",
    "holiday",
]

RECIPE = """format: guardsteer.classifier/1
name: mood
description: Whether somebody is angry.
licence: Apache-2.0
positive: angry
sources:
  - {use: ./one.jsonl, labels: {angry: [angry], calm: [calm]}}
  - {use: ./two.jsonl, labels: {angry: [angry], calm: [calm]}}
  - {use: ./three.jsonl, labels: {angry: [angry], calm: [calm]}, purpose: testing}
left_out: [./one.jsonl, ./two.jsonl]
vectorizer: {ngrams: [1, 1], min_count: 1}
model: {penalties: [1.0, 3.0]}
prefixes: {each: 1, shortest: 3, spliced: 1}
split: {tune: 0.25, test: 0.25}
target_false_positive_rate: 0.05
failures: [It knows ten words of either mood.]
"""


def write_rows(path: Path, rows: int, seed: int) -> Path:
    """Write labelled rows that share plain words, each with two words of its mood."""
    draw = random.Random(seed)
    lines = []
    for number in range(rows):
        label, words = (("angry", ANGRY), ("calm", CALM))[number % 2]
        text = " ".join(draw.sample([*draw.sample(PLAIN, 7), *draw.sample(words, 2)], 9))
        lines.append(json.dumps({"text": text, "label": label, "slice": "even" if number % 4 < 2 else "odd"}))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    for seed, (name, rows) in enumerate((("one", 200), ("two", 160), ("three", 80))):
        write_rows(folder / f"{name}.jsonl", rows, seed)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def mood(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "mood"
    assert main(["classifiers", "train", "--recipe", str(recipe), "--out", str(out)]) == 0
    return out


def test_training_a_recipe_twice_gives_the_same_bytes(recipe: Path, mood: Path, tmp_path: Path) -> None:
    words = ["classifiers", "train", "--recipe", str(recipe / "recipe.yaml"), "--out", str(tmp_path / "mood")]
    assert main(words) == 0
    names = {path.name for path in mood.iterdir()}
    assert {"classifier.json", "evaluation.json", "README.md", "model.onnx"} <= names
    for name in names:
        assert (mood / name).read_bytes() == (tmp_path / "mood" / name).read_bytes(), name


def test_a_recipe_gives_a_card_with_figures_on_what_was_left_out(mood: Path) -> None:
    found = read_evaluation(mood)
    assert found is not None
    seen = {(sheet.source, sheet.seen) for sheet in found.sheets}
    assert {("./one.jsonl", "source left out"), ("./three.jsonl", "source for testing")} <= seen
    left = next(s for s in found.sheets if (s.source, s.seen) == ("./one.jsonl", "source left out"))
    assert left.rows == 200
    assert left.figures["auroc"].value > 0.95
    assert found.thresholds[0].holds
    assert {each.after for each in found.streamed} == {1, 3}
    assert any(each.tuned for each in found.streamed)
    training = read_card(mood).training
    assert float(str(training["calibration_slope"])) > 0
    assert training["prefixes"] == 1
    readme = (mood / "README.md").read_text()
    for told in (
        "source left out",
        "Known failures",
        "It knows ten words",
        "Onsets in a stream",
        "testing alone",
    ):
        assert told in readme


def test_what_only_a_source_left_out_could_teach_is_not_known_on_it(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "foreign"
    folder.mkdir()
    for name in ("one", "two", "three"):
        text = (recipe / f"{name}.jsonl").read_text()
        if name == "two":
            for word in (*ANGRY, *CALM):
                text = text.replace(word, word[::-1])
        (folder / f"{name}.jsonl").write_text(text)
    (folder / "recipe.yaml").write_text(RECIPE.replace("left_out: [./one.jsonl, ", "left_out: ["))
    assert main(["classifiers", "train", "--recipe", str(folder), "--out", str(tmp_path / "out")]) == 0
    found = read_evaluation(tmp_path / "out")
    assert found is not None
    auroc = {
        s.seen: s.figures["auroc"].value for s in found.sheets if (s.source, s.slice) == ("./two.jsonl", "")
    }
    assert auroc["test rows"] > 0.9
    assert auroc["source left out"] < 0.7


def test_a_source_that_turns_labels_round_takes_the_threshold_away(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "turned"
    folder.mkdir()
    for name in ("one", "three"):
        (folder / f"{name}.jsonl").write_text((recipe / f"{name}.jsonl").read_text())
    rows = [json.loads(line) for line in (recipe / "two.jsonl").read_text().splitlines()]
    other = {"angry": "calm", "calm": "angry"}
    turned = (json.dumps({**row, "label": other[row["label"]]}) + "\n" for row in rows[:40])
    (folder / "two.jsonl").write_text("".join(turned))
    (folder / "recipe.yaml").write_text(RECIPE)
    assert main(["classifiers", "train", "--recipe", str(folder), "--out", str(tmp_path / "out")]) == 0
    found = read_evaluation(tmp_path / "out")
    assert found is not None
    assert not found.thresholds[0].holds
    assert any("./two.jsonl" in reason for reason in found.thresholds[0].reasons)


def test_eval_tells_figures_streams_and_the_worst_rows(
    mood: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 120, 9)
    words = [
        "classifiers",
        "eval",
        str(mood),
        "--data",
        str(rows),
        "--positive",
        "angry",
        "--stream",
        "--disguise",
    ]
    report = tmp_path / "report.html"
    words += ["--disguise", "--streams", "20"]
    assert main([*words, "--after", "1", "2", "--report", str(report), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 120
    assert told["evaluation"]["sheets"][0]["figures"]["auroc"]["value"] > 0.95
    assert {sheet["slice"] for sheet in told["evaluation"]["sheets"]} == {"", "even", "odd"}
    assert [each["after"] for each in told["evaluation"]["streamed"]] == [1, 2]
    assert told["evaluation"]["streamed"][0]["caught"]["128"]["value"] > 0.2
    capitals, *others = told["evaluation"]["disguised"]
    assert (capitals["disguise"], capitals["change"]["value"]) == ("capitals", 0)
    assert min(other["change"]["value"] for other in others) < 0
    evaluation = read_evaluation(mood)
    assert evaluation is not None
    assert told["threshold"] == evaluation.thresholds[0].value
    assert "ROC" in report.read_text()
    assert main([*words[:4], str(rows), "--positive", "angry"]) == 0
    assert "| all rows (rows given) | 120 | 60 |" in capsys.readouterr().out


def test_eval_of_a_recipe_reads_what_its_classifier_never_saw(
    recipe: Path, mood: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["classifiers", "eval", str(mood), "--sets", str(recipe), "--recipe", str(recipe), "--json"]
    assert main(words) == 0
    unseen = json.loads(capsys.readouterr().out)
    data = read_card(mood).data
    assert data is not None
    assert unseen["rows"] == data.test + 80
    assert unseen["evaluation"]["failures"] == ["It knows ten words of either mood."]
    assert main([*words, "--every-row"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 440


def test_a_classifier_of_patterns_is_evaluated_and_keeps_the_figures(tmp_path: Path) -> None:
    folder = tmp_path / "rude"
    write_card(folder, {"name": "rude", "kind": "patterns", "literals": ANGRY})
    rows = write_rows(tmp_path / "rows.jsonl", 60, 1)
    words = ["classifiers", "eval", str(folder), "--data", str(rows), "--positive", "angry", "--write"]
    assert main(words) == 0
    found = read_evaluation(folder)
    assert found is not None
    assert found.sheets[0].figures["tpr"].value == 1.0
    assert found.sheets[0].figures["fpr"].value == 0.0
    assert "On rows it has not seen" in (folder / "README.md").read_text()


def test_writing_keeps_what_training_told_of_sources_left_out(
    recipe: Path, mood: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(mood, tmp_path / "mood")
    before = read_evaluation(folder)
    assert before is not None
    assert [each.disguise for each in before.disguised] == list(DISGUISES)
    words = ["classifiers", "eval", str(folder), "--sets", str(recipe), "--recipe", str(recipe), "--write"]
    assert main(words) == 2
    assert "what training found on sources left out" in capsys.readouterr().err
    assert read_evaluation(folder) == before
    assert main([*words, "--disguise", "--threshold", "0.9999"]) == 0
    after = read_evaluation(folder)
    assert after is not None
    assert (after.sheets, after.thresholds, after.streamed) == (
        before.sheets,
        before.thresholds,
        before.streamed,
    )
    assert after.disguised != before.disguised


def test_streams_are_cut_by_a_tokenizer_of_ones_own(
    mood: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.lab.chats import chat_tokenizer

    chat_tokenizer().save_pretrained(tmp_path / "words")
    rows = write_rows(tmp_path / "rows.jsonl", 60, 1)
    words = ["classifiers", "eval", str(mood), "--data", str(rows), "--positive", "angry", "--stream"]
    assert main([*words, "--streams", "5", "--tokenizer", str(tmp_path / "words"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evaluation"]["streamed"][0]["tokens"] == "those of words"
    assert main([*words, "--tokenizer", str(tmp_path / "absent")]) == 2
    assert "--tokenizer" in capsys.readouterr().err


def test_a_table_is_trained_on_with_prefixes_and_calibration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 200, 4)
    out = tmp_path / "mood"
    words = ["classifiers", "train", "--data", str(rows), "--out", str(out), "--source", "ours"]
    assert main([*words, "--positive", "angry", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"]["value"] > 0.9
    card = read_card(out)
    assert (card.name, card.data and card.data.sources) == ("mood", ("ours",))
    assert "calibration_slope" in card.training
    assert (
        main([*words, "--positive", "angry", "--hashing", "--analyzer", "char_wb", "--ngrams", "3", "4"]) == 0
    )
    assert main(words) == 2
    assert "which of two labels is positive" in capsys.readouterr().err


def test_training_again_takes_the_old_evaluation_away(mood: Path, tmp_path: Path) -> None:
    out = tmp_path / "mood"
    out.mkdir()
    for path in mood.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    rows = write_rows(tmp_path / "rows.jsonl", 200, 5)
    assert main(["classifiers", "train", "--data", str(rows), "--out", str(out), "--positive", "angry"]) == 0
    assert read_evaluation(out) is None


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["eval", "MOOD", "--data", "ROWS"], "say which label is positive, one of angry, calm"),
        (["eval", "MOOD", "--data", "ROWS", "--positive", "angry", "--threshold", "2"], "0 to 1, got 2"),
        (["eval", "MOOD", "--data", "ROWS", "--positive", "angry", "--after", "0"], "at least 1"),
        (["eval", "MOOD", "--sets", "."], "recipe.yaml"),
        (["eval", "no-such-classifier", "--data", "ROWS"], "no classifier named"),
        (
            ["train", "--data", "ROWS", "--out", "OUT", "--positive", "angry", "--ngrams", "3", "2"],
            "no larger",
        ),
        (
            ["train", "--data", "ROWS", "--out", "OUT", "--positive", "angry", "--sets", "."],
            "go with --recipe",
        ),
        (["train", "--recipe", "OUT", "--out", "OUT"], "recipe.yaml"),
        (["show", "no-such-classifier"], "no classifier named"),
    ],
)
def test_misuse_is_told_with_what_was_expected(
    mood: Path, tmp_path: Path, words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {
        "MOOD": str(mood),
        "ROWS": str(write_rows(tmp_path / "rows.jsonl", 40, 1)),
        "OUT": str(tmp_path / "out"),
    }
    assert main(["classifiers", *(places.get(word, word) for word in words)]) == 2
    assert reason in capsys.readouterr().err


def test_rows_with_labels_of_another_classifier_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a", "label": "angry"}\n{"text": "b", "label": "billing"}\n')
    assert main(["classifiers", "eval", "demo-intent", "--data", str(rows)]) == 2
    assert "the rows have the labels angry" in capsys.readouterr().err


def test_show_lists_all_and_prints_one(mood: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classifiers", "show"]) == 0
    assert "hostility" in capsys.readouterr().out
    assert main(["classifiers", "show", str(mood)]) == 0
    assert capsys.readouterr().out == (mood / "README.md").read_text()
    assert main(["classifiers", "show", str(mood), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["card"]["name"] == "mood"
    assert told["evaluation"]["thresholds"]
    assert main(["classifiers", "show", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["classifiers"]
    assert {"name", "kind", "description", "encoders"} == set(listed[0])
    assert not listed[0]["encoders"]
