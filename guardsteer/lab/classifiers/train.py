"""Train a linear classifier of text into a folder that a policy can name.

Seeded and reproducible byte for byte on one machine: no clock, no thread, no order of a set decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from guardsteer.classify.encoders.reading import EncoderClassifier
from guardsteer.classify.files.writing import write_linear
from guardsteer.classify.load import load_folder
from guardsteer.classify.words.linear import LinearClassifier
from guardsteer.classify.words.windows import WindowedClassifier
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.data import Example, check_examples, digest_examples, distinct
from guardsteer.lab.classifiers.eval_file import EVALUATION_FILE
from guardsteer.lab.classifiers.fitting import (
    OF_WORDS,
    PARTS,
    About,
    Settings,
    Training,
    card_of,
    classes_of,
    figures,
    split_rows,
)
from guardsteer.lab.classifiers.readme import write_readme
from guardsteer.lab.classifiers.sklearn_models import from_sklearn
from guardsteer.lab.classifiers.text_fitting import Fitted, fit_texts, judged_text

__all__ = ["About", "Example", "Settings", "Training", "train"]

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
    judged = {part: [judged_text(text, settings) for text in texts[part]] for part in PARTS}
    fitted = fit_texts(
        (texts["train"], numbers[rows["train"]]), (texts["tune"], numbers[rows["tune"]]), settings
    )
    training: dict[str, str | int | float | None] = {
        name: value if isinstance(value, (str, int, float, type(None))) else json.dumps(value, default=dict)
        for name, value in asdict(replace(settings, encoder=None)).items()
        if settings.encoder is None or name not in OF_WORDS
    }
    chosen = {"penalty": fitted.penalty}
    if settings.calibrated:
        chosen |= {"calibration_slope": fitted.slope, "calibration_offset": fitted.offset}
    card = card_of(about, digest=digest_examples(kept), rows=rows, training={**training, **chosen})
    _write(out, fitted, outputs, card)
    written = load_folder(
        out, encoders=() if settings.encoder is None else (settings.encoder.encoder.folder,)
    )
    if not isinstance(written, LinearClassifier | WindowedClassifier | EncoderClassifier):
        raise ClassifierError(f"{out}: holds another kind of classifier than was written")
    tune, test = ((numbers[rows[part]], written.predict(judged[part])) for part in ("tune", "test"))
    metrics, points = figures(outputs, tune, test, settings.seed)
    _write(out, fitted, outputs, {**card, "metrics": metrics, "operating_points": points})
    # An evaluation of what was here before is not one of this.
    (out / EVALUATION_FILE).unlink(missing_ok=True)
    write_readme(out)
    return Training(out, metrics, points, fitted.penalty, fitted.slope, fitted.offset)


def _write(out: Path, fitted: Fitted, outputs: Sequence[str], card: Mapping[str, Any]) -> None:
    if fitted.encoder is not None:
        fitted.encoder.write(out, fitted.model, outputs, card)
        return
    linear = from_sklearn(fitted.vectorizer, fitted.model, outputs)
    write_linear(out, replace(linear, windows=fitted.windows), card)
