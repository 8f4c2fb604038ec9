"""Classifier folders, written: the same model gives the same bytes. Linear ones need the package onnx."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardsteer.classify.activation import Activation
from guardsteer.classify.files.artifact import VOCABULARY_FILE, check_tensors, write_tensors, write_vocabulary
from guardsteer.classify.files.card import CARD_FILE, FORMAT, Measured, parse_card
from guardsteer.classify.files.graph import MODEL_FILE, WEIGHTS_FILE, build_graph
from guardsteer.classify.words.vectorizer import VectorizerSettings
from guardsteer.classify.words.windows import Windows
from guardsteer.core.digests import digest_bytes
from guardsteer.errors import ClassifierError

__all__ = ["LinearModel", "write_card", "write_folder", "write_linear", "write_probe"]


@dataclass(frozen=True, slots=True)
class LinearModel:
    """A trained linear model: ``weight`` [feature, output], ``bias`` [output], ``idf`` [feature] or None.

    ``windows``: the newest words alone are read.
    """

    settings: VectorizerSettings
    outputs: tuple[str, ...]
    activation: Activation
    weight: NDArray[Any]
    bias: NDArray[np.float64]
    vocabulary: Mapping[str, int] | None = None
    idf: NDArray[np.float64] | None = None
    windows: Windows | None = None


def write_linear(folder: Path, model: LinearModel, about: Mapping[str, Any]) -> None:
    """Write a linear classifier's folder; ``about`` holds the card's other fields (name, licence, ...).

    Weights are kept in float32 where values have unit norm, since what that rounds off a decision is
    far below 1e-5, else in float64. Raises ``ClassifierError`` where the model is not fit to be written.
    """
    settings = model.settings
    dtype = "float32" if settings.norm == "l2" else "float64"
    tensors = {"weight": model.weight.astype(dtype), "bias": model.bias.astype(np.float64)}
    if model.idf is not None:
        tensors["idf"] = model.idf.astype(np.float64)
    _check(model, tensors, dtype)
    weights = write_tensors(tensors)
    files = {
        WEIGHTS_FILE: weights,
        MODEL_FILE: build_graph(
            weights=weights,
            dtype=dtype,
            features=settings.features,
            outputs=len(model.outputs),
            activation=model.activation,
        ),
    }
    if model.vocabulary is not None:
        files[VOCABULARY_FILE] = write_vocabulary(model.vocabulary)
    card = {
        **about,
        "kind": "linear",
        "outputs": list(model.outputs),
        "activation": model.activation,
        "vectorizer": settings.model_dump(mode="json"),
    }
    if model.windows is not None:
        card["windows"] = model.windows.model_dump(mode="json")
    write_folder(folder, card, files)


def write_probe(
    folder: Path,
    *,
    weight: NDArray[Any],
    bias: NDArray[Any],
    outputs: Sequence[str],
    block: int,
    fingerprint: str,
    dtype: str,
    about: Mapping[str, Any],
    measure: Measured = "projection",
) -> None:
    """Write a probe's folder. ``weight``: [output, width], ``bias``: [output]; kept in float32.

    ``fingerprint``: digest of the model; ``dtype``: type of the hidden states that it was trained on.
    """
    tensors = {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
    shape = (len(outputs), weight.shape[-1])
    problems = check_tensors(tensors, {"weight": (shape, ("float32",)), "bias": (shape[:1], ("float32",))})
    if problems:
        raise ClassifierError("; ".join(problems))
    card = {
        **about,
        "kind": "probe",
        "outputs": list(outputs),
        "block": block,
        "width": int(weight.shape[1]),
        "dtype": dtype,
        "fingerprint": fingerprint,
    }
    if measure != "projection":
        card["measure"] = measure
    write_folder(folder, card, {WEIGHTS_FILE: write_tensors(tensors)})


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write ``classifier.json``. Raises ``ClassifierError`` where the loader would refuse it."""
    write_folder(folder, card, {})


def write_folder(folder: Path, card: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write files, then the card that names their digests: it is what makes the folder an asset."""
    full = {"format": FORMAT, **card}
    if files:
        full["files"] = {name: digest_bytes(data) for name, data in files.items()}
    text = json.dumps(full, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False) + "\n"
    parse_card(text.encode(), folder / CARD_FILE)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / CARD_FILE).write_bytes(text.encode())


def _check(model: LinearModel, tensors: Mapping[str, NDArray[Any]], dtype: str) -> None:
    features, outputs = model.settings.features, len(model.outputs)
    expected = {"weight": ((features, outputs), (dtype,)), "bias": ((outputs,), ("float64",))}
    if model.settings.use_idf:
        expected["idf"] = ((features,), ("float64",))
    problems = check_tensors(tensors, expected)
    if model.settings.type == "tfidf":
        indices = sorted((model.vocabulary or {}).values())
        if indices != list(range(features)):
            problems.append(f"the vocabulary must give each of {features} features exactly one n-gram")
    elif model.vocabulary is not None:
        problems.append("a hashing vectorizer has no vocabulary")
    if problems:
        raise ClassifierError("; ".join(problems))
