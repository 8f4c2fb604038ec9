"""How much of each trait of the library a reply shows: readers trained on the recipes' own pairs.

Steering for one trait may move others. Every recipe with replies gives a reader: a linear model over
character n-grams, fitted on its extraction and tuning pairs and judged on its test pairs, where nothing was
fitted. It knows the wordings of those pairs alone, so a change that it sees is a hint to look at the replies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from guardsteer.assets import Catalog
from guardsteer.errors import AssetError, GuardsteerError
from guardsteer.lab.metrics.agreement import metrics_for
from guardsteer.lab.pairs.contrast import ContrastPair, Recipe
from guardsteer.lab.pairs.prompts import Prompt
from guardsteer.lab.recipes.recipe import load_recipe

__all__ = ["FEWEST_PAIRS", "RELIABLE", "TraitReader", "library_readers", "trait_reader"]

FEWEST_PAIRS = 16
"""Fewer pairs with replies than this make no reader."""

RELIABLE = 0.8
"""Area under the curve, on held-out pairs, below which a reader's change is told and stops nothing."""

_NGRAMS = (2, 5)


@dataclass(frozen=True, slots=True)
class TraitReader:
    """The metric of one recipe's trait: the probability, 0 to 1, that a reply is of its positive side.

    ``auroc``: on the recipe's test pairs, None where it has none. ``pairs``: that it was fitted on.
    """

    name: str
    pairs: int
    auroc: float | None
    _model: Any = field(repr=False, compare=False)

    @property
    def reliable(self) -> bool:
        """True where it tells the trait's held-out pairs apart well enough to go by."""
        return self.auroc is not None and self.auroc >= RELIABLE

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:  # noqa: ARG002  # the signature of a metric
        """Return one probability a reply."""
        return [float(value) for value in self._model.predict_proba(list(replies))[:, 1]] if replies else []


def trait_reader(recipe: Recipe) -> TraitReader:
    """Return the reader of a recipe's trait; the same pairs give the same one.

    Raises ``AssetError`` for a recipe with fewer than ``FEWEST_PAIRS`` pairs with replies to fit on.
    """
    fitted = [pair for part in ("extraction", "tuning") for pair in _spoken(recipe, part)]
    if len(fitted) < FEWEST_PAIRS:
        raise AssetError(
            f"trait {recipe.name!r}: {len(fitted)} pairs with replies to learn from, expected {FEWEST_PAIRS} "
            "or more; write replies into its pairs, or judge it by another metric"
        )
    model = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=_NGRAMS, sublinear_tf=True),
        LogisticRegression(max_iter=1000),
    )
    texts, labels = _sides(fitted)
    model.fit(texts, labels)
    held_out = _spoken(recipe, "test")
    auroc = None
    if held_out:
        texts, labels = _sides(held_out)
        found = metrics_for(2)["auroc"](np.asarray(labels), model.predict_proba(texts))
        auroc = round(found, 4)
    return TraitReader(recipe.name, len(fitted), auroc, model)


def library_readers(
    catalog: Catalog | None = None, *, without: Sequence[str] = ()
) -> tuple[TraitReader, ...]:
    """Return a reader for each recipe of the catalogue that can have one, by name.

    ``without``: names left out, such as that of the vector which is calibrated. A recipe that cannot be read,
    or has too few replies, is left out too: a side effect that cannot be told is no reason to stop.
    """
    catalog = catalog or Catalog()
    found = []
    for name in catalog.names("vectors"):
        if name in without:
            continue
        try:
            found.append(trait_reader(load_recipe(catalog.find("vectors", name))))
        except GuardsteerError:
            continue
    return tuple(found)


def _spoken(recipe: Recipe, part: Any) -> list[ContrastPair]:
    return [pair for pair in recipe.part(part) if pair.positive.reply and pair.negative.reply]


def _sides(pairs: Sequence[ContrastPair]) -> tuple[list[str], list[int]]:
    texts = [side.reply or "" for pair in pairs for side in (pair.positive, pair.negative)]
    return texts, [1, 0] * len(pairs)
