"""Train a linear classifier of text into a folder that a policy can name.

Seeded and reproducible byte for byte on one machine: no clock, no thread, no order of a set decides.

    python -m guardsteer.lab.train_classifier --data rows.csv --text-column text --label-column label \\
        --positive hostile --analyzer char_wb --ngrams 3 5 --name hostility --out classifiers/hostility
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from guardsteer.classify.characters import StripAccents
from guardsteer.classify.linear import LinearClassifier
from guardsteer.classify.load import load_folder
from guardsteer.classify.reading import Analyzer
from guardsteer.classify.writing import write_linear
from guardsteer.errors import ClassifierError, GuardsteerError
from guardsteer.lab.classifier_data import Example, check_examples, digest_examples, distinct, read_examples
from guardsteer.lab.classifier_readme import write_readme
from guardsteer.lab.fitting import (
    PARTS,
    About,
    Settings,
    Training,
    card_of,
    classes_of,
    figures,
    split_rows,
)
from guardsteer.lab.sklearn_models import from_sklearn
from guardsteer.lab.text_fitting import fit_texts

__all__ = ["About", "Example", "Settings", "Training", "main", "train"]

_LEAST_EXAMPLES = 10


def train(examples: Sequence[Example], settings: Settings, about: About, out: Path) -> Training:
    """Train on labelled texts and write the classifier's folder ``out``.

    Repeated texts count once. Texts are split by digest; the penalty and the thresholds are chosen on
    the tuning rows, and the figures on the card are those of the written classifier on the test rows.
    Raises ``ClassifierError`` where the examples cannot be trained on.
    """
    kept = distinct(examples)
    check_examples(kept, least=_LEAST_EXAMPLES)
    classes, outputs = classes_of(kept, settings.positive)
    rows, numbers = split_rows(kept, classes, settings)
    texts = {part: [kept[row].text for row in rows[part]] for part in PARTS}
    fitted = fit_texts(
        (texts["train"], numbers[rows["train"]]), (texts["tune"], numbers[rows["tune"]]), settings
    )
    training = {
        name: value if isinstance(value, (str, int, float, type(None))) else json.dumps(value)
        for name, value in asdict(settings).items()
    }
    chosen = {"penalty": fitted.penalty}
    if settings.calibrated:
        chosen |= {"calibration_slope": fitted.slope, "calibration_offset": fitted.offset}
    card = card_of(about, digest=digest_examples(kept), rows=rows, training={**training, **chosen})
    linear = from_sklearn(fitted.vectorizer, fitted.model, outputs)
    write_linear(out, linear, card)
    written = load_folder(out)
    if not isinstance(written, LinearClassifier):
        raise ClassifierError(f"{out}: holds another kind of classifier than was written")
    tune, test = ((numbers[rows[part]], written.predict(texts[part])) for part in ("tune", "test"))
    metrics, points = figures(outputs, tune, test, settings.seed)
    write_linear(out, linear, {**card, "metrics": metrics, "operating_points": points})
    write_readme(out)
    return Training(out, metrics, points, fitted.penalty)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, or 2 where it could not be done."""
    given = _parser().parse_args(arguments)
    settings = Settings(
        vectorizer=given.vectorizer,
        analyzer=given.analyzer,
        ngrams=(given.ngrams[0], given.ngrams[1]),
        max_features=given.max_features,
        min_count=given.min_count,
        lowercase=not given.keep_case,
        strip_accents=given.strip_accents,
        sublinear_tf=given.sublinear,
        binary=given.binary,
        model=given.model,
        balanced=given.balanced,
        positive=given.positive,
        seed=given.seed,
    )
    about = About(
        name=given.name or given.out.resolve().name,
        version=given.version,
        description=given.description,
        licence=given.licence,
        sources=tuple(given.source),
    )
    try:
        examples = read_examples(given.data, text_column=given.text_column, label_column=given.label_column)
        training = train(examples, settings, about, given.out)
    except GuardsteerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"folder": str(training.folder), "metrics": training.metrics}, indent=2))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m guardsteer.lab.train_classifier",
        description="Train a linear classifier of text.",
        epilog="example: %(prog)s --data rows.csv --positive hostile --out classifiers/hostility",
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="CSV file with a header, or JSONL file")
    add("--text-column", default="text")
    add("--label-column", default="label")
    add("--out", type=Path, required=True, help="folder to write")
    add("--positive", help="with two labels, the one whose probability is the score")
    add("--vectorizer", choices=("tfidf", "hashing"), default="tfidf")
    add("--analyzer", choices=get_args(Analyzer), default="char_wb")
    add("--ngrams", type=int, nargs=2, default=(3, 5), metavar=("SHORTEST", "LONGEST"))
    add("--max-features", type=int, default=50_000)
    add("--min-count", type=int, default=2, help="texts that an n-gram must occur in to count")
    add("--keep-case", action="store_true")
    add("--strip-accents", choices=get_args(StripAccents))
    add("--sublinear", action="store_true", help="count n-grams as 1 + log(count)")
    add("--binary", action="store_true", help="count n-grams once")
    add("--model", choices=("logistic", "sgd"), default="logistic")
    add("--balanced", action="store_true", help="weight labels by how rare they are")
    add("--seed", type=int, default=0)
    add("--name", help="name on the card; the folder's by default")
    add("--version", default="1")
    add("--description", default="")
    add("--licence", default="", help="licence of the classifier")
    add("--source", action="append", default=[], help="attribution of the data; may be repeated")
    return parser


if __name__ == "__main__":
    sys.exit(main())
