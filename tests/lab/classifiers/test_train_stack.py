"""Stacks of words and an encoder's meaning, trained from a recipe."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from guardsteer.classify.combined.combination import CombinationClassifier
from guardsteer.classify.combined.whole import score_whole
from guardsteer.classify.files.card import CombinationCard, read_card
from guardsteer.classify.load import load_folder
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.combining.bench import open_bench
from guardsteer.lab.classifiers.combining.recipe import load_stack_recipe
from guardsteer.lab.classifiers.combining.train import train_stack
from guardsteer.lab.classifiers.data import part_of
from guardsteer.lab.classifiers.eval_file import read_evaluation
from guardsteer.lab.classifiers.fitting import split_rows
from guardsteer.lab.classifiers.train_recipe import train_recipe
from tests.classify.encoder_models import exported, make_model

BASE = """
format: guardsteer.classifier/1
name: base
description: Is it cross?
licence: Apache-2.0
positive: cross
sources:
  - {use: ./one.jsonl, labels: {cross: [cross], calm: [calm]}}
  - {use: ./other.jsonl, labels: {cross: [cross], calm: [calm]}}
vectorizer: {min_count: 1}
model: {penalties: [3.0]}
prefixes: {each: 0}
split: {tune: 0.25, test: 0.25}
target_false_positive_rate: 0.1
"""
STACK = """
format: guardsteer.classifier.stack/1
name: both
description: Is it cross?
licence: Apache-2.0
base: ../base
encoder: {name: tiny, read: every 4, penalties: [1.0]}
members:
  - {use: words}
  - {use: words, first_words: 3}
  - {use: meaning}
  - {use: meaning, first_words: 4}
folds: 3
left_out: [./other.jsonl]
left_out_slices: [[a], [b]]
"""
_WORDS = [
    *("money", "back", "you", "kind", "want", "the", "thanks", "my", "very", "that"),
    *("was", "end", "of", "a", "i", "street", "red", "blue", "green", "seven"),
]


def _rows(seed: int, label_of: Callable[[list[str], random.Random], str], count: int = 90) -> str:
    draw = random.Random(seed)
    lines = []
    for place in range(count):
        words = [draw.choice(_WORDS) for _ in range(draw.randint(5, 12))]
        row = {
            "text": f"{' '.join(words)}. {seed}{place}",
            "label": label_of(words, draw),
            "slice": "ab"[place % 2],
        }
        lines.append(json.dumps(row))
    return "\n".join(lines) + "\n"


def _by_money(words: list[str], draw: random.Random) -> str:
    return "cross" if ("money" in words or "back" in words) != (draw.random() < 0.05) else "calm"


def _by_chance(_: list[str], draw: random.Random) -> str:
    return draw.choice(["cross", "calm"])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported encoder of random weights, by the name that ``STACK`` gives it."""
    root = tmp_path_factory.mktemp("tiny")
    make_model(root / "model")
    exported(root / "model", root / "tiny", pooling="mean")
    return root / "tiny"


def _made(
    root: Path, label_of: Callable[[list[str], random.Random], str] = _by_money, stack: str = STACK
) -> Path:
    """Write both recipes with their rows, train the base, return the folder of the stack's recipe."""
    for folder, text in (("base", BASE), ("recipe", stack)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "recipe.yaml").write_text(text)
    for seed, name in ((1, "one"), (2, "other")):
        (root / "base" / f"{name}.jsonl").write_text(_rows(seed, label_of))
    train_recipe(root / "base", None, root / "base")
    return root / "recipe"


def test_a_stack_is_written_with_its_encoder_and_judged(tmp_path: Path, tiny: Path) -> None:
    """What was judged is what the folder says of whole texts; left out sources and slices are told."""
    recipe = _made(tmp_path)
    built = train_stack(recipe, None, tiny, tmp_path / "both")
    found = load_folder(tmp_path / "both", encoders=(tiny,))
    assert isinstance(found, CombinationClassifier)
    card = read_card(tmp_path / "both")
    assert isinstance(card, CombinationCard)
    assert [(each.use, each.first_words) for each in card.members] == [
        ("../base", None),
        ("../base", 3),
        ("./encoder", None),
        ("./encoder", 4),
    ]
    kept = read_evaluation(tmp_path / "both")
    assert kept is not None
    assert kept.thresholds == built.evaluation.thresholds
    sources = {(sheet.source, sheet.seen) for sheet in built.evaluation.sheets}
    assert ("./other.jsonl", "source left out") in sources
    assert any("each type left out in turn" in source for source, _ in sources)
    whole = next(s for s in built.evaluation.sheets if s.source == "all sources" and not s.slice)
    assert whole.figures["auroc"].value > 0.8
    threshold = built.evaluation.thresholds[0].value
    for miss in built.evaluation.misses:
        if miss.source == "all sources" and not miss.text.endswith("…"):
            score = score_whole(found, [miss.text])[0, 0]
            assert score == pytest.approx(miss.score, abs=1e-5)
            assert (score >= threshold) == (miss.kind == "false alarm")


def test_a_stream_says_at_its_end_what_is_said_of_the_whole(tmp_path: Path, tiny: Path) -> None:
    """Where the encoder's reading is due at the last character, stream and whole text agree."""
    recipe = _made(tmp_path, stack=STACK.replace("every 4", "every 1"))
    train_stack(recipe, None, tiny, tmp_path / "both")
    found = load_folder(tmp_path / "both", encoders=(tiny,))
    assert isinstance(found, CombinationClassifier)
    text = "you want money back. the red street was very kind "
    state = found.start()
    for character in text:
        state.push(character)
        scores = list(state.scores())
    assert scores == [pytest.approx(score_whole(found, [text])[0, 0], abs=1e-5)]


def test_the_same_recipe_gives_the_same_bytes(tmp_path: Path, tiny: Path) -> None:
    """Card, tables and evaluation of stack and encoder."""
    recipe = _made(tmp_path)
    for name in ("one", "two"):
        train_stack(recipe, None, tiny, tmp_path / name)
    for file in (
        "classifier.json",
        "weights.safetensors",
        "evaluation.json",
        "README.md",
        "encoder/classifier.json",
    ):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_members_are_weighed_by_rows_that_they_were_not_trained_on(tmp_path: Path, tiny: Path) -> None:
    """Labels drawn by chance: words know their own rows by heart, and the stack gives that no weight."""
    recipe = _made(tmp_path, _by_chance, STACK.replace("left_out", "# left_out"))
    train_stack(recipe, None, tiny, tmp_path / "both")
    found = load_folder(tmp_path / "both", encoders=(tiny,))
    assert isinstance(found, CombinationClassifier)
    assert found.blend.stack is not None
    assert np.abs(np.array(found.blend.stack.weight)[:2]).sum() < 1.0


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("{use: meaning}", "{use: words}", ""),
        ("use: words}", "use: sense}", "Input should be 'words' or 'meaning'"),
        ("folds: 3", "folds: 1", "greater than or equal to 2"),
        ("base: ../base", "bass: ../base", "Extra inputs"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    """Every mistake at its place."""
    (tmp_path / "recipe.yaml").write_text(
        STACK.replace(old, new).replace(
            "{use: meaning, first_words: 4}", "{use: words}" if not told else "{use: meaning}"
        )
    )
    with pytest.raises(ClassifierError) as caught:
        load_stack_recipe(tmp_path)
    assert (told or "no member is 'meaning'") in str(caught.value)


def test_an_encoder_of_another_name_is_refused(tmp_path: Path, tiny: Path) -> None:
    """The recipe says which encoder its figures were taken with."""
    recipe = _made(tmp_path, stack=STACK.replace("name: tiny", "name: large"))
    with pytest.raises(ClassifierError, match="holds the encoder 'tiny', the recipe names 'large'"):
        train_stack(recipe, None, tiny, tmp_path / "both")


ROWS = "base: ../base\nrows: ./rows.yaml"


def _with_rows_of_its_own(root: Path, rows: str = BASE) -> Path:
    """Return a recipe that brings its rows, beside a base whose own recipe has none to train on."""
    recipe = _made(root, stack=STACK.replace("base: ../base", ROWS))
    (recipe / "rows.yaml").write_text(rows)
    for seed, name in ((1, "one"), (2, "other")):
        (recipe / f"{name}.jsonl").write_text(_rows(seed, _by_money))
    (root / "base" / "recipe.yaml").unlink()
    return recipe


def test_a_stack_can_bring_the_rows_that_its_base_has_no_recipe_for(tmp_path: Path, tiny: Path) -> None:
    """It is trained on them, judged on what is left out of them, and its member is the base as it is."""
    recipe = _with_rows_of_its_own(tmp_path)
    built = train_stack(recipe, None, tiny, tmp_path / "both")
    card = read_card(tmp_path / "both")
    assert isinstance(card, CombinationCard)
    assert card.members[0].digest == load_folder(tmp_path / "base").digest
    assert ("./other.jsonl", "source left out") in {(s.source, s.seen) for s in built.evaluation.sheets}


def test_rows_that_the_base_learned_from_are_not_judged(tmp_path: Path, tiny: Path) -> None:
    """A group may stand in the test part with texts that the base, which knew no groups, was trained on."""
    recipe = _with_rows_of_its_own(tmp_path)
    grouped = [json.loads(line) for line in (recipe / "one.jsonl").read_text().splitlines()]
    for place, row in enumerate(grouped):
        row["group"] = f"group {place // 6}"
    (recipe / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in grouped))
    bench, _, _ = open_bench(load_stack_recipe(recipe), recipe, None, tiny)
    drawn, _ = split_rows(bench.examples, bench.classes, bench.base.settings)
    own = {row.text: part_of(row.text, seed=0, tune=0.25, test=0.25) for row in bench.examples}
    assert {own[text] for text in bench.texts(bench.part("test"))} == {"test"}
    assert "train" not in {own[text] for text in bench.texts(bench.part("tune"))}
    assert "train" in {own[bench.examples[row].text] for row in drawn["test"]}
    assert list(bench.part("train")) == list(drawn["train"])


def test_rows_of_another_split_than_the_base_are_refused(tmp_path: Path, tiny: Path) -> None:
    """Nobody could say then which rows the base has seen."""
    recipe = _with_rows_of_its_own(tmp_path, BASE.replace("test: 0.25", "test: 0.2"))
    with pytest.raises(ClassifierError, match=r"splits by .*0\.2\}, the base's card says .*0\.25\}"):
        train_stack(recipe, None, tiny, tmp_path / "both")
