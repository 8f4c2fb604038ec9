"""What a classifier is worth on rows that it has not seen: by source and slice, the worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from guardsteer.evaluate import Estimate, wilson
from guardsteer.lab.classifiers.data import Example
from guardsteer.lab.classifiers.disguise import Disguised
from guardsteer.lab.classifiers.eval_stream import Streamed
from guardsteer.lab.classifiers.figures import Floats, figures_of, reliability_of, roc_of

__all__ = [
    "Evaluation",
    "Miss",
    "Scored",
    "Seen",
    "Sheet",
    "Threshold",
    "accuracies",
    "judge_threshold",
    "misses_of",
    "sheets_of",
    "uncalibrated",
]

Seen: TypeAlias = Literal["test rows", "source left out", "source for testing", "rows given"]

_FEWEST_ROWS = 20
_MOST_MISSES = 12
_LONGEST_MISS = 240
_EXCESS = 2.0


@dataclass(frozen=True, slots=True)
class Scored:
    """Rows of one source with what a model that has not seen them says of each.

    ``scores``: [row, output]. ``threshold``: that model's own, for a single output. ``slope`` and ``offset``:
    its calibration. ``others``: rows of the other class that stand in where a source has only one.
    """

    source: str
    seen: Seen
    rows: Sequence[Example]
    scores: Floats
    threshold: float
    slope: float = 1.0
    offset: float = 0.0
    others: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Sheet:
    """The figures of one output on a source, or on one slice of it; curves for whole sources.

    ``roc``: false and true positive rate; ``reliability``: mean score, share of positives and rows of a bin.
    """

    output: str
    source: str
    seen: Seen
    slice: str
    rows: int
    positives: int
    figures: Mapping[str, Estimate]
    against: str = ""
    roc: tuple[tuple[float, float], ...] = ()
    reliability: tuple[tuple[float, float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Miss:
    """A row on the wrong side of the threshold; ``score`` is that of ``output``."""

    output: str
    kind: Literal["false alarm", "missed"]
    source: str
    slice: str
    score: float
    text: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """The threshold of an output for a target false positive rate, and whether it holds on unseen sources."""

    output: str
    value: float
    target: float
    holds: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that a card says of a classifier; ``accuracies`` by source, with several outputs.

    ``streamed``: onsets in streams, at the threshold and at one set for streams, with and without debounce.
    ``disguised``: what is left of the true positives, and what by its side is lost, in each disguise.
    """

    sheets: tuple[Sheet, ...]
    thresholds: tuple[Threshold, ...]
    misses: tuple[Miss, ...]
    accuracies: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    streamed: tuple[Streamed, ...] = ()
    disguised: tuple[Disguised, ...] = ()
    failures: tuple[str, ...] = ()


def sheets_of(
    scored: Scored, classes: Sequence[str], outputs: Sequence[str], *, seed: int = 0
) -> list[Sheet]:
    """Return a sheet for each output on the whole source and on each slice of ``_FEWEST_ROWS`` rows or more.

    ``classes``: labels in the model's order. A slice of one class is held against the source's rows of the
    other class, all of them. With one output, the positive class is the last.
    """
    sheets = []
    for column, output in enumerate(outputs):
        positive = classes[-1] if len(outputs) == 1 else classes[column]
        labels = np.array([row.label == positive for row in scored.rows], dtype=np.int64)
        scores = scored.scores[:, column]
        raw = uncalibrated(scored)[:, column]
        names = [_slice_of(scored, place) for place in range(len(scored.rows))]
        kinds = sorted({name for name in names if name and names.count(name) >= _FEWEST_ROWS})
        for name in ["", *kinds] if len(outputs) == 1 else [""]:
            inside = np.array([not name or each == name for each in names])
            only = set(labels[inside].tolist())
            chosen = inside if len(only) == 2 or not name else inside | (labels != next(iter(only)))
            if name and chosen.all():
                continue
            here = labels[chosen]
            threshold = scored.threshold if len(outputs) == 1 else 0.5
            figures = figures_of(here, scores[chosen], raw[chosen], threshold, seed=seed)
            against = "test rows of other sources" if not name and scored.others else ""
            sheets.append(
                Sheet(
                    output=output,
                    source=scored.source,
                    seen=scored.seen,
                    slice=name,
                    rows=int(inside.sum()),
                    positives=int(labels[inside].sum()),
                    figures=figures,
                    against=against,
                    roc=() if name else roc_of(here, scores[chosen]),
                    reliability=() if name else reliability_of(here, scores[chosen]),
                )
            )
    return sheets


def _slice_of(scored: Scored, place: int) -> str:
    row = scored.rows[place]
    return f"test rows of {row.source}" if place in scored.others else row.slice


def uncalibrated(scored: Scored) -> Floats:
    """Return the scores [row, output] as they were before the calibration."""
    held = np.clip(scored.scores, 1e-9, 1 - 1e-9)
    if held.shape[1] == 1:
        decision = (np.log(held / (1 - held)) - scored.offset) / scored.slope
        return np.asarray(1 / (1 + np.exp(-decision)))
    parts = held ** (1 / scored.slope)
    return np.asarray(parts / parts.sum(axis=1, keepdims=True))


def accuracies(scored: Scored, classes: Sequence[str], apart: str | None) -> dict[str, Estimate]:
    """Return the shares of rows whose highest output is right: of all, and of those not ``apart``."""
    said = scored.scores.argmax(axis=1)
    right = np.array([classes[best] == row.label for best, row in zip(said, scored.rows, strict=True)])
    inside = np.array([row.label != apart for row in scored.rows])
    found = {"accuracy": wilson(int(right.sum()), len(right))}
    if apart is not None and inside.any() and not inside.all():
        found["accuracy in scope"] = wilson(int(right[inside].sum()), int(inside.sum()))
    return found


def judge_threshold(
    output: str, value: float, target: float, sheets: Sequence[Sheet], *, tuned_tpr: float
) -> Threshold:
    """Return whether a threshold holds on sources left out of training.

    It does where on each of them the false positive rate is at most twice the target, and the true positive
    rate at least half of that on the tuning rows.
    """
    reasons = []
    for sheet in sheets:
        if (
            sheet.output != output
            or sheet.slice
            or sheet.seen not in ("source left out", "source for testing")
        ):
            continue
        false, true = sheet.figures.get("fpr"), sheet.figures.get("tpr")
        if false is not None and sheet.positives < sheet.rows and false.value > _EXCESS * target:
            reasons.append(
                f"{sheet.source}: {100 * false.value:.1f} % false positives, the target is {100 * target:g} %"
            )
        if true is not None and sheet.positives and true.value < tuned_tpr / 2:
            reasons.append(
                f"{sheet.source}: {100 * true.value:.0f} % true positives, {100 * tuned_tpr:.0f} % on tuning "
                "rows"
            )
    return Threshold(output, value, target, not reasons, tuple(reasons))


def misses_of(scored: Scored, classes: Sequence[str], outputs: Sequence[str]) -> list[Miss]:
    """Return the rows that are furthest on the wrong side, a dozen of each kind and output at most."""
    found = []
    for column, output in enumerate(outputs):
        positive = classes[-1] if len(outputs) == 1 else classes[column]
        threshold = scored.threshold if len(outputs) == 1 else 0.5
        places = [place for place in range(len(scored.rows)) if place not in scored.others]
        false = [
            p for p in places if scored.rows[p].label != positive and scored.scores[p, column] >= threshold
        ]
        missed = [
            p for p in places if scored.rows[p].label == positive and scored.scores[p, column] < threshold
        ]
        false.sort(key=lambda p, c=column: (-scored.scores[p, c], scored.rows[p].text))  # type: ignore[misc]  # defaults bind the column now
        missed.sort(key=lambda p, c=column: (scored.scores[p, c], scored.rows[p].text))  # type: ignore[misc]  # defaults bind the column now
        for kind, wrong in (("false alarm", false), ("missed", missed)):
            for place in wrong[:_MOST_MISSES]:
                row = scored.rows[place]
                found.append(
                    Miss(
                        output,
                        "missed" if kind == "missed" else "false alarm",
                        scored.source,
                        row.slice,
                        round(float(scored.scores[place, column]), 6),
                        _clipped(row.text),
                    )
                )
    return found


def _clipped(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _LONGEST_MISS else plain[: _LONGEST_MISS - 1] + "…"
