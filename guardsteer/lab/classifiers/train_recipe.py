"""Train a classifier from its recipe, and hold it against rows and whole sources that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from guardsteer.assets import Catalog
from guardsteer.classify.encoders.reading import EncoderClassifier
from guardsteer.classify.load import load_folder
from guardsteer.classify.words.linear import LinearClassifier
from guardsteer.classify.words.windows import WindowedClassifier
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.data import Example, Part, distinct
from guardsteer.lab.classifiers.disguise import Disguised, disguised
from guardsteer.lab.classifiers.encoders.embedding import open_embedding
from guardsteer.lab.classifiers.eval_file import write_evaluation
from guardsteer.lab.classifiers.eval_stream import Streamed
from guardsteer.lab.classifiers.evaluate import (
    Evaluation,
    Scored,
    Seen,
    accuracies,
    judge_threshold,
    misses_of,
    sheets_of,
)
from guardsteer.lab.classifiers.figures import Floats, threshold_for
from guardsteer.lab.classifiers.fitting import Numbers, Settings, Training, classes_of, split_rows
from guardsteer.lab.classifiers.prefixes import cut
from guardsteer.lab.classifiers.readme import write_readme
from guardsteer.lab.classifiers.recipe import ClassifierRecipe, load_classifier_recipe
from guardsteer.lab.classifiers.rows import Gathered, gather
from guardsteer.lab.classifiers.text_fitting import Fitted, fit_texts, judged_text
from guardsteer.lab.classifiers.train import train
from guardsteer.lab.classifiers.train_streams import as_classifier, streams_of
from guardsteer.lab.classifiers.trial import load_reader

__all__ = ["Built", "Told", "train_recipe", "unseen_rows"]

Told = Callable[[str], None]
"""Takes a line of progress."""

_PREFIX_WORDS = (4, 8, 16, 32)
_MOST_LEFT_OUT = 8_000


@dataclass(frozen=True, slots=True)
class Built:
    """What training from a recipe gave."""

    training: Training
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class _Rows:
    recipe: ClassifierRecipe
    settings: Settings
    examples: Sequence[Example]
    classes: list[str]
    outputs: list[str]
    parts: dict[Part, NDArray[np.int64]]
    numbers: Numbers

    def part(self, part: Part, *, without: str = "") -> NDArray[np.int64]:
        """Return the rows of a part, less those of one source."""
        rows = self.parts[part]
        return rows[[self.examples[row].source != without for row in rows]] if without else rows

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        return [self.examples[row].text for row in rows]

    def judged(self, rows: Iterable[Example]) -> list[str]:
        """Return what of examples' texts is scored."""
        return [judged_text(row.text, self.settings) for row in rows]

    def chosen(self, rows: NDArray[np.int64]) -> list[Example]:
        return [self.examples[row] for row in rows]


def train_recipe(
    folder: Path, data: Path | None, out: Path, told: Told = lambda _: None, encoder: Path | None = None
) -> Built:
    """Train the recipe in ``folder`` into ``out``, evaluate it, and write card, evaluation and README.

    The classifier learns from every source for training. For each source that the recipe leaves out, another
    is trained without it, by the same settings, and judged on that source. ``encoder``: the folder of the one
    that the recipe names. Raises ``ClassifierError``.
    """
    recipe = load_classifier_recipe(folder)
    settings = _settings(recipe, folder, encoder)
    gathered = gather(recipe, folder if folder.is_dir() else folder.parent, data)
    if not gathered.training:
        raise ClassifierError(f"{folder}: the recipe has no source for training; use classifiers eval")
    told(f"{len(gathered.training)} rows for training, {len(gathered.testing)} for testing")
    rows = _split(recipe, gathered, settings)
    about = replace(recipe.about, sources=gathered.attributions)
    training = train(gathered.training, settings, about, out)
    told(f"trained with the penalty {training.penalty:g}")
    written = load_folder(out, encoders=() if encoder is None else (encoder,))
    if not isinstance(written, LinearClassifier | WindowedClassifier | EncoderClassifier):
        raise ClassifierError(f"{out}: holds another kind of classifier than was written")
    evaluation = _evaluate(rows, written, training, gathered, told)
    write_evaluation(out, evaluation)
    write_readme(out)
    return Built(training, evaluation)


def unseen_rows(folder: Path, data: Path | None, *, every: bool = False) -> list[Example]:
    """Return the rows that a recipe's classifier was not trained or tuned on, or ``every`` row.

    They are the test rows of the sources for training, and all rows of those for testing.
    """
    recipe = load_classifier_recipe(folder)
    gathered = gather(recipe, folder if folder.is_dir() else folder.parent, data)
    if every or not gathered.training:
        return distinct([*gathered.training, *gathered.testing])
    rows = _split(recipe, gathered, recipe.settings)
    return [*rows.chosen(rows.part("test")), *gathered.testing]


def _settings(recipe: ClassifierRecipe, folder: Path, encoder: Path | None) -> Settings:
    """Return how to train, with the encoder that the recipe names."""
    named = recipe.encoder
    if named is None:
        if encoder is not None:
            raise ClassifierError(f"{folder}: its recipe names no encoder; leave --encoder out")
        return recipe.settings
    if encoder is None:
        raise ClassifierError(
            f"{folder}: its recipe reads with the encoder {named.name}; name its folder with --encoder DIR "
            "(guardsteer classifiers export MODEL --out DIR makes one)"
        )
    opened = open_embedding(encoder, read=named.read, window=named.window, over=named.over, name=named.name)
    return replace(recipe.settings, encoder=opened)


def _split(recipe: ClassifierRecipe, gathered: Gathered, settings: Settings) -> _Rows:
    kept = distinct(gathered.training)
    classes, outputs = classes_of(kept, recipe.positive)
    parts, numbers = split_rows(kept, classes, settings)
    return _Rows(recipe, settings, kept, classes, outputs, parts, numbers)


def _evaluate(
    rows: _Rows,
    written: LinearClassifier | WindowedClassifier | EncoderClassifier,
    training: Training,
    gathered: Gathered,
    told: Told,
) -> Evaluation:
    recipe = rows.recipe
    tune = rows.part("tune")
    value = _threshold(rows, tune, written.predict)

    def seen(examples: Sequence[Example], source: str, seen: Seen = "test rows") -> Scored:
        scores = written.predict(rows.judged(examples))
        return Scored(source, seen, examples, scores, value, training.slope, training.offset)

    test = rows.chosen(rows.part("test"))
    everything = seen(test, "all sources")
    # Slices are told once, by source.
    held = [replace(everything, rows=[replace(row, slice="") for row in test])]
    held += [seen([row for row in test if row.source == name], name) for name in _sources(test)]
    for name in _sources(gathered.testing):
        held.append(seen([row for row in gathered.testing if row.source == name], name, "source for testing"))
    for words in _PREFIX_WORDS:
        begun = [replace(row, text=cut(row.text, words), slice="") for row in test]
        held.append(seen(begun, f"all sources, first {words} words"))
    missed_in = [everything]
    heard = _streams(rows, written, value) if len(rows.outputs) == 1 else ()
    for name in recipe.left_out:
        fitted, scored = _left_out(rows, name, training.penalty)
        if recipe.windows is not None:
            heard += _streams_left_out(rows, name, fitted)
        told(f"left out {name}: {len(scored.rows) - len(scored.others)} rows")
        held.append(scored)
        missed_in.append(scored)
    classes, outputs = rows.classes, rows.outputs
    sheets = [sheet for scored in held for sheet in sheets_of(scored, classes, outputs, seed=recipe.seed)]
    thresholds = []
    if len(outputs) == 1:
        positives = tune[rows.numbers[tune] == 1]
        reached = float((written.predict(rows.judged(rows.chosen(positives)))[:, 0] >= value).mean())
        target = recipe.target_false_positive_rate
        thresholds = [judge_threshold(outputs[0], value, target, sheets, tuned_tpr=reached)]
    return Evaluation(
        sheets=tuple(sheets),
        thresholds=tuple(thresholds),
        misses=tuple(miss for scored in missed_in for miss in misses_of(scored, classes, outputs)),
        accuracies={
            _title(each): accuracies(each, classes, recipe.apart) for each in held if len(outputs) > 1
        },
        streamed=heard,
        disguised=_disguises(rows, written, value) if len(outputs) == 1 else (),
        failures=recipe.failures,
    )


def _streams(
    rows: _Rows, written: LinearClassifier | WindowedClassifier | EncoderClassifier, value: float
) -> tuple[Streamed, ...]:
    tune, test = (_for_streams(rows, rows.part(part)) for part in ("tune", "test"))
    recipe = rows.recipe
    return streams_of(
        written, tune, test, rows.classes[-1], seed=recipe.seed, threshold=value, beside=_beside(recipe)
    )


def _disguises(
    rows: _Rows, written: LinearClassifier | WindowedClassifier | EncoderClassifier, value: float
) -> tuple[Disguised, ...]:
    """Return what is raised of the positive test rows when they are written otherwise."""
    positives = [row for row in rows.chosen(rows.part("test")) if row.label == rows.classes[-1]]
    return disguised(
        lambda texts: written.predict(texts)[:, 0], rows.judged(positives), value, seed=rows.recipe.seed
    )


def _streams_left_out(rows: _Rows, name: str, fitted: Fitted) -> tuple[Streamed, ...]:
    """Return what is heard of a source's onsets by what was fitted without it; none where it has no onset."""
    positive, recipe = rows.classes[-1], rows.recipe
    own = [row for row in rows.examples if row.source == name]
    onsets = [row for row in own if row.label == positive]
    if not onsets:
        return ()
    tune, test = (_for_streams(rows, rows.part(part, without=name)) for part in ("tune", "test"))
    leads = {f"onsets of {name}, left out": [row for row in test if row.label != positive]}
    if len(own) > len(onsets):
        answers = [row for row in own if row.label != positive]
        leads[f"onsets of {name} behind its other texts, left out"] = answers
    return tuple(
        heard
        for part, benign in leads.items()
        for heard in streams_of(
            as_classifier(fitted, rows.outputs),
            tune,
            [*onsets, *benign],
            positive,
            seed=recipe.seed,
            part=part,
            beside=_beside(recipe),
        )
    )


def _for_streams(rows: _Rows, places: NDArray[np.int64]) -> list[Example]:
    """Return examples that streams are made of: onsets, and of the others those that are leads."""
    leads, positive = rows.recipe.windows and rows.recipe.windows.leads, rows.classes[-1]
    chosen = rows.chosen(places)
    return [row for row in chosen if not leads or row.label == positive or row.source in leads]


def _beside(recipe: ClassifierRecipe) -> tuple[str, TextClassifier] | None:
    if recipe.windows is None or recipe.windows.beside is None:
        return None
    name = recipe.windows.beside
    return name, load_reader(Catalog().find("classifiers", name))


def _left_out(rows: _Rows, name: str, penalty: float) -> tuple[Fitted, Scored]:
    """Return what was fitted without a source, and the source's rows as it scores them.

    Where it has rows of one class alone, test rows of the other class stand in for the rest.
    """
    places = np.array(
        [place for place, row in enumerate(rows.examples) if row.source == name], dtype=np.int64
    )
    if not len(places):
        known = ", ".join(_sources(rows.examples))
        raise ClassifierError(
            f"left_out names {name!r}, of which there is no row to train on; there are {known}"
        )
    if len(places) > _MOST_LEFT_OUT:
        drawn = np.random.default_rng(rows.recipe.seed).choice(len(places), _MOST_LEFT_OUT, replace=False)
        places = places[np.sort(drawn)]
    settings = replace(rows.settings, penalties=(penalty,))
    train, tune = rows.part("train", without=name), rows.part("tune", without=name)
    missing = set(range(len(rows.classes))) - set(rows.numbers[train].tolist()) & set(
        rows.numbers[tune].tolist()
    )
    if missing:
        lost = ", ".join(rows.classes[each] for each in sorted(missing))
        raise ClassifierError(f"without the source {name!r} there is no row of {lost}; it cannot be left out")
    fitted = fit_texts(
        (rows.texts(train), rows.numbers[train]), (rows.texts(tune), rows.numbers[tune]), settings
    )
    value = _threshold(rows, tune, fitted.predict)
    others: list[int] = []
    if len(rows.classes) == 2 and len(set(rows.numbers[places].tolist())) == 1:
        test = rows.part("test", without=name)
        others = test[rows.numbers[test] != rows.numbers[places[0]]].tolist()
    chosen = rows.chosen(np.array([*places.tolist(), *others], dtype=np.int64))
    return fitted, Scored(
        name,
        "source left out",
        chosen,
        fitted.predict(rows.judged(chosen)),
        value,
        fitted.slope,
        fitted.offset,
        frozenset(range(len(places), len(chosen))),
    )


def _threshold(rows: _Rows, tune: NDArray[np.int64], predict: Callable[[Sequence[str]], Floats]) -> float:
    if len(rows.outputs) > 1:
        return 0.5
    scores = predict(rows.judged(rows.chosen(tune)))[:, 0]
    return threshold_for(rows.numbers[tune], scores, rows.recipe.target_false_positive_rate)


def _sources(rows: Sequence[Example]) -> list[str]:
    return list(dict.fromkeys(row.source for row in rows))


def _title(scored: Scored) -> str:
    return f"{scored.source} ({scored.seen})"
