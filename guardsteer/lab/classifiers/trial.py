"""A classifier of any kind that reads text, tried on rows that somebody brings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from guardsteer.classify.combined.whole import score_whole
from guardsteer.classify.files.card import CARD_FILE, PatternsCard, ProbeCard, read_card
from guardsteer.classify.load import load_folder
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.data import Example
from guardsteer.lab.classifiers.disguise import Disguised, disguised
from guardsteer.lab.classifiers.eval_file import read_evaluation
from guardsteer.lab.classifiers.eval_stream import (
    Streamed,
    Tokens,
    pieces,
    splices_of,
    stream_scores,
    streamed,
)
from guardsteer.lab.classifiers.evaluate import Evaluation, Scored, accuracies, misses_of, sheets_of
from guardsteer.lab.classifiers.figures import Floats
from guardsteer.lab.classifiers.fitting import output_names

__all__ = [
    "Reader",
    "load_reader",
    "score_texts",
    "threshold_of",
    "try_in_disguise",
    "try_on",
    "try_on_streams",
]

Reader: TypeAlias = TextClassifier
"""A classifier that reads text."""

_TARGET = 0.01
_CERTAIN = 0.5


def load_reader(folder: Path) -> Reader:
    """Return the classifier of text in a folder; ``ClassifierError`` for a probe, which reads none."""
    found = load_folder(folder)
    if not hasattr(found, "start"):
        raise ClassifierError(
            f"{folder / CARD_FILE}: reads hidden states, not text; it is evaluated when trained"
        )
    return found


def score_texts(classifier: Reader, texts: Sequence[str]) -> Floats:
    """Return the scores [row, output] of whole texts."""
    return score_whole(classifier, texts)


def threshold_of(folder: Path) -> float:
    """Return the threshold that a classifier's evaluation or card gives its one output, else 0.5."""
    evaluation, card = read_evaluation(folder), read_card(folder)
    if evaluation is not None and evaluation.thresholds:
        return evaluation.thresholds[0].value
    near = [point.threshold for point in card.operating_points if point.false_positive_rate <= 2 * _TARGET]
    if not near or isinstance(card, PatternsCard | ProbeCard) or len(card.outputs) > 1:
        return _CERTAIN
    return near[0]


def classes_for(classifier: Reader, rows: Sequence[Example], positive: str | None) -> list[str]:
    """Return the labels in the order of the outputs, the positive one last where there is one output.

    Raises ``ClassifierError`` where the labels of ``rows`` are not the classifier's.
    """
    labels = sorted({row.label for row in rows})
    if len(classifier.outputs) == 1:
        if positive is None or positive not in labels:
            raise ClassifierError(
                f"say which label is positive, one of {', '.join(labels)}; got {positive!r}"
            )
        return [*(label for label in labels if label != positive), positive]
    named = dict(zip(output_names(labels), labels, strict=True))
    unknown = [label for name, label in named.items() if name not in classifier.outputs]
    if unknown:
        raise ClassifierError(
            f"the rows have the labels {', '.join(unknown)}, the classifier the outputs "
            f"{', '.join(classifier.outputs)}"
        )
    return [named.get(output, output) for output in classifier.outputs]


def try_on(
    classifier: Reader,
    rows: Sequence[Example],
    *,
    positive: str | None,
    threshold: float,
    apart: str | None = None,
    seed: int = 0,
) -> Evaluation:
    """Return what a classifier makes of ``rows``: together, by source and by slice.

    A calibration that is on the card is taken back for the figures before it. Raises ``ClassifierError``
    for labels that are not the classifier's, and without rows.
    """
    if not rows:
        raise ClassifierError("there are no rows to evaluate on")
    classes, outputs = classes_for(classifier, rows, positive), classifier.outputs
    scores = score_texts(classifier, [row.text for row in rows])
    names = list(dict.fromkeys(row.source for row in rows))
    title = (names[0] if len(names) == 1 else "") or "all rows"
    everything = Scored(title, "rows given", rows, scores, threshold)
    # Slices are told once: by source where there are several.
    held = (
        [everything] if len(names) == 1 else [replace(everything, rows=[replace(r, slice="") for r in rows])]
    )
    for name in names if len(names) > 1 else []:
        chosen = [place for place, row in enumerate(rows) if row.source == name]
        held.append(
            replace(
                everything, source=name or "no source", rows=[rows[p] for p in chosen], scores=scores[chosen]
            )
        )
    return Evaluation(
        sheets=tuple(sheet for each in held for sheet in sheets_of(each, classes, outputs, seed=seed)),
        thresholds=(),
        misses=tuple(misses_of(everything, classes, outputs)),
        accuracies={each.source: accuracies(each, classes, apart) for each in held if len(outputs) > 1},
    )


def try_in_disguise(
    classifier: Reader, rows: Sequence[Example], *, positive: str, threshold: float, seed: int = 0
) -> tuple[Disguised, ...]:
    """Return what is raised of the positive ``rows`` in each disguise.

    Raises ``ClassifierError`` for classifiers of several outputs, and without a positive row.
    """
    if len(classifier.outputs) != 1:
        raise ClassifierError(f"disguises are told for one output, got {', '.join(classifier.outputs)}")
    texts = [row.text for row in rows if row.label == positive]
    if not texts:
        raise ClassifierError(f"there is no row of the label {positive!r} to disguise")
    return disguised(lambda given: score_texts(classifier, given)[:, 0], texts, threshold, seed=seed)


def try_on_streams(
    classifier: Reader,
    rows: Sequence[Example],
    *,
    positive: str,
    threshold: float,
    after: Sequence[int] = (1, 3),
    count: int = 300,
    seed: int = 0,
    tokens: Tokens = pieces,
    token_name: str = "",
) -> tuple[Streamed, ...]:
    """Return what a flag hears of onsets in streams made of ``rows``, together and by source.

    Raises ``ClassifierError`` for classifiers of several outputs, and without rows of both sides.
    """
    if len(classifier.outputs) != 1:
        raise ClassifierError(f"streams are told for one output, got {', '.join(classifier.outputs)}")
    found = []
    for part, chosen in _parts(rows, positive):
        splices = splices_of(chosen, positive, count=count, seed=seed, tokens=tokens)
        scores = [stream_scores(classifier, splice) for splice in splices]
        for each in after:
            heard = replace(streamed(splices, scores, threshold, after=each), part=part)
            found.append(replace(heard, tokens=token_name) if token_name else heard)
    return tuple(found)


def _parts(rows: Sequence[Example], positive: str) -> Iterator[tuple[str, Sequence[Example]]]:
    """Yield all rows, then each source's onsets with all leads, then all onsets with its leads."""
    yield "", rows
    for kind, side in (("onsets", True), ("leads", False)):
        own = [row for row in rows if (row.label == positive) is side]
        rest = [row for row in rows if (row.label == positive) is not side]
        names = list(dict.fromkeys(row.source for row in own))
        for name in names if len(names) > 1 else []:
            yield f"{kind} of {name}", [*(row for row in own if row.source == name), *rest]
