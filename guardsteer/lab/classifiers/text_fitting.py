"""A vectorizer and a linear model fitted to labelled texts, their beginnings and splices, and calibrated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from guardsteer.classify.words.normalise import Normaliser
from guardsteer.classify.words.windows import Windows, highest
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.fitting import Numbers, Settings, fit
from guardsteer.lab.classifiers.prefixes import cut, openings_of, pieces_of, prefixes_of, spliced, windows_of

if TYPE_CHECKING:
    from guardsteer.lab.classifiers.encoders.embedding import Embedding

__all__ = ["Fitted", "Texts", "as_streamed", "fit_texts", "judged_text"]

Texts: TypeAlias = tuple[Sequence[str], Numbers]
"""Texts, and the number of each one's class."""


_MINED = 4_000
_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted pair, the penalty chosen, and the calibration that is folded into the model's weights.

    A calibrated decision is ``slope * decision + offset``.
    """

    vectorizer: Any
    model: LogisticRegression | SGDClassifier
    penalty: float
    slope: float = 1.0
    offset: float = 0.0
    windows: Windows | None = None
    encoder: Embedding | None = None

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the outputs' probabilities [row, output]: with two classes that of the second alone."""
        if self.encoder is not None:
            return self.encoder.predict(self.model, texts)
        return highest(self._whole, texts, self.windows) if self.windows else self._whole(texts)

    def _whole(self, texts: Sequence[str]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = self.model.predict_proba(self.vectorizer.transform(texts))
        return found[:, 1:] if found.shape[1] == 2 else found


def fit_texts(train: Texts, tune: Texts, settings: Settings) -> Fitted:
    """Return what is fitted to ``train`` with the penalty that serves ``tune`` best, calibrated on ``tune``.

    The vocabulary is that of whole texts, so that a beginning does not make a rare word a common one.
    Raises ``ClassifierError`` where texts give no features or training does not converge.
    """
    vectorizer = _vectorizer(settings)
    with threadpool_limits(1):
        try:
            vectorizer.fit(train[0])
        except ValueError as error:
            raise ClassifierError(f"the texts give no features: {error}") from error
        shown = [as_streamed(rows, settings) for rows in (train, tune)]
        held = [(vectorizer.transform(texts), numbers) for texts, numbers in shown]
        penalty, model = fit(held[0], held[1], settings)
        if settings.windows is not None:
            for _ in range(settings.mined):
                shown[0] = _with_false_alarms(shown[0], train, settings.windows, vectorizer, model)
                held[0] = (vectorizer.transform(shown[0][0]), shown[0][1])
                _, model = fit(held[0], held[1], replace(settings, penalties=(penalty,)))
        if not settings.calibrated:
            return Fitted(vectorizer, model, penalty, windows=settings.windows, encoder=settings.encoder)
        if not isinstance(model, LogisticRegression):
            raise ClassifierError("only the model 'logistic' is calibrated; leave calibrated out for 'sgd'")
        slope, offset = _calibration(model.decision_function(held[1][0]), held[1][1])
    model.coef_ = model.coef_ * slope
    model.intercept_ = model.intercept_ * slope + offset
    return Fitted(vectorizer, model, penalty, slope, offset, settings.windows, settings.encoder)


def judged_text(text: str, settings: Settings) -> str:
    """Return what of a text is scored to judge a model: with windows, what the longest one holds."""
    return text if settings.windows is None else cut(text, settings.windows.longest)


def as_streamed(rows: Texts, settings: Settings) -> Texts:
    """Return the texts with their beginnings and splices, as the settings ask for, each with its class."""
    texts, numbers = rows
    if settings.windows is not None:
        return _as_windows(rows, settings, settings.windows)
    if not settings.prefixes and not settings.splices:
        return rows
    if settings.splices and int(numbers.max()) > 1:
        raise ClassifierError("texts are spliced behind those of the negative label: that needs two labels")
    draw = random.Random(settings.seed)
    leads = [text for text, number in zip(texts, numbers, strict=True) if number == 0]
    shown, classes = list(texts), numbers.tolist()
    for text, number in zip(texts, numbers.tolist(), strict=True):
        further = prefixes_of(text, draw, each=settings.prefixes, shortest=settings.shortest_prefix)
        further += [
            spliced(text, leads, draw, shortest=settings.shortest_prefix) for _ in range(settings.splices)
        ]
        shown += further
        classes += [number] * len(further)
    return shown, np.array(classes, dtype=np.int64)


def _as_windows(rows: Texts, settings: Settings, windows: Windows) -> Texts:
    """Return fragments of the texts: of the positive class what a window holds as they begin."""
    texts, numbers = rows
    if int(numbers.max()) > 1:
        raise ClassifierError("onsets are those of the positive label: windows need two labels")
    draw = random.Random(settings.seed)
    leads = [text for text, number in zip(texts, numbers, strict=True) if number == 0]
    shown: list[str] = []
    classes: list[int] = []
    for text, number in zip(texts, numbers.tolist(), strict=True):
        found = (
            openings_of(text, leads, draw, each=settings.fragments, windows=windows)
            if number
            else pieces_of(text, draw, each=settings.fragments, windows=windows)
        )
        shown += found
        classes += [number] * len(found)
    return shown, np.array(classes, dtype=np.int64)


def _with_false_alarms(
    shown: Texts, train: Texts, windows: Windows, vectorizer: Any, model: LogisticRegression | SGDClassifier
) -> Texts:
    """Return the fragments with those windows of negative texts that the model takes most for positive."""
    known = set(shown[0])
    benign = [text for text, number in zip(*train, strict=True) if number == 0]
    found = list(dict.fromkeys(each for text in benign for each in windows_of(text, windows)))
    fresh = [text for text in found if text not in known]
    if not fresh:
        return shown
    scores = np.concatenate(
        [
            model.decision_function(vectorizer.transform(fresh[start : start + _AT_ONCE]))
            for start in range(0, len(fresh), _AT_ONCE)
        ]
    )
    worst = [fresh[place] for place in np.argsort(-scores, kind="stable")[:_MINED]]
    return [*shown[0], *worst], np.concatenate([shown[1], np.zeros(len(worst), dtype=np.int64)])


def _calibration(decisions: NDArray[np.float64], numbers: Numbers) -> tuple[float, float]:
    if decisions.ndim == 1:
        platt = LogisticRegression(C=1e6, max_iter=1000).fit(decisions[:, None], numbers)
        slope, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0])
        return (slope, offset) if slope > 0 else (1.0, 0.0)
    rows = np.arange(len(numbers))

    def loss(log_slope: float) -> float:
        return float(-log_softmax(decisions * np.exp(log_slope), axis=1)[rows, numbers].mean())

    found: Any = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x)), 0.0


def _vectorizer(settings: Settings) -> Any:
    if settings.encoder is not None:
        return settings.encoder
    common = {
        "analyzer": settings.analyzer,
        "ngram_range": settings.ngrams,
        "token_pattern": r"(?u)\b\w+\b" if settings.shortest_word == 1 else r"(?u)\b\w\w+\b",
        "lowercase": settings.lowercase,
        "strip_accents": settings.strip_accents,
        "preprocessor": Normaliser(settings.normalise) if settings.normalise else None,
        "binary": settings.binary,
        "norm": settings.norm,
    }
    if settings.vectorizer == "hashing":
        return HashingVectorizer(n_features=settings.max_features, **common)
    return TfidfVectorizer(
        max_features=settings.max_features,
        min_df=settings.min_count,
        sublinear_tf=settings.sublinear_tf,
        use_idf=settings.use_idf,
        **common,
    )
