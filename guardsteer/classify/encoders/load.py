"""From an encoder classifier's folder to the classifier: where its encoder lies, and what fits it.

An encoder is large and ships with nothing, so the card names it and the machine has it somewhere:
in the classifier's own folder, in a folder that the caller gives, in one of ``GUARDSTEER_ENCODERS``, or below
``encoders/`` in a folder of assets. In the last three, encoders may lie a folder deeper, one each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from guardsteer.assets import Catalog
from guardsteer.classify.encoders.encoder import Encoder, open_encoder
from guardsteer.classify.encoders.files import ENCODER_FILE, Manifest, read_manifest
from guardsteer.classify.encoders.reading import EncoderClassifier, Head
from guardsteer.classify.files.artifact import read_file, read_tensors
from guardsteer.classify.files.card import CARD_FILE, EncoderCard, EncoderRef
from guardsteer.classify.files.graph import WEIGHTS_FILE
from guardsteer.classify.pace.schedule import parse_schedule
from guardsteer.core.digests import digest_json
from guardsteer.errors import ClassifierError, Problem

__all__ = [
    "ENVIRONMENT",
    "encoder_folder",
    "encoder_places",
    "find_encoder",
    "load_encoder_classifier",
]

ENVIRONMENT: Final = "GUARDSTEER_ENCODERS"
"""Environment variable that lists folders of encoders, as PATH lists folders."""

_FOLDER = "encoders"


def load_encoder_classifier(
    folder: Path, card: EncoderCard, catalog: Catalog, given: Sequence[Path] = ()
) -> EncoderClassifier:
    """Return the classifier of a folder whose card was read; ``given`` folders are looked in first.

    Raises ``ClassifierError`` where its encoder is not found, or files are damaged or do not fit.
    """
    encoder = find_encoder(card.encoder, folder, [*given, *encoder_places(folder, catalog)])
    if encoder.width != card.encoder.width:
        message = f"names a width of {card.encoder.width}, the encoder {encoder.folder} has {encoder.width}"
        raise ClassifierError([Problem(str(folder / CARD_FILE), 0, 0, message)])
    decides = {"kind", "outputs", "activation", "window", "over", "files"}
    plain = card.model_dump(mode="json", include=decides)
    return EncoderClassifier(
        encoder=encoder,
        head=_head(folder, card, encoder.manifest),
        window=card.window,
        over=card.over,
        schedule=parse_schedule(card.read),
        digest=digest_json({**plain, "encoder": card.encoder.identity}),
    )


def encoder_places(folder: Path, catalog: Catalog) -> list[Path]:
    """Return the folders in which the encoder of the classifier in ``folder`` may be, in order."""
    listed = [Path(part) for part in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if part]
    return [folder, *listed, *(root / _FOLDER for root in catalog.roots)]


def find_encoder(wanted: EncoderRef, folder: Path, places: Sequence[Path]) -> Encoder:
    """Return the encoder that the card in ``folder`` wants, out of ``places`` and the folders in them.

    Raises ``ClassifierError`` that says where was looked, what was found there and how to export it.
    """
    others: list[str] = []
    for place in _candidates(places):
        try:
            manifest = read_manifest(place)
        except ClassifierError as error:
            others.append(str(error))
            continue
        if manifest.identity == wanted.identity:
            return open_encoder(place)
        if manifest.name == wanted.name:
            others.append(_differs(place, manifest, wanted))
    int8 = " --int8" if wanted.precision == "int8" else ""
    model = f"MODEL ({wanted.source})" if wanted.source else "MODEL"
    looked = ", ".join(str(place) for place in dict.fromkeys(places))
    lines = [
        f"reads with the encoder {wanted.name} ({wanted.precision}, {wanted.identity[:15]}…), which is not "
        f"here; looked in {looked}",
        *others,
        f"export it: guardsteer classifiers export {model} --out DIR{int8}; then name DIR in {ENVIRONMENT}, "
        "or as 'encoder' of the classifier in the policy",
    ]
    raise ClassifierError([Problem(str(folder / CARD_FILE), 0, 0, "\n  ".join(lines))])


def encoder_folder(wanted: EncoderRef, places: Sequence[Path]) -> Path | None:
    """Return the folder of an encoder as its manifest tells, without opening it; None where it is not."""
    for place in _candidates(places):
        try:
            found = read_manifest(place)
        except ClassifierError:
            continue
        if found.identity == wanted.identity:
            return place
    return None


def _candidates(places: Sequence[Path]) -> Iterator[Path]:
    for place in dict.fromkeys(places):
        if (place / ENCODER_FILE).is_file():
            yield place
            continue
        try:
            below = sorted(place.iterdir())
        except OSError:
            continue
        yield from (each for each in below if (each / ENCODER_FILE).is_file())


def _differs(place: Path, manifest: Manifest, wanted: EncoderRef) -> str:
    precision = (
        ""
        if manifest.precision == wanted.precision
        else f" in {manifest.precision}, and the scores were trained on {wanted.precision}"
    )
    return (
        f"{place} holds another encoder of that name{precision} ({manifest.identity[:15]}…): its weights, "
        "tokenizer, pooling or precision differ"
    )


def _head(folder: Path, card: EncoderCard, manifest: Manifest) -> Head:
    if not card.files:
        if manifest.gives != "logits":
            message = "has no table of weights, and its encoder gives an embedding: scores need one"
            raise ClassifierError([Problem(str(folder / CARD_FILE), 0, 0, message)])
        return Head(card.outputs, card.activation)
    shape = (manifest.width, len(card.outputs))
    data = read_file(folder, WEIGHTS_FILE, card.files[WEIGHTS_FILE])
    tensors = read_tensors(
        folder / WEIGHTS_FILE, data, {"weight": (shape, ("float32",)), "bias": (shape[1:], ("float64",))}
    )
    return Head(card.outputs, card.activation, tensors["weight"].astype(np.float64), tensors["bias"])
