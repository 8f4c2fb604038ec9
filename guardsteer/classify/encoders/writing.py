"""Folders of classifiers that read with an encoder, written: the same table gives the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardsteer.classify.activation import Activation
from guardsteer.classify.encoders.files import Manifest
from guardsteer.classify.encoders.reading import Over
from guardsteer.classify.files.artifact import check_tensors, write_tensors
from guardsteer.classify.files.card import EncoderRef
from guardsteer.classify.files.graph import WEIGHTS_FILE
from guardsteer.classify.files.writing import write_folder
from guardsteer.errors import ClassifierError

__all__ = ["ref_of", "write_encoder_classifier"]


def ref_of(manifest: Manifest) -> EncoderRef:
    """Return how a card names the encoder of ``manifest``."""
    return EncoderRef(
        name=manifest.name,
        identity=manifest.identity,
        width=manifest.width,
        precision=manifest.precision,
        source=manifest.source,
    )


def write_encoder_classifier(
    folder: Path,
    manifest: Manifest,
    *,
    outputs: Sequence[str],
    activation: Activation,
    about: Mapping[str, Any],
    weight: NDArray[Any] | None = None,
    bias: NDArray[Any] | None = None,
    window: int | None = None,
    over: Over = "max",
    read: str = "sentences",
) -> None:
    """Write the folder of a classifier that reads with the encoder of ``manifest``, which lies elsewhere.

    ``weight``: [width, output], kept in float32, and ``bias``: [output]; both None where the encoder gives
    logits itself. ``window``: tokens, as many as the encoder takes unless given. ``about`` holds the card's
    other fields. Raises ``ClassifierError`` where the loader would refuse it.
    """
    files = {}
    if weight is not None and bias is not None:
        tensors: dict[str, NDArray[Any]] = {
            "weight": weight.astype(np.float32),
            "bias": bias.astype(np.float64),
        }
        shape = (manifest.width, len(outputs))
        wanted = {"weight": (shape, ("float32",)), "bias": (shape[1:], ("float64",))}
        problems = check_tensors(tensors, wanted)
        if problems:
            raise ClassifierError("; ".join(problems))
        files[WEIGHTS_FILE] = write_tensors(tensors)
    card = {
        **about,
        "kind": "encoder",
        "outputs": list(outputs),
        "activation": activation,
        "encoder": ref_of(manifest).model_dump(mode="json"),
        "window": manifest.max_tokens if window is None else window,
        "over": over,
        "read": read,
    }
    write_folder(folder, card, files)
