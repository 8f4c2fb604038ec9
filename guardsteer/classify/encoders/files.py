"""The folder of an encoder: what ``classifiers export`` writes, read with every check.

``encoder.json`` says what the graph is and names the digest of every other file. The graph takes token
ids and gives numbers, one row for each text; nothing in the folder is code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from guardsteer.core.digests import digest_file, digest_json
from guardsteer.errors import ClassifierError, Problem

__all__ = [
    "ENCODER_FILE",
    "EXTERNAL_FILE",
    "GRAPH_FILE",
    "TOKENIZER_FILE",
    "Agreement",
    "Manifest",
    "check_files",
    "read_manifest",
]

ENCODER_FILE: Final = "encoder.json"
GRAPH_FILE: Final = "model.onnx"
EXTERNAL_FILE: Final = "model.onnx.data"
TOKENIZER_FILE: Final = "tokenizer.json"

_MAX_MANIFEST_BYTES = 2**20
_RESTORE = "the file is damaged or of another version; export the encoder again"

Digest = Annotated[str, Field(pattern=r"^b3:[0-9a-f]{64}$")]
Line = Annotated[str, Field(max_length=4096)]
File = Literal["model.onnx", "model.onnx.data", "tokenizer.json"]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Agreement(_Closed):
    """How near two ways of computing the same came to each other, over ``texts`` texts.

    ``mean`` and ``least``: of an embedding's cosine, or of 1 less the greatest difference of probabilities.
    """

    texts: Annotated[int, Field(ge=1)]
    mean: Annotated[float, Field(allow_inf_nan=False)]
    least: Annotated[float, Field(allow_inf_nan=False)]


class Manifest(_Closed):
    """What an encoder is. ``width``: how many numbers it gives for a text.

    ``gives``: an ``embedding``, which a table of weights makes scores of, or ``logits``, one for each of
    ``labels``. ``max_tokens`` counts special tokens too. ``weights``: digest of the tensors and the
    configuration that it was exported from. ``torch_difference``: the largest between a number of the
    graph and of torch on random tokens. ``int8``: how near the quantised graph comes to the one it was
    made from.
    """

    format: Literal[1]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    description: Line = ""
    licence: Line = ""
    source: Line = ""
    architecture: Line = ""
    gives: Literal["embedding", "logits"]
    width: Annotated[int, Field(ge=1, le=1_000_000)]
    labels: Annotated[tuple[Line, ...], Field(max_length=100_000, strict=False)] = ()
    max_tokens: Annotated[int, Field(ge=8, le=1_000_000)]
    pooling: Literal["mean", "cls", "none"]
    unit_length: bool
    precision: Literal["float32", "int8"]
    opset: Annotated[int, Field(ge=1)]
    weights: Digest
    files: dict[File, Digest]
    torch_difference: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    int8: Agreement | None = None
    versions: dict[Line, Line] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _parts_fit(self) -> Manifest:
        if set(self.files) - {EXTERNAL_FILE} != {GRAPH_FILE, TOKENIZER_FILE}:
            raise ValueError("files must name model.onnx and tokenizer.json, and maybe model.onnx.data")
        if self.gives == "logits" and (len(self.labels) != self.width or self.pooling != "none"):
            raise ValueError("logits need as many labels as the width, and the pooling none")
        if self.gives == "embedding" and (self.labels or self.pooling == "none"):
            raise ValueError("an embedding has no labels and a pooling")
        if (self.int8 is not None) != (self.precision == "int8"):
            raise ValueError("int8 must be there if and only if that is the precision")
        return self

    @property
    def identity(self) -> str:
        """Digest of what decides the numbers up to rounding, whichever program exported the graph.

        A table of weights that was trained on one export fits every other one of the same identity.
        """
        decides = {
            "gives": self.gives,
            "pooling": self.pooling,
            "precision": self.precision,
            "tokenizer": self.files[TOKENIZER_FILE],
            "unit_length": self.unit_length,
            "weights": self.weights,
            "width": self.width,
        }
        return digest_json(decides)


def read_manifest(folder: Path) -> Manifest:
    """Return what ``encoder.json`` says. Raises ``ClassifierError`` that lists every mistake in it."""
    path = folder / ENCODER_FILE
    try:
        if not path.is_file():
            _refuse(
                path, "cannot be read: there is no such file", "export one: guardsteer classifiers export"
            )
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            _refuse(path, f"is larger than {_MAX_MANIFEST_BYTES} bytes")
        value = json.loads(path.read_bytes().decode())
    except (OSError, ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        _refuse(path, f"cannot be read: {reason}", cause=error)
    try:
        return Manifest.model_validate(value)
    except ValidationError as error:
        problems = [
            Problem(str(path), 0, 0, f"{'.'.join(map(str, item['loc'])) or 'top'}: {item['msg']}")
            for item in error.errors(include_url=False)
        ]
        raise ClassifierError(problems) from error


def check_files(folder: Path, files: Mapping[File, str]) -> None:
    """Raise ``ClassifierError`` unless every file is there and is the one that was named; tells all."""
    problems = []
    for name, digest in files.items():
        path = folder / name
        try:
            found = digest_file(path)
        except OSError as error:
            problems.append(Problem(str(path), 0, 0, f"cannot be read: {error.strerror or error}", _RESTORE))
            continue
        if found != digest:
            message = f"is not the file that {ENCODER_FILE} names: its digest is {found}, expected {digest}"
            problems.append(Problem(str(path), 0, 0, message, _RESTORE))
    if problems:
        raise ClassifierError(problems)


def _refuse(path: Path, message: str, hint: str = "", cause: Exception | None = None) -> NoReturn:
    raise ClassifierError([Problem(str(path), 0, 0, message, hint)]) from cause
