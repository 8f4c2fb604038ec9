"""The classifiers that ship: each loads, is small, says whose data it learned from and what it is worth."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from guardsteer.classify.encoders.load import ENVIRONMENT
from guardsteer.classify.files.card import CombinationCard, LinearCard, read_card
from guardsteer.classify.load import load_folder
from guardsteer.errors import ClassifierError
from guardsteer.evaluate import Estimate
from guardsteer.lab.classifiers.combining.recipe import is_stack, load_stack_recipe
from guardsteer.lab.classifiers.eval_file import read_evaluation
from guardsteer.lab.classifiers.eval_text import FIGURES
from guardsteer.lab.classifiers.evaluate import Evaluation
from guardsteer.lab.classifiers.readme import readme_of
from guardsteer.lab.classifiers.recipe import load_classifier_recipe
from guardsteer.lab.classifiers.sources import SOURCES

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent for path in (ROOT / "classifiers").glob("*/classifier.json"))
STACKS = [folder for folder in FOLDERS if is_stack(folder)]
WITH_RECIPE = [folder for folder in FOLDERS if (folder / "recipe.yaml").exists() and folder not in STACKS]
LARGEST_BYTES = 4_000_000


def name(folder: Path) -> str:
    return folder.name


def evaluation_of(folder: Path) -> Evaluation:
    found = read_evaluation(folder)
    assert found is not None
    return found


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_it_loads_and_is_small(folder: Path) -> None:
    if folder not in STACKS or os.environ.get(ENVIRONMENT):
        assert load_folder(folder).outputs
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= LARGEST_BYTES
    assert read_card(folder).licence
    assert read_card(folder).description


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_its_readme_says_what_card_and_evaluation_say(folder: Path) -> None:
    assert (folder / "README.md").read_text(encoding="utf-8") == readme_of(folder)


@pytest.mark.parametrize("folder", WITH_RECIPE, ids=name)
def test_its_card_is_that_of_its_recipe_and_names_every_set_with_its_licence(folder: Path) -> None:
    recipe, card = load_classifier_recipe(folder), read_card(folder)
    assert (recipe.name, recipe.licence) == (card.name, card.licence) == (folder.name, "Apache-2.0")
    assert evaluation_of(folder).failures == recipe.failures
    training = [use for use in recipe.sources if use.purpose == "training"]
    if not training:
        return
    assert isinstance(card, LinearCard)
    assert card.data is not None
    assert (recipe.version, recipe.description) == (card.version, card.description)
    for use in training:
        if use.use in SOURCES:
            assert SOURCES[use.use].ships
            assert SOURCES[use.use].attribution in card.data.sources
    told = json.loads(json.dumps(card.training))
    settings = recipe.settings
    assert (told["seed"], told["prefixes"], told["grouped"]) == (settings.seed, settings.prefixes, True)
    assert settings.ngrams == card.vectorizer.ngrams


@pytest.mark.skipif(bool(os.environ.get(ENVIRONMENT)), reason="the encoder is here")
@pytest.mark.parametrize("folder", STACKS, ids=name)
def test_a_stack_without_its_encoder_says_which_and_how_to_export_it(folder: Path) -> None:
    with pytest.raises(ClassifierError, match=r"all-MiniLM-L6-v2 .*guardsteer classifiers export"):
        load_folder(folder)


@pytest.mark.parametrize("folder", STACKS, ids=name)
def test_a_stack_is_made_of_the_classifiers_that_ship(folder: Path) -> None:
    """A member that was trained again needs the stack trained again."""
    card = read_card(folder)
    assert isinstance(card, CombinationCard)
    for member in card.members:
        if not member.use.startswith("./"):
            found = load_folder(ROOT / "classifiers" / member.use)
            assert (found.digest, tuple(found.outputs)) == (member.digest, member.outputs)


@pytest.mark.parametrize("folder", STACKS, ids=name)
def test_a_stack_is_that_of_its_recipe_and_tells_what_was_left_out(folder: Path) -> None:
    recipe, card, found = load_stack_recipe(folder), read_card(folder), evaluation_of(folder)
    assert isinstance(card, CombinationCard)
    assert (recipe.name, recipe.version, recipe.description) == (card.name, card.version, card.description)
    assert recipe.name == folder.name
    assert [each.first_words for each in recipe.members] == [each.first_words for each in card.members]
    assert found.failures == recipe.failures
    left_out = {sheet.source for sheet in found.sheets if sheet.seen == "source left out"}
    assert set(recipe.left_out) <= left_out
    assert (len(left_out) > len(recipe.left_out)) == bool(recipe.left_out_slices)
    inner = folder / "encoder"
    assert (inner / "README.md").read_text(encoding="utf-8") == readme_of(inner)


@pytest.mark.parametrize("folder", WITH_RECIPE, ids=name)
def test_every_source_that_its_recipe_leaves_out_has_figures(folder: Path) -> None:
    found = evaluation_of(folder)
    left_out = {sheet.source for sheet in found.sheets if sheet.seen == "source left out"}
    assert left_out == set(load_classifier_recipe(folder).left_out)
    for sheet in found.sheets:
        for figure in sheet.figures.values():
            assert figure.low <= figure.value <= figure.high


def told_figure(folder: str, measured: str) -> Estimate:
    """Return the figure that a row of the documentation's table names."""
    found = evaluation_of(ROOT / "classifiers" / folder)
    key, _, where = measured.partition(", ")
    if key == "accuracy in scope":
        accuracies = found.accuracies[where]
        return accuracies.get(key, accuracies["accuracy"])
    if key.startswith("heard within "):
        heard = next(each for each in found.streamed if each.part == where and each.after == 1)
        return heard.caught[key.removeprefix("heard within ")]
    title, name = next((title, name) for name, title in FIGURES.items() if key.endswith(title))
    place, seen = where.removesuffix(")").rsplit(" (", 1)
    outputs = {key.removesuffix(title).strip() or "score", "match"}
    return next(
        sheet.figures[name]
        for sheet in found.sheets
        if place == ": ".join(filter(None, (sheet.source, sheet.slice)))
        and (sheet.seen == seen and sheet.output in outputs)
    )


@pytest.mark.parametrize(("page", "told"), [("classifiers.md", WITH_RECIPE), ("backends.md", STACKS)])
def test_the_table_of_the_documentation_says_what_the_evaluations_say(page: str, told: list[Path]) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    row = r"^\| `([a-z-]+)` \|[^|]*\| ([^|]+) \| ([\d.]+) \(([\d.]+) to ([\d.]+)\) \|$"
    rows = re.findall(row, text, flags=re.MULTILINE)
    assert {folder for folder, *_ in rows} == {folder.name for folder in told}
    for folder, measured, *figures in rows:
        found = told_figure(folder, measured)
        assert [f"{value:.3f}" for value in (found.value, found.low, found.high)] == figures, (
            folder,
            measured,
        )


def test_the_failures_on_the_page_are_rows_that_the_evaluations_hold() -> None:
    page = (ROOT / "docs" / "classifiers.md").read_text(encoding="utf-8")
    table = page.split("### The failures that weigh most")[1].split("\n\n")[2]
    rows = re.findall(
        r"^\| (?:`([a-z-]+)`)? ?\| “(.+?)” \| ([0-9.]+), (missed|false alarm)", table, re.MULTILINE
    )
    assert len(rows) == 8
    named = ""
    for of, text, score, kind in rows:
        named = of or named
        told = json.loads((ROOT / "classifiers" / named / "evaluation.json").read_text(encoding="utf-8"))
        held = [
            miss
            for miss in told["misses"]
            if miss["kind"] == kind and miss["text"].rstrip("…")[:150] == text.replace("\\!", "!")[:150]
        ]
        assert any(f"{miss['score']:.2f}" == score for miss in held), text
