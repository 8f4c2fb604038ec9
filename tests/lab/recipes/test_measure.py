"""A recipe says by which metric its vector is judged; every mistake in that is told where it stands."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest

from guardsteer.errors import AssetError
from guardsteer.lab.measure.metrics import KINDS, metric_named
from guardsteer.lab.pairs.contrast import Measure
from guardsteer.lab.pairs.pair_files import write_recipe
from guardsteer.lab.pairs.prompts import Prompt
from guardsteer.lab.recipes import measure as recipe_measure
from guardsteer.lab.recipes.recipe import load_recipe
from tests.lab.chats import pairs, recipe

REPOSITORY = Path(__file__).resolve().parents[3]
SHIPPED = sorted(path.parent for path in REPOSITORY.glob("vectors/*/recipe.yaml"))
HEAD = """\
format: guardsteer.recipe/1
name: warmth
version: 1.0.0
trait: The answer is warm.
description: A test.
licence: Apache-2.0
read: assistant_mean
split: {extraction: 100, tuning: 0, test: 0}
measure:
"""
WHOLE = """\
  metric: vader
  direction: down
  gain: 0.25
  perplexity_ratio: 2
  prompts: ../prompts.txt
"""


def _folder(tmp_path: Path, measure: str) -> Path:
    made = write_recipe(recipe(), tmp_path / "warmth")
    (made / "recipe.yaml").write_text(HEAD + measure)
    return made


def test_a_measure_is_read_and_written_again_as_it_was(tmp_path: Path) -> None:
    found = load_recipe(_folder(tmp_path, WHOLE))
    assert found.measure == Measure("vader", False, 0.25, 2.0, "../prompts.txt")
    again = load_recipe(write_recipe(recipe(pairs(), measure=found.measure), tmp_path / "two" / "warmth"))
    assert again.measure == found.measure


def test_a_recipe_without_a_measure_has_none(tmp_path: Path) -> None:
    assert load_recipe(write_recipe(recipe(), tmp_path / "warmth")).measure is None


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("metric: vader", "metric: vadr", "10:3: field 'measure.metric': 'vadr': there is no such metric"),
        ("metric: vader", "metric: 'regex:('", "10:3: field 'measure.metric': 'regex:(': missing )"),
        (
            "metric: vader",
            "metric: 'python:os:system'",
            "10:3: field 'measure.metric': a recipe may not",
        ),
        ("metric: vader", "metric: 'classifier:./mine'", "10:3: field 'measure.metric': got 'classifier:./"),
        ("metric: vader", "metric: 'classifier:'", "10:3: field 'measure.metric': got 'classifier:'"),
        ("  metric: vader\n", "", "9:1: field 'measure.metric' is missing"),
        ("gain:", "gian:", "12:3: unknown field 'measure.gian' (did you mean 'gain'?)"),
        ("gain: 0.25", "gain: 0", "12:3: field 'measure.gain': got 0"),
        ("gain: 0.25", "gain: .inf", "12:3: field 'measure.gain': got '.inf'"),
        ("gain: 0.25", "gain: '0.25'", "12:3: field 'measure.gain': got '0.25'"),
        ("down", "sideways", "11:3: field 'measure.direction': got 'sideways'"),
        ("ratio: 2", "ratio: 0.5", "13:3: field 'measure.perplexity_ratio': got 0.5"),
        ("../prompts.txt", "/etc/passwd", "14:3: field 'measure.prompts': got '/etc/passwd'"),
        ("../prompts.txt", "prompts.csv", "14:3: field 'measure.prompts': got 'prompts.csv'"),
    ],
)
def test_every_mistake_of_a_measure_is_told_with_line_and_column(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    folder = _folder(tmp_path, WHOLE.replace(before, after))
    with pytest.raises(AssetError) as caught:
        load_recipe(folder)
    assert f"{folder / 'recipe.yaml'}:{message}" in str(caught.value)


def test_two_mistakes_of_a_measure_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(AssetError) as caught:
        load_recipe(_folder(tmp_path, WHOLE.replace("vader", "vadr").replace("down", "sideways")))
    assert len(caught.value.problems) == 2


def test_a_measure_that_is_no_mapping_is_refused_where_it_stands(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "")
    (folder / "recipe.yaml").write_text(HEAD.replace("measure:", "measure: vader"))
    with pytest.raises(AssetError, match=r"recipe.yaml:9:1: field 'measure': got 'vader'"):
        load_recipe(folder)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_the_metric_of_a_shipped_recipe_tells_its_own_held_out_sides_apart(folder: Path) -> None:
    found = load_recipe(folder)
    assert found.measure is not None
    metric = metric_named(found.measure.metric)
    held_out = (*found.part("tuning"), *found.part("test"))
    prompts = [Prompt(pair.id, pair.messages) for pair in held_out]
    positive, negative = (
        mean(metric(prompts, [side.reply or "" for side in sides]))
        for sides in ([pair.positive for pair in held_out], [pair.negative for pair in held_out])
    )
    gap = positive - negative if found.measure.up else negative - positive
    assert gap > 2 * (found.measure.gain or 0.05)


def test_what_a_recipe_may_look_up_is_what_the_register_looks_up() -> None:
    assert set(recipe_measure._LOOKED_UP) == {name for name, kind in KINDS.items() if kind.needs}
    assert all(KINDS[name].form == form for name, form in recipe_measure._LOOKED_UP.items())
