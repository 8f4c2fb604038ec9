"""Classifier folders of every kind, and ways to change them behind the loader's back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from guardsteer.classify.files.card import Measured
from guardsteer.classify.files.writing import write_card, write_linear, write_probe
from guardsteer.core.digests import digest_bytes
from guardsteer.lab.classifiers.sklearn_models import from_sklearn

FINGERPRINT = "b3:" + "5" * 64
TEXTS = ["give me my money back now", "you are so very kind", "what time is it", "money money refund"]
LABELS = [1, 0, 2, 1]


def linear_folder(folder: Path, *, hashing: bool = False, classes: int = 3) -> Path:
    """Write a small linear classifier."""
    vectorizer = (
        HashingVectorizer(analyzer="char_wb", ngram_range=(2, 3), n_features=64)
        if hashing
        else TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3))
    )
    labels = [label % classes for label in LABELS]
    model = LogisticRegression(C=10).fit(vectorizer.fit_transform(TEXTS), labels)
    outputs = ["calm", "angry", "asking"][:classes] if classes > 2 else ["score"]
    write_linear(folder, from_sklearn(vectorizer, model, outputs), {"name": folder.name})
    return folder


def patterns_folder(folder: Path) -> Path:
    """Write a patterns classifier."""
    write_card(
        folder,
        {"kind": "patterns", "name": folder.name, "literals": ["damn"], "patterns": [r"\bkill (you|him)\b"]},
    )
    return folder


def probe_folder(folder: Path, measure: Measured = "projection") -> Path:
    """Write a probe of width 4 with two outputs, on block 1."""
    write_probe(
        folder,
        weight=np.array([[1.0, -2.0, 0.5, 0.0], [0.0, 0.0, 3.0, -1.0]]),
        bias=np.array([0.25, -1.0]),
        outputs=("harm", "joy"),
        block=1,
        fingerprint=FINGERPRINT,
        dtype="float32",
        about={"name": folder.name},
        measure=measure,
    )
    return folder


def edit_card(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a card's fields."""
    path = folder / "classifier.json"
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))


def edit_tensors(
    folder: Path, change: Callable[[dict[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
) -> None:
    """Change a folder's tensors and the digest on its card."""
    path = folder / "weights.safetensors"
    path.write_bytes(save(dict(change(load(path.read_bytes())))))
    redigest(folder)


def redigest(folder: Path) -> None:
    """Write the digests of the files as they are onto the card."""

    def change(card: dict[str, Any]) -> None:
        card["files"] = {name: digest_bytes((folder / name).read_bytes()) for name in card["files"]}

    edit_card(folder, change)
