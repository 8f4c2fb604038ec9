"""Small classifiers trained on the spot, with scikit-learn's own beside them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier

from guardsteer.classify.files.writing import write_linear
from guardsteer.classify.load import load_folder
from guardsteer.classify.words.kernel import KERNELS, Kernel
from guardsteer.classify.words.linear import LinearClassifier
from guardsteer.classify.words.normalise import Normaliser
from guardsteer.lab.classifiers.sklearn_models import from_sklearn

# Scripts, ligatures, marks, whitespace of many kinds, and every trap of lowering and stripping.
TEXTS = (
    "I want my money back, the refund never came!! Damn it",
    "ΟΔΥΣΣΕΥΣ ΚΑΙ ΠΗΝΕΛΟΠΗ. Ὀδυσσεύς ΣΑΣ Σ. ΑΣ' ΑΣ'Β",
    "Thanks a lot, that was very kind of you 😀👍🏽 👨‍👩‍👧",
    "Ich möchte bitte die Straße wissen, GROẞE ﬁne Grüße İstanbul ı",
    "我想退款 谢谢 你好世界 ありがとう　ございます",
    "مرحبا أريد استرداد المال न मस्ते क्षत्रिय สวัสดีครับ",
    "tabs\tand\n\nnew lines\r\n and\u00a0no-break\u2003em \u200bzero\x1fus",
    "a b c aa bb cc ab ab ab abc_def 12 12 1 x² ½ ¨´ \ufdfa e\u0301\u0323 \u1e69",
    "the model wrote the same the same the same the same words again",
    "refund refund refund not kind thanks you you you are useless",
)


def kernel_named(name: str) -> Kernel:
    """Return one of the kernels; skips where it was not built."""
    if name not in KERNELS:
        pytest.skip(f"the {name} kernel was not built here: it needs a C compiler and Python's headers")
    return KERNELS[name]


@dataclass(frozen=True)
class Model:
    """One model in its three forms; ``expected`` is scikit-learn's."""

    name: str
    loaded: LinearClassifier
    expected: Callable[[Sequence[str]], NDArray[np.float64]]


def build(folder: Path, vectorizer: Any, classifier: Any, classes: int) -> Model:
    """Train on ``TEXTS``, write, load."""
    labels = [index % classes for index in range(len(TEXTS) * 3)]
    texts = [*TEXTS, *(text[: len(text) // 2] for text in TEXTS), *(text[::-1] for text in TEXTS)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier.fit(vectorizer.fit_transform(texts), labels)
    outputs = ["score"] if classes == 2 else [f"kind_{index}" for index in range(classes)]
    write_linear(folder, from_sklearn(vectorizer, classifier, outputs), {"name": folder.name})
    loaded = load_folder(folder)
    assert isinstance(loaded, LinearClassifier)

    def expected(rows: Sequence[str]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = classifier.predict_proba(vectorizer.transform(rows))
        return found[:, 1:] if classes == 2 else found

    return Model(folder.name, loaded, expected)


def recipes() -> dict[str, tuple[Any, Any, int]]:
    """Return vectorizers and classifiers that between them use every setting."""
    lr, sgd = LogisticRegression, SGDClassifier
    tfidf, hashing = TfidfVectorizer, HashingVectorizer
    return {
        "wb_l2": (tfidf(analyzer="char_wb", ngram_range=(3, 5)), lr(C=30), 2),
        "wb_short": (tfidf(analyzer="char_wb", ngram_range=(1, 2), lowercase=False, norm=None), lr(), 2),
        "wb_wide": (tfidf(analyzer="char_wb", ngram_range=(2, 9), strip_accents="unicode"), lr(C=30), 3),
        "wb_sublinear": (tfidf(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True), lr(C=30), 3),
        "wb_binary": (tfidf(analyzer="char_wb", ngram_range=(1, 4), binary=True), lr(C=30), 2),
        "wb_hash": (hashing(analyzer="char_wb", ngram_range=(2, 4), n_features=256), lr(C=30), 2),
        "wb_hash_binary": (
            hashing(analyzer="char_wb", ngram_range=(1, 3), n_features=64, binary=True),
            lr(C=30),
            2,
        ),
        "word_l2": (tfidf(ngram_range=(1, 2)), lr(C=30), 2),
        "word_accents": (tfidf(ngram_range=(1, 3), strip_accents="unicode", sublinear_tf=True), lr(C=30), 3),
        "word_ascii": (tfidf(ngram_range=(2, 3), strip_accents="ascii", use_idf=False), lr(C=30), 2),
        "word_hash": (
            hashing(ngram_range=(1, 3), n_features=512, alternate_sign=True),
            sgd(loss="log_loss", random_state=1),
            3,
        ),
        "word_hash_plain": (
            hashing(ngram_range=(1, 2), n_features=1024, alternate_sign=False, norm=None),
            sgd(loss="log_loss", random_state=1, alpha=0.1),
            2,
        ),
        "char_l2": (tfidf(analyzer="char", ngram_range=(2, 4)), lr(C=30), 2),
        "char_accents": (
            tfidf(analyzer="char", ngram_range=(1, 3), strip_accents="unicode", sublinear_tf=True),
            lr(C=30),
            4,
        ),
        "char_hash": (hashing(analyzer="char", ngram_range=(1, 5), n_features=2048), lr(C=30), 2),
        "word_letters": (
            tfidf(ngram_range=(1, 3), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"),
            lr(C=30),
            2,
        ),
        "word_letters_skeleton": (
            hashing(
                ngram_range=(1, 2),
                n_features=512,
                token_pattern=r"(?u)\b\w+\b",
                preprocessor=Normaliser("skeleton"),
            ),
            lr(C=30),
            3,
        ),
        "word_skeleton": (
            tfidf(ngram_range=(1, 3), sublinear_tf=True, preprocessor=Normaliser("skeleton")),
            lr(C=30),
            2,
        ),
        "wb_skeleton": (
            hashing(
                analyzer="char_wb", ngram_range=(2, 4), n_features=512, preprocessor=Normaliser("skeleton")
            ),
            lr(C=30),
            3,
        ),
        "char_unicode": (
            tfidf(analyzer="char", ngram_range=(1, 3), preprocessor=Normaliser("unicode")),
            lr(C=30),
            2,
        ),
        "char_binary": (tfidf(analyzer="char", ngram_range=(3, 3), binary=True, norm=None), lr(C=1), 2),
    }
