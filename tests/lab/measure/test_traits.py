"""Every recipe gives a reader of its trait: learned from its own pairs, judged on held-out ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from guardsteer.assets import Catalog
from guardsteer.errors import AssetError
from guardsteer.lab.measure.metrics import metric_named
from guardsteer.lab.measure.traits import library_readers, trait_reader
from guardsteer.lab.pairs.contrast import ContrastPair, Side
from guardsteer.lab.recipes.recipe import load_recipe

VECTORS = Path(__file__).resolve().parents[3] / "vectors"


def test_there_is_a_reader_of_every_recipe_but_those_left_out() -> None:
    names = {folder.parent.name for folder in VECTORS.glob("*/recipe.yaml")}
    found = library_readers(without=("empathy",))
    assert {reader.name for reader in found} == names - {"empathy"}
    for reader in found:
        assert reader.auroc is not None
        assert reader.auroc > 0.7, reader.name


def test_a_reader_knows_its_trait_in_sentences_that_no_pair_holds() -> None:
    formal = metric_named("trait:formality")
    high, low = formal(
        [], ["We regret that the request cannot be granted.", "Nah, can't do that, sorry mate!"]
    )
    assert high > 0.5 > low
    assert list(formal([], [])) == []


def test_a_reader_is_fitted_on_nothing_of_the_test_part() -> None:
    recipe = load_recipe(VECTORS / "formality")
    test = {pair.id for pair in recipe.part("test")}
    swapped = [
        replace(pair, positive=pair.negative, negative=pair.positive) if pair.id in test else pair
        for pair in recipe.pairs
    ]
    honest, turned = trait_reader(recipe), trait_reader(replace(recipe, pairs=tuple(swapped)))
    replies = ["We regret the delay.", "Whatever, dude."]
    assert honest([], replies) == turned([], replies)
    assert honest.auroc is not None
    assert turned.auroc == pytest.approx(1 - honest.auroc)


def test_a_recipe_without_replies_has_no_reader_and_is_passed_over(tmp_path: Path) -> None:
    recipe = load_recipe(VECTORS / "formality")
    cued = tuple(
        ContrastPair(pair.id, pair.messages, Side(system="Be kind."), Side(system="Be cold."))
        for pair in recipe.pairs
    )
    with pytest.raises(AssetError, match="0 pairs with replies to learn from"):
        trait_reader(replace(recipe, pairs=cued))
    (tmp_path / "vectors" / "broken").mkdir(parents=True)
    (tmp_path / "vectors" / "broken" / "recipe.yaml").write_text("no: recipe\n")
    assert "broken" not in {reader.name for reader in library_readers(Catalog([tmp_path]))}
