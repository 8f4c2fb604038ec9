"""A stack in training: its rows and parts, its members, and the weights that are fitted to what these say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from guardsteer.assets import Catalog, resolve
from guardsteer.classify.combined.combination import FAR, LEAST
from guardsteer.classify.encoders.encoder import open_encoder
from guardsteer.classify.files.card import read_card
from guardsteer.classify.load import load_member
from guardsteer.classify.words.linear import LinearClassifier
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.combining.members import Fitter, Says, Table, classifier_of
from guardsteer.lab.classifiers.combining.recipe import StackRecipe
from guardsteer.lab.classifiers.data import Example, Part, distinct, part_of
from guardsteer.lab.classifiers.encoders.meaning import Meaning
from guardsteer.lab.classifiers.figures import Floats, threshold_for
from guardsteer.lab.classifiers.fitting import PARTS, Numbers, Settings, classes_of, split_rows
from guardsteer.lab.classifiers.groups import groups_of
from guardsteer.lab.classifiers.recipe import ClassifierRecipe, load_classifier_recipe
from guardsteer.lab.classifiers.rows import Gathered, gather

__all__ = ["Bench", "Rows", "Weighed", "open_bench", "weigh", "weighed_without"]

Rows: TypeAlias = NDArray[np.int64]

_MOST_ITERATIONS = 3000


@dataclass(frozen=True, slots=True)
class Weighed:
    """A stack in numbers, as ``Stack`` has them, with the threshold of its score.

    ``slope`` and ``offset``: the calibration that is folded into weight and bias.
    """

    weight: Floats
    bias: Floats
    center: Floats
    threshold: float = 0.5
    slope: float = 1.0
    offset: float = 0.0

    def says(self, asked: Floats) -> Floats:
        """Return the probabilities [row, output] from what the members say."""
        decisions = _away(asked, self.center) @ self.weight + self.bias
        if decisions.shape[1] == 1:
            return np.asarray(1 / (1 + np.exp(-decisions)))
        parts = np.exp(decisions - decisions.max(axis=1, keepdims=True))
        return np.asarray(parts / parts.sum(axis=1, keepdims=True))


@dataclass(frozen=True, slots=True)
class Bench:
    """All rows of a stack, the parts that they fall into, and what fits its members."""

    recipe: StackRecipe
    base: ClassifierRecipe
    fitter: Fitter
    examples: Sequence[Example]
    groups: NDArray[np.object_]
    classes: list[str]
    outputs: list[str]
    parts: Mapping[Part, Rows]
    numbers: Numbers

    def texts(self, rows: Rows) -> list[str]:
        """Return the texts of rows."""
        return [self.examples[row].text for row in rows]

    def pair(self, rows: Rows) -> tuple[list[str], Numbers]:
        """Return the texts of rows and the numbers of their classes."""
        return self.texts(rows), self.numbers[rows]

    def part(self, part: Part, without: NDArray[np.bool_] | None = None) -> Rows:
        """Return the rows of a part, less those that are left out."""
        rows = self.parts[part]
        return rows if without is None else rows[~without[rows]]


def open_bench(
    recipe: StackRecipe, here: Path, data: Path | None, folder: Path
) -> tuple[Bench, LinearClassifier, Gathered]:
    """Return the bench of a recipe that lies ``here``, its words, and all rows; ``folder``: the encoder's.

    Raises ``ClassifierError`` where base, encoder and recipe do not fit one another.
    """
    catalog = Catalog()
    base = resolve("classifiers", recipe.base, here, catalog)
    base = base if base.is_dir() else base.parent
    words = load_member(recipe.base, here, catalog)
    if not isinstance(words, LinearClassifier):
        raise ClassifierError(
            f"base: {recipe.base!r} is no linear classifier, whose rows a stack could share"
        )
    opened = open_encoder(folder)
    if opened.manifest.name != recipe.encoder.name:
        raise ClassifierError(
            f"{folder}: holds the encoder {opened.manifest.name!r}, the recipe names {recipe.encoder.name!r}"
        )
    source = base if recipe.rows is None else here / recipe.rows
    ground = load_classifier_recipe(source)
    training = read_card(base).training
    chosen = training.get("penalty")
    settings = ground.settings
    if isinstance(chosen, float):
        settings = replace(settings, penalties=(chosen,))
    gathered = gather(ground, source if source.is_dir() else source.parent, data)
    kept = distinct(gathered.training)
    classes, outputs = classes_of(kept, ground.positive)
    if tuple(outputs) != words.outputs:
        raise ClassifierError(f"base: {recipe.base!r} gives {words.outputs}, its recipe {tuple(outputs)}")
    parts, numbers = split_rows(kept, classes, ground.settings)
    if recipe.rows is not None:
        parts = _unseen(kept, parts, training, ground.settings, recipe.rows)
    blank = Table(np.zeros((opened.width, len(outputs))), np.zeros(len(outputs)), 0.0)
    meaning = Meaning(opened, classifier_of(opened, blank, recipe, tuple(outputs)))
    fitter = Fitter(recipe, settings, tuple(outputs), meaning)
    groups = np.array(groups_of(kept), dtype=object)
    return (
        Bench(recipe, ground, fitter, kept, groups, classes, outputs, parts, numbers),
        words,
        gathered,
    )


def _unseen(
    examples: Sequence[Example],
    parts: Mapping[Part, Rows],
    training: Mapping[str, object],
    settings: Settings,
    named: str,
) -> dict[Part, Rows]:
    """Return the parts less the tuning and test rows that the base had in an earlier part of its own.

    Raises ``ClassifierError`` where seed or shares are not those on the base's card.
    """
    ours = {"seed": settings.seed, "tune": settings.tune, "test": settings.test}
    theirs = {name: training.get(name) for name in ours}
    if theirs != ours:
        raise ClassifierError(
            f"rows: {named!r} splits by {ours}, the base's card says {theirs}; take the base's seed and split"
        )
    own = np.array(
        [
            PARTS.index(part_of(row.text, seed=settings.seed, tune=settings.tune, test=settings.test))
            for row in examples
        ]
    )
    return {part: rows[own[rows] >= PARTS.index(part)] for part, rows in parts.items()}


def weigh(
    bench: Bench, without: NDArray[np.bool_] | None, words: Says | None, penalties: Sequence[float] = ()
) -> tuple[Table, Weighed]:
    """Return table and stack, trained without the rows ``without``; ``words`` where they are fitted."""
    fitter, recipe = bench.fitter, bench.recipe
    train, tune = bench.part("train", without), bench.part("tune", without)
    labels = bench.numbers[train]
    held = bench.pair(tune)
    whole = bench.pair(train)
    # One choice for all: folds and twins are trained by the settings of what is written.
    table = fitter.table(whole, held, penalties)
    asked = np.zeros((len(train), len(recipe.members) * len(bench.outputs)))
    folds = StratifiedGroupKFold(recipe.folds, shuffle=True, random_state=bench.base.seed)
    for inside, outside in folds.split(train, labels, bench.groups[train]):
        fold = bench.pair(train[inside])
        says = fitter.words(fold, held), fitter.says_of(fitter.table(fold, held, (table.penalty,)))
        asked[outside] = fitter.asked(*says, bench.texts(train[outside]))
    says = words or fitter.words(whole, held), fitter.says_of(table)
    center = _odds(asked).mean(axis=0)
    model = LogisticRegression(C=recipe.penalty, max_iter=_MOST_ITERATIONS).fit(_away(asked, center), labels)
    weighed = Weighed(model.coef_.T, model.intercept_, center)
    tuned = fitter.asked(*says, held[0])
    if len(bench.outputs) > 1:
        return table, weighed
    weighed = _calibrated(weighed, tuned, held[1])
    target = bench.base.target_false_positive_rate
    threshold = threshold_for(held[1], weighed.says(tuned)[:, 0], target)
    return table, replace(weighed, threshold=threshold)


def _calibrated(weighed: Weighed, asked: Floats, labels: Numbers) -> Weighed:
    """Fold Platt's slope and offset, fitted to the tuning rows, into the stack."""
    decisions = _away(asked, weighed.center) @ weighed.weight + weighed.bias
    platt = LogisticRegression(C=1e6, max_iter=_MOST_ITERATIONS).fit(decisions, labels)
    slope, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    if slope <= 0:
        return weighed
    moved = weighed.weight * slope, weighed.bias * slope + offset
    return replace(weighed, weight=moved[0], bias=moved[1], slope=slope, offset=offset)


def _odds(asked: Floats) -> Floats:
    held = np.clip(asked, LEAST, 1 - LEAST)
    return np.clip(np.log(held / (1 - held)), -FAR, FAR)


def _away(asked: Floats, center: Floats) -> Floats:
    """Return what a stack weighs; a score of exactly 0.0, of nothing read, counts as the mean."""
    return np.asarray(np.where(asked == 0.0, 0.0, _odds(asked) - center))


def weighed_without(bench: Bench, without: NDArray[np.bool_], penalty: float) -> tuple[Weighed, Says]:
    """Return a stack that is trained without some rows, and what it says of whole texts."""
    train, tune = bench.part("train", without), bench.part("tune", without)
    present = set(bench.numbers[train].tolist()) & set(bench.numbers[tune].tolist())
    if len(present) < len(bench.classes):
        lost = ", ".join(name for number, name in enumerate(bench.classes) if number not in present)
        raise ClassifierError(f"without these rows there is none of {lost}; they cannot be left out")
    words = bench.fitter.words(bench.pair(train), bench.pair(tune))
    table, weighed = weigh(bench, without, words, (penalty,))
    meaning = bench.fitter.says_of(table)
    return weighed, lambda texts: weighed.says(bench.fitter.asked(words, meaning, texts))
