"""A local Hugging Face encoder or sequence classifier, exported into a folder that classifiers read with.

Every graph is held against torch before it counts; one in int8 against that in float32 which it was made of.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from guardsteer.classify.activation import Activation
from guardsteer.classify.encoders.encoder import open_encoder
from guardsteer.classify.encoders.files import (
    ENCODER_FILE,
    EXTERNAL_FILE,
    GRAPH_FILE,
    TOKENIZER_FILE,
    Agreement,
    Manifest,
    read_manifest,
)
from guardsteer.classify.encoders.reading import Head
from guardsteer.classify.encoders.writing import write_encoder_classifier
from guardsteer.core.digests import digest_file
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.encoders.graphs import (
    LARGEST_BYTES,
    OPSET,
    TOLERANCE,
    difference,
    numbers_of,
    open_graph,
    quantise,
    write_graph,
)
from guardsteer.lab.classifiers.encoders.loading import (
    Exported,
    activation_of,
    load_module,
    outputs_of_labels,
    tokenizer_bytes,
)
from guardsteer.lab.classifiers.encoders.model_files import ModelFiles, Pooling, read_model_files

__all__ = ["LEAST_AGREEMENT", "MEAN_AGREEMENT", "Export", "Exporting", "export_model"]

MEAN_AGREEMENT: Final = 0.98
LEAST_AGREEMENT: Final = 0.95
"""int8 is refused below these: a cosine with float32's embedding, or 1 less a probability's largest error."""

_DEFAULT_TOKENS = 512
_PACKAGES = ("torch", "transformers", "tokenizers", "onnx", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Exporting:
    """How to export. None: as the model's folder says.

    ``texts``: what int8 is held against float32 on; ``force`` keeps int8 that does not agree.
    ``labels`` and ``activation`` are for sequence classifiers.
    """

    name: str
    texts: Sequence[str]
    pooling: Pooling | None = None
    unit_length: bool | None = None
    max_tokens: int | None = None
    int8: bool = False
    force: bool = False
    labels: Sequence[str] | None = None
    activation: Activation | None = None
    licence: str = ""
    source: str = ""
    description: str = ""
    largest_bytes: int = LARGEST_BYTES


@dataclass(frozen=True, slots=True)
class Export:
    """What was written: ``manifest`` of the folder, and the classifier's outputs where it is one."""

    folder: Path
    manifest: Manifest
    outputs: tuple[str, ...] = ()


def export_model(model: Path, out: Path, settings: Exporting) -> Export:
    """Export the model in a folder into ``out``: ``encoder.json`` comes last and makes it an encoder.

    A sequence classifier gets a card too, so that a policy can name ``out``. Needs the package onnx. Raises
    ``ClassifierError`` for a model that cannot be exported, differs from torch by more than ``TOLERANCE``, or
    in int8 from float32 by more than the agreement allows.
    """
    _check_onnx()
    files = read_model_files(model)
    pooling, unit_length = _pooling(files, settings)
    labels = _labels(files)
    outputs = outputs_of_labels(labels, settings.labels) if files.classifies else ()
    activation = settings.activation or (activation_of(files, len(labels)) if files.classifies else "sigmoid")
    vocabulary = _vocabulary(files)
    tokenizer = tokenizer_bytes(model, vocabulary)
    module = load_module(files, pooling, unit_length=unit_length)
    longest = _longest(files, settings)
    out.mkdir(parents=True, exist_ok=True)
    for name in (ENCODER_FILE, EXTERNAL_FILE):
        (out / name).unlink(missing_ok=True)
    (out / TOKENIZER_FILE).write_bytes(tokenizer)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if settings.int8 else out
        write_graph(module, folder, vocabulary=vocabulary, largest_bytes=settings.largest_bytes)
        session = open_graph(folder)
        distance = difference(module, session, vocabulary=vocabulary, longest=longest)
        if not distance <= TOLERANCE:
            raise ClassifierError(
                f"{model}: the graph gives numbers {distance:g} away from torch's, expected at most "
                f"{TOLERANCE:g}; {files.architecture or 'this model'} does something that its trace does not "
                "hold, and cannot be exported"
            )
        agreement = None
        if settings.int8:
            quantise(folder / GRAPH_FILE, out, largest_bytes=settings.largest_bytes)
            head = Head(outputs, activation) if files.classifies else None
            agreement = _agreement(session, open_graph(out), out, settings, head, longest)
    manifest = _manifest(files, settings, module, out, longest=longest, labels=labels)
    written = {**manifest, "torch_difference": distance, "int8": agreement, "pooling": pooling or "none"}
    _write_manifest(out, written)
    made = open_encoder(out).manifest
    if files.classifies:
        about = {"name": settings.name, "description": settings.description, "licence": settings.licence}
        write_encoder_classifier(out, made, outputs=outputs, activation=activation, about=about)
    return Export(out, made, outputs)


def _check_onnx() -> None:
    try:
        import onnx  # noqa: F401  # whether it is there
    except ImportError as error:
        raise ClassifierError('exporting needs the package onnx: pip install "guardsteer[train]"') from error


def _pooling(files: ModelFiles, settings: Exporting) -> tuple[Pooling | None, bool]:
    if files.classifies:
        if settings.pooling is not None or settings.unit_length is not None:
            raise ClassifierError(
                f"--pooling: {files.folder} holds a sequence classifier, whose own head gives the scores"
            )
        return None, False
    if settings.labels is not None or settings.activation is not None:
        raise ClassifierError(
            f"--labels and --activation: {files.folder} holds no sequence classifier "
            f"({files.architecture or 'no architecture named'}); train a head on its embeddings instead"
        )
    pooling = settings.pooling or files.pooling
    if pooling is None:
        raise ClassifierError(
            f"{files.folder}: nothing says how its tokens become one embedding; say --pooling mean or cls"
        )
    unit_length = settings.unit_length if settings.unit_length is not None else files.unit_length
    return pooling, True if unit_length is None else unit_length


def _labels(files: ModelFiles) -> list[str]:
    if not files.classifies:
        return []
    named = files.config.get("id2label") or {}
    number = int(files.config.get("num_labels") or len(named) or 2)
    return [str(named.get(str(index), f"LABEL_{index}")) for index in range(number)]


def _longest(files: ModelFiles, settings: Exporting) -> int:
    wanted = settings.max_tokens
    if wanted is None:
        return files.longest or _DEFAULT_TOKENS
    if wanted < 32 or (files.longest is not None and wanted > files.longest):
        raise ClassifierError(
            f"--max-tokens: got {wanted}, expected 32 to {files.longest or 'what the model was trained on'}"
        )
    return wanted


def _vocabulary(files: ModelFiles) -> int:
    size = files.config.get("vocab_size")
    if not isinstance(size, int) or size < 1:
        raise ClassifierError(f"{files.folder / 'config.json'}: vocab_size: got {size!r}, expected a number")
    return size


def _agreement(
    exact: Any, rounded: Any, folder: Path, settings: Exporting, head: Head | None, longest: int
) -> Mapping[str, Any]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    windows = [tokenizer.encode(text).ids for text in settings.texts]
    pairs = zip(numbers_of(exact, windows), numbers_of(rounded, windows), strict=True)
    near = [_nearness(one, other, head) for one, other in pairs]
    agreement = Agreement(texts=len(near), mean=float(np.mean(near)), least=float(np.min(near)))
    if not (agreement.mean >= MEAN_AGREEMENT and agreement.least >= LEAST_AGREEMENT) and not settings.force:
        what = "the embeddings' cosine" if head is None else "1 less the largest error of a probability"
        raise ClassifierError(
            f"int8 does not hold this model's quality: over {agreement.texts} texts {what} is "
            f"{agreement.mean:.4f} in the mean and {agreement.least:.4f} at the least, expected "
            f"{MEAN_AGREEMENT} and {LEAST_AGREEMENT}; export it without --int8, or take it with --force"
        )
    return agreement.model_dump(mode="json")


def _nearness(one: NDArray[Any], other: NDArray[Any], head: Head | None) -> float:
    if head is not None:
        return 1.0 - float(np.max(np.abs(head.scores(one) - head.scores(other))))
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0


def _manifest(
    files: ModelFiles, settings: Exporting, module: Exported, out: Path, *, longest: int, labels: list[str]
) -> dict[str, Any]:
    hidden: Any = files.config.get("hidden_size") or getattr(module.model.config, "hidden_size", 0)
    there = [name for name in (GRAPH_FILE, EXTERNAL_FILE, TOKENIZER_FILE) if (out / name).is_file()]
    return {
        "format": 1,
        "name": settings.name,
        "description": settings.description,
        "licence": settings.licence,
        "source": settings.source,
        "architecture": files.architecture,
        "gives": "logits" if files.classifies else "embedding",
        "width": len(labels) if files.classifies else int(hidden),
        "labels": labels,
        "max_tokens": longest,
        "unit_length": module.unit_length,
        "precision": "int8" if settings.int8 else "float32",
        "opset": OPSET,
        "weights": files.weights,
        "files": {name: digest_file(out / name) for name in there},
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _write_manifest(folder: Path, written: Mapping[str, Any]) -> None:
    import json

    text = json.dumps(written, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False) + "\n"
    path = folder / ENCODER_FILE
    path.write_text(text, encoding="utf-8")
    try:
        read_manifest(folder)
    except ClassifierError:
        path.unlink()
        raise
