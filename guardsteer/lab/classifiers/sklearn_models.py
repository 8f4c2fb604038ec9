"""scikit-learn's fitted vectorizers and linear models, as guardsteer's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier

from guardsteer.classify.activation import Activation
from guardsteer.classify.files.writing import LinearModel
from guardsteer.classify.words.normalise import Normaliser
from guardsteer.classify.words.vectorizer import VectorizerSettings
from guardsteer.errors import ClassifierError

__all__ = ["from_sklearn", "vectorizer_settings"]

_TOKEN_PATTERNS: Mapping[str, Literal[1, 2]] = {r"(?u)\b\w\w+\b": 2, r"(?u)\b\w+\b": 1}


def from_sklearn(vectorizer: Any, classifier: Any, outputs: Sequence[str]) -> LinearModel:
    """Return a fitted ``TfidfVectorizer`` or ``HashingVectorizer`` and linear classifier as one model.

    ``classifier``: ``LogisticRegression``, or ``SGDClassifier`` with ``loss="log_loss"``. ``outputs``:
    one name for two classes (the probability of the second), else one for each class, in order.
    Raises ``ClassifierError`` for settings that the streaming scorer does not reproduce.
    """
    problems = [*_vectorizer_problems(vectorizer), *_classifier_problems(classifier, outputs)]
    if problems:
        raise ClassifierError("; ".join(problems))
    weight = np.asarray(classifier.coef_, dtype=np.float64).T
    settings = vectorizer_settings(vectorizer, int(weight.shape[0]))
    hashing = settings.type == "hashing"
    return LinearModel(
        settings=settings,
        outputs=tuple(outputs),
        activation=_activation(classifier, outputs),
        weight=weight,
        bias=np.asarray(classifier.intercept_, dtype=np.float64).reshape(-1),
        vocabulary=None if hashing else {term: int(index) for term, index in vectorizer.vocabulary_.items()},
        idf=np.asarray(vectorizer.idf_, dtype=np.float64) if settings.use_idf else None,
    )


def vectorizer_settings(vectorizer: Any, features: int) -> VectorizerSettings:
    """Return the settings of a fitted ``TfidfVectorizer`` or ``HashingVectorizer``.

    Raises ``ClassifierError`` for those that guardsteer does not reproduce.
    """
    problems = _vectorizer_problems(vectorizer)
    if problems:
        raise ClassifierError("; ".join(problems))
    hashing = isinstance(vectorizer, HashingVectorizer)
    return VectorizerSettings(
        type="hashing" if hashing else "tfidf",
        analyzer=vectorizer.analyzer,
        ngrams=vectorizer.ngram_range,
        lowercase=vectorizer.lowercase,
        strip_accents=vectorizer.strip_accents,
        norm=vectorizer.norm,
        binary=vectorizer.binary,
        sublinear_tf=not hashing and vectorizer.sublinear_tf,
        use_idf=not hashing and vectorizer.use_idf,
        alternate_sign=hashing and vectorizer.alternate_sign,
        features=features,
        shortest_word=_TOKEN_PATTERNS[vectorizer.token_pattern] if vectorizer.analyzer == "word" else 2,
        normalise=vectorizer.preprocessor.kind if isinstance(vectorizer.preprocessor, Normaliser) else None,
    )


def _activation(classifier: Any, outputs: Sequence[str]) -> Activation:
    if len(outputs) == 1:
        return "sigmoid"
    several: Literal["softmax", "one_vs_rest"]
    several = "one_vs_rest" if isinstance(classifier, SGDClassifier) else "softmax"
    return several


def _vectorizer_problems(vectorizer: Any) -> list[str]:
    if not isinstance(vectorizer, (TfidfVectorizer, HashingVectorizer)):
        return [f"{type(vectorizer).__name__} is no TfidfVectorizer or HashingVectorizer"]
    given = vectorizer.get_params()
    problems = [
        f"the vectorizer has its own {name}, which no stream could follow; leave it out"
        for name in ("preprocessor", "tokenizer", "stop_words")
        if given[name] is not None and not isinstance(given[name], Normaliser)
    ]
    if vectorizer.analyzer not in ("word", "char", "char_wb"):
        problems.append("the vectorizer's analyzer must be word, char or char_wb")
    if vectorizer.analyzer == "word" and vectorizer.token_pattern not in _TOKEN_PATTERNS:
        default, short = _TOKEN_PATTERNS
        problems.append(
            f"the vectorizer's token_pattern must be scikit-learn's default, {default}, or, for words of one "
            f"letter, {short}"
        )
    if vectorizer.norm not in ("l2", None):
        problems.append(f"the vectorizer's norm must be l2 or None, got {vectorizer.norm!r}")
    if vectorizer.strip_accents not in ("unicode", "ascii", None):
        problems.append("the vectorizer's strip_accents must be unicode, ascii or None")
    if isinstance(vectorizer, TfidfVectorizer) and not hasattr(vectorizer, "vocabulary_"):
        problems.append("the vectorizer is not fitted")
    return problems


def _classifier_problems(classifier: Any, outputs: Sequence[str]) -> list[str]:
    if not isinstance(classifier, (LogisticRegression, SGDClassifier)):
        return [f"{type(classifier).__name__} is no LogisticRegression or SGDClassifier"]
    if isinstance(classifier, SGDClassifier) and classifier.loss != "log_loss":
        return [f"an SGDClassifier gives probabilities with loss='log_loss' alone, got {classifier.loss!r}"]
    if not hasattr(classifier, "coef_"):
        return ["the classifier is not fitted"]
    rows = int(classifier.coef_.shape[0])
    return [] if rows == len(outputs) else [f"the classifier has {rows} outputs, {len(outputs)} were named"]
