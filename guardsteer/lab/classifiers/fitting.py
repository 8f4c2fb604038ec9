"""What training a classifier of text and training a probe have in common."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier

from guardsteer.classify.words.characters import StripAccents
from guardsteer.classify.words.normalise import Normalise
from guardsteer.classify.words.reading import Analyzer
from guardsteer.classify.words.windows import Windows
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.data import Example, Part, part_of
from guardsteer.lab.classifiers.groups import groups_of
from guardsteer.lab.metrics.agreement import metrics_for, operating_points, with_intervals

if TYPE_CHECKING:
    from guardsteer.lab.classifiers.encoders.embedding import Embedding

__all__ = [
    "OF_WORDS",
    "PARTS",
    "About",
    "Numbers",
    "Settings",
    "Training",
    "card_of",
    "classes_of",
    "figures",
    "fit",
    "output_names",
    "split_rows",
]

PARTS: tuple[Part, ...] = ("train", "tune", "test")

Numbers = NDArray[np.int64]

OF_WORDS = frozenset(
    {
        *("vectorizer", "analyzer", "ngrams", "max_features", "min_count", "lowercase", "strip_accents"),
        *("normalise", "sublinear_tf", "use_idf", "binary", "norm", "shortest_word"),
        *("windows", "fragments", "mined", "encoder"),
    }
)
"""Settings that say nothing where embeddings are trained on."""

_MAX_ITERATIONS = 2000


@dataclass(frozen=True, slots=True)
class About:
    """What a card says that training does not find out. ``sources``: attribution of the data."""

    name: str
    version: str = "1"
    description: str = ""
    licence: str = ""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train.

    ``positive``: with two labels, the one whose probability is the output ``score``. ``penalties``:
    inverse strengths of the L2 penalty (scikit-learn's C) to choose from by the tuning rows' log
    loss. ``max_features``: size of the vocabulary (tfidf) or of the hash (hashing). ``normalise``: what is
    undone of disguised writing before a text is read, in training and ever after.
    ``tune`` and ``test``: shares of the texts kept out of training; ``grouped`` keeps examples of one group,
    and those that are nearly the same, in one part. ``prefixes``: beginnings of each text, of
    ``shortest_prefix`` words at least, that are trained and tuned on beside it; ``splices``: texts put behind
    the beginning of another of the negative label. ``calibrated``: probabilities are fitted to the
    tuning rows (Platt, 1999; with several labels, by one temperature: Guo et al., 2017).
    ``windows``: the newest words alone are read, so what is trained on are ``fragments`` of each text, as
    long as a window, and in ``mined`` rounds more the windows of negative texts that were scored highest.
    ``encoder``: its embeddings are trained on in place of words, and nothing that is said of words counts.
    """

    vectorizer: Literal["tfidf", "hashing"] = "tfidf"
    analyzer: Analyzer = "char_wb"
    ngrams: tuple[int, int] = (3, 5)
    max_features: int = 50_000
    min_count: int = 2
    lowercase: bool = True
    strip_accents: StripAccents | None = None
    normalise: Normalise | None = None
    sublinear_tf: bool = False
    use_idf: bool = True
    binary: bool = False
    norm: Literal["l2"] | None = "l2"
    model: Literal["logistic", "sgd"] = "logistic"
    penalties: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0)
    balanced: bool = False
    positive: str | None = None
    tune: float = 0.1
    test: float = 0.1
    seed: int = 0
    grouped: bool = False
    prefixes: int = 0
    shortest_prefix: int = 4
    splices: int = 0
    calibrated: bool = False
    shortest_word: Literal[1, 2] = 2
    windows: Windows | None = None
    fragments: int = 4
    mined: int = 2
    encoder: Embedding | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """What training gave: the folder, the card's figures and the penalty chosen.

    A calibrated decision is ``slope`` times what was trained, plus ``offset``.
    """

    folder: Path
    metrics: Mapping[str, Mapping[str, Any]]
    operating_points: Sequence[Mapping[str, Any]]
    penalty: float
    slope: float = 1.0
    offset: float = 0.0


def classes_of(examples: Sequence[Example], positive: str | None) -> tuple[list[str], list[str]]:
    """Return the labels in the model's order and the names of the outputs.

    Two labels give one output, ``score``: the probability of ``positive``. More give one each, named
    after the label in letters, digits and underscores, as a policy writes it.
    """
    labels = sorted({example.label for example in examples})
    if len(labels) > 2:
        if positive is not None:
            raise ClassifierError(f"a positive label needs two labels, got {len(labels)}; leave it out")
        return labels, output_names(labels)
    if positive not in labels:
        raise ClassifierError(f"say which of two labels is positive: {' or '.join(labels)}, got {positive!r}")
    return [label for label in labels if label != positive] + [positive], ["score"]


def output_names(labels: Sequence[str]) -> list[str]:
    """Return the outputs' names for labels; ``ClassifierError`` where two labels would have one name."""
    names = [re.sub(r"[^A-Za-z0-9]+", "_", label).strip("_").lower() for label in labels]
    names = [f"_{name}" if not name or name[0].isdigit() else name for name in names]
    if len(set(names)) < len(names):
        raise ClassifierError(f"labels must differ in more than signs and case, got {labels}")
    return names


def split_rows(
    examples: Sequence[Example], classes: Sequence[str], settings: Settings
) -> tuple[dict[Part, NDArray[np.int64]], Numbers]:
    """Return the rows of each part, and each row's class number.

    Raises ``ClassifierError`` where a part lacks a class.
    """
    numbers = np.array([classes.index(example.label) for example in examples], dtype=np.int64)
    keys = groups_of(examples) if settings.grouped else [row.text for row in examples]
    drawn = np.array(
        [part_of(key, seed=settings.seed, tune=settings.tune, test=settings.test) for key in keys]
    )
    rows: dict[Part, NDArray[np.int64]] = {part: np.flatnonzero(drawn == part) for part in PARTS}
    problems = [
        f"none of label {classes[missing]!r} fell into the part {part!r}"
        for part in PARTS
        for missing in sorted(set(range(len(classes))) - set(numbers[rows[part]].tolist()))
    ]
    if problems:
        raise ClassifierError(f"{'; '.join(problems)}; give more examples, larger parts or another seed")
    return rows, numbers


def fit(
    train: tuple[Any, Numbers], tune: tuple[Any, Numbers], settings: Settings
) -> tuple[float, LogisticRegression | SGDClassifier]:
    """Return the penalty that serves the tuning rows best, and the model trained with it."""
    tried = []
    for penalty in settings.penalties:
        model = _model(settings, penalty, rows=len(train[1]))
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                model.fit(*train)
            except ConvergenceWarning as error:
                reason = f"training with the penalty {penalty:g} did not converge; leave it out"
                raise ClassifierError(reason) from error
        given = model.predict_proba(tune[0])[np.arange(len(tune[1])), tune[1]]
        tried.append((float(-np.log(np.maximum(given, 1e-15)).mean()), penalty, model))
    _, penalty, model = min(tried, key=lambda entry: entry[0])
    return penalty, model


def _model(settings: Settings, penalty: float, *, rows: int) -> LogisticRegression | SGDClassifier:
    weights = "balanced" if settings.balanced else None
    if settings.model == "sgd":
        return SGDClassifier(
            loss="log_loss",
            alpha=1.0 / (penalty * rows),
            class_weight=weights,
            random_state=settings.seed,
            max_iter=_MAX_ITERATIONS,
        )
    return LogisticRegression(
        C=penalty, class_weight=weights, random_state=settings.seed, max_iter=_MAX_ITERATIONS
    )


def figures(
    outputs: Sequence[str],
    tune: tuple[Numbers, NDArray[np.float64]],
    test: tuple[Numbers, NDArray[np.float64]],
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Return metrics and operating points from class numbers [row] and the outputs' scores [row, output].

    ``groups``: what the test rows belong to, where intervals are over more than single rows.
    """
    labels, scores = test
    probabilities = np.hstack([1.0 - scores, scores]) if len(outputs) == 1 else scores
    metrics = with_intervals(
        labels, probabilities, metrics_for(probabilities.shape[1]), seed=seed, groups=groups
    )
    points = []
    for column, output in enumerate(outputs):
        positive = 1 if len(outputs) == 1 else column
        points += operating_points(
            output,
            ((tune[0] == positive).astype(np.int64), tune[1][:, column]),
            ((labels == positive).astype(np.int64), scores[:, column]),
        )
    return metrics, points


def card_of(
    about: About, *, digest: str, rows: Mapping[Part, NDArray[np.int64]], training: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the part of a card that is the same for all kinds; ``digest`` is the data's."""
    fields = asdict(about)
    counts = {str(part): len(rows[part]) for part in PARTS}
    data: dict[str, Any] = {"digest": digest, "rows": sum(counts.values()), **counts}
    data["sources"] = list(fields.pop("sources"))
    return {**fields, "data": data, "training": dict(training)}
