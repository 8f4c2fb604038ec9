"""Train a stack from its recipe, and hold it against rows and whole sources that none of it has seen."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from guardsteer.assets import is_path
from guardsteer.classify.combined.files import Member, write_combination
from guardsteer.classify.encoders.writing import write_encoder_classifier
from guardsteer.classify.load import load_folder
from guardsteer.core.digests import digest_json
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.combining.bench import Bench, Weighed, open_bench, weigh
from guardsteer.lab.classifiers.combining.judging import judge
from guardsteer.lab.classifiers.combining.members import Says, Table
from guardsteer.lab.classifiers.combining.recipe import MEANING, load_stack_recipe
from guardsteer.lab.classifiers.data import digest_examples
from guardsteer.lab.classifiers.eval_file import write_evaluation
from guardsteer.lab.classifiers.evaluate import Evaluation
from guardsteer.lab.classifiers.figures import Floats
from guardsteer.lab.classifiers.fitting import card_of, figures
from guardsteer.lab.classifiers.readme import write_readme
from guardsteer.lab.classifiers.rows import Gathered

__all__ = ["BuiltStack", "train_stack"]

Told = Callable[[str], None]
"""Takes a line of progress."""


@dataclass(frozen=True, slots=True)
class BuiltStack:
    """What training a stack gave: its folder, and what it is worth."""

    folder: Path
    evaluation: Evaluation


def train_stack(
    folder: Path, data: Path | None, encoder: Path, out: Path, told: Told = lambda _: None
) -> BuiltStack:
    """Train the stack of the recipe in ``folder`` into ``out``, evaluate it, and write all that it says.

    ``encoder``: the folder of the exported encoder that the recipe names. The member ``words`` is the base
    classifier as it is; where rows are left out, twins of all members are trained without them, by the same
    settings. Raises ``ClassifierError``.
    """
    recipe = load_stack_recipe(folder)
    here = folder if folder.is_dir() else folder.parent
    bench, words, gathered = open_bench(recipe, here, data, encoder)
    told(f"{len(gathered.training)} rows, {len(bench.part('train'))} to train on")
    table, weighed = weigh(bench, None, words.predict)
    told(f"trained: penalty {table.penalty:g}, threshold {weighed.threshold:.4f}")
    meaning = _write(bench, out, table, gathered)
    members = {"words": Member(_named(recipe.base, here, out), words), "meaning": Member(MEANING, meaning)}
    used = [replace(members[each.use], first_words=each.first_words) for each in recipe.members]
    says = bench.fitter.says_of(table)

    def scored(texts: Sequence[str]) -> Floats:
        return weighed.says(bench.fitter.asked(words.predict, says, texts))

    _write_stack(bench, out, used, weighed, gathered, scored)
    evaluation = judge(bench, weighed, scored, gathered, table.penalty, told)
    write_evaluation(out, evaluation)
    for made in (out, out / MEANING.removeprefix("./")):
        write_readme(made)
    return BuiltStack(out, evaluation)


def _named(base: str, here: Path, out: Path) -> str:
    """Return how the card in ``out`` names what the recipe ``here`` calls ``base``."""
    if not is_path(base):
        return base
    way = Path(os.path.relpath((here / base).resolve(), out.resolve())).as_posix()
    return way if is_path(way) else f"./{way}"


# --- folders -------------------------------------------------------------------------------------


def _write(bench: Bench, out: Path, table: Table, gathered: Gathered) -> TextClassifier:
    """Write the table over the encoder into a folder of its own and load it."""
    recipe, settings = bench.recipe, bench.recipe.encoder
    encoder = bench.fitter.meaning.encoder
    about = replace(recipe.about, name=f"{recipe.name}-encoder", sources=gathered.attributions)
    training = {"penalty": table.penalty, "part_of": recipe.name}
    place = out / MEANING.removeprefix("./")
    write_encoder_classifier(
        place,
        encoder.manifest,
        outputs=bench.outputs,
        activation="sigmoid" if len(bench.outputs) == 1 else "softmax",
        about=card_of(about, digest=digest_examples(bench.examples), rows=bench.parts, training=training),
        weight=table.weight,
        bias=table.bias,
        window=settings.window,
        over=settings.over,
        read=settings.read,
    )
    found = load_folder(place, encoders=(encoder.folder,))
    if not hasattr(found, "start"):
        raise ClassifierError(f"{place}: holds another kind of classifier than was written")
    return found


def _write_stack(
    bench: Bench,
    out: Path,
    members: Sequence[Member],
    weighed: Weighed,
    gathered: Gathered,
    says: Says,
) -> None:
    recipe = bench.recipe
    about = replace(recipe.about, sources=gathered.attributions)
    training = {
        "folds": recipe.folds,
        "penalty": recipe.penalty,
        "recipe": digest_json(recipe.model_dump(mode="json", exclude=None if recipe.rows else {"rows"})),
    }
    card = card_of(about, digest=digest_examples(bench.examples), rows=bench.parts, training=training)
    tune, test = (
        (bench.numbers[rows], says(bench.texts(rows))) for rows in (bench.part("tune"), bench.part("test"))
    )
    metrics, points = figures(bench.outputs, tune, test, bench.base.seed)
    write_combination(
        out,
        members,
        by="stack",
        outputs=bench.outputs,
        about={**card, "metrics": metrics, "operating_points": points},
        activation="sigmoid" if len(bench.outputs) == 1 else "softmax",
        stack={"weight": weighed.weight, "bias": weighed.bias, "center": weighed.center},
    )
