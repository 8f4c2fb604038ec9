"""What a classifier's folder says about itself: ``classifier.json``, closed and strict."""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from guardsteer.classify.activation import Activation
from guardsteer.classify.words.normalise import Normalise
from guardsteer.classify.words.vectorizer import VectorizerSettings
from guardsteer.classify.words.windows import Windows
from guardsteer.errors import ClassifierError, Problem

__all__ = [
    "CARD_FILE",
    "FORMAT",
    "Card",
    "CombinationCard",
    "DataCard",
    "EncoderCard",
    "EncoderRef",
    "LinearCard",
    "Measure",
    "Measured",
    "MemberCard",
    "OperatingPoint",
    "PatternsCard",
    "PipelineCard",
    "ProbeCard",
    "parse_card",
    "read_card",
]

CARD_FILE = "classifier.json"
FORMAT = 1

_MAX_CARD_BYTES = 4 * 2**20

Digest: TypeAlias = Annotated[str, Field(pattern=r"^b3:[0-9a-f]{64}$")]
Identifier: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Line: TypeAlias = Annotated[str, Field(max_length=4096)]
Outputs: TypeAlias = Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=4096, strict=False)]
Fraction: TypeAlias = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]

Measured: TypeAlias = Literal["projection", "cosine"]
"""What of a hidden state a probe weighs: the state as it is, or its direction alone."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DataCard(_Closed):
    """What a classifier was trained on. ``digest`` covers the rows; ``sources`` give attribution."""

    digest: Digest
    rows: Annotated[int, Field(ge=0)]
    train: Annotated[int, Field(ge=0)] = 0
    tune: Annotated[int, Field(ge=0)] = 0
    test: Annotated[int, Field(ge=0)] = 0
    sources: Annotated[tuple[Line, ...], Field(max_length=256, strict=False)] = ()


class Measure(_Closed):
    """A figure over ``rows`` test rows, with its bootstrap interval where one was taken."""

    value: Number
    low: Number | None = None
    high: Number | None = None
    rows: Annotated[int, Field(ge=0)]


class OperatingPoint(_Closed):
    """What a threshold on an output gave: set on the tuning rows, measured on the test rows."""

    output: Identifier
    threshold: Fraction
    false_positive_rate: Fraction
    true_positive_rate: Fraction


class _Common(_Closed):
    format: Literal[1]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    version: Line = "1"
    description: Line = ""
    licence: Line = ""
    data: DataCard | None = None
    training: dict[Line, bool | int | Number | Line | None] = Field(default_factory=dict)
    metrics: dict[Line, Measure] = Field(default_factory=dict)
    operating_points: Annotated[tuple[OperatingPoint, ...], Field(strict=False)] = ()


class _OutputsCard(_Common):
    outputs: Outputs

    @model_validator(mode="after")
    def _distinct(self) -> _OutputsCard:
        if len(set(self.outputs)) != len(self.outputs):
            raise ValueError("two outputs have the same name")
        return self


class LinearCard(_OutputsCard):
    """A linear text classifier: its vectorizer, and the digests of the files beside the card.

    ``windows``: it reads the newest words alone (see ``windows``).
    """

    kind: Literal["linear"]
    activation: Activation
    vectorizer: VectorizerSettings
    windows: Windows | None = None
    files: dict[Literal["weights.safetensors", "vocabulary.json", "model.onnx"], Digest]

    @model_validator(mode="after")
    def _files_fit(self) -> LinearCard:
        expected = {"weights.safetensors", "model.onnx"}
        if self.vectorizer.type == "tfidf":
            expected.add("vocabulary.json")
        if set(self.files) != expected:
            raise ValueError(f"files must name exactly {', '.join(sorted(expected))}")
        if len(self.outputs) == 1 and self.activation != "sigmoid":
            raise ValueError("a single output needs the activation sigmoid")
        return self


class PatternsCard(_Common):
    """Literals and patterns."""

    kind: Literal["patterns"]
    literals: Annotated[tuple[str, ...], Field(max_length=100_000, strict=False)] = ()
    patterns: Annotated[tuple[str, ...], Field(max_length=10_000, strict=False)] = ()
    ignore_case: bool = True
    tail_characters: int = 256
    normalise: Normalise | None = None


class ProbeCard(_OutputsCard):
    """A linear probe: where it reads and what, of which model, and its weights' digest."""

    kind: Literal["probe"]
    measure: Measured = "projection"
    site: Literal["block_output"] = "block_output"
    block: Annotated[int, Field(ge=0, le=100_000)]
    width: Annotated[int, Field(ge=1, le=1_000_000)]
    dtype: Line
    fingerprint: Line
    files: dict[Literal["weights.safetensors"], Digest]

    @model_validator(mode="after")
    def _files_fit(self) -> ProbeCard:
        if set(self.files) != {"weights.safetensors"}:
            raise ValueError("files must name exactly weights.safetensors")
        return self


class MemberCard(_Closed):
    """A member of a combination: a catalogue name or a path beside the card, and which classifier that was.

    ``first_words``: it reads so many words at the beginning of a text and no more.
    """

    use: Annotated[str, Field(min_length=1, max_length=4096)]
    digest: Digest
    outputs: Outputs
    first_words: Annotated[int, Field(ge=1, le=100_000)] | None = None


class CombinationCard(_OutputsCard):
    """A classifier made of others: what of their scores counts, and with a stack its table's digest."""

    kind: Literal["combination"]
    by: Literal["max", "mean", "stack"]
    missing: Literal["closed", "without"] = "closed"
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    members: Annotated[tuple[MemberCard, ...], Field(min_length=2, max_length=64, strict=False)]
    files: dict[Literal["weights.safetensors"], Digest] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _parts_fit(self) -> CombinationCard:
        stacked = self.by == "stack"
        if set(self.files) != ({"weights.safetensors"} if stacked else set()):
            raise ValueError("files must name weights.safetensors for a stack, and nothing for max and mean")
        if stacked and self.missing != "closed":
            raise ValueError(
                "a stack weighs all its members, so it cannot go on without one: missing: closed"
            )
        if len(self.outputs) == 1 and self.activation != "sigmoid":
            raise ValueError("a single output needs the activation sigmoid")
        if not stacked and any(member.outputs != self.outputs for member in self.members):
            raise ValueError("max and mean are taken output by output: every member needs these outputs")
        return self


class EncoderRef(_Closed):
    """The encoder that a classifier reads with. It lies elsewhere: ``identity`` tells it from others.

    ``source``: what it was exported from, for who has to do that again.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    identity: Digest
    width: Annotated[int, Field(ge=1, le=1_000_000)]
    precision: Literal["float32", "int8"]
    source: Line = ""


class EncoderCard(_OutputsCard):
    """Scores by a transformer encoder: with a table of weights, or (no files) by the encoder's own head.

    ``window``: tokens read at once; ``over``: what counts of several windows; ``read``: where a stream is
    read unless a policy says otherwise, as ``schedule.parse_schedule`` has it.
    """

    kind: Literal["encoder"]
    activation: Activation
    encoder: EncoderRef
    window: Annotated[int, Field(ge=8, le=1_000_000)]
    over: Literal["max", "mean"]
    read: Annotated[str, Field(pattern=r"^(prompt|sentences|every [1-9][0-9]{0,5})$")] = "sentences"
    files: dict[Literal["weights.safetensors"], Digest] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _parts_fit(self) -> EncoderCard:
        if not self.files and len(self.outputs) != self.encoder.width:
            raise ValueError("without files the outputs are the encoder's own, one for each of its width")
        if len(self.outputs) == 1 and self.activation != "sigmoid":
            raise ValueError("a single output needs the activation sigmoid")
        return self


class PipelineCard(_OutputsCard):
    """A scikit-learn pipeline: its vectorizer, the rest as a graph; ``read`` as on an encoder's card."""

    kind: Literal["pipeline"]
    vectorizer: VectorizerSettings
    read: Annotated[str, Field(pattern=r"^(prompt|sentences|every [1-9][0-9]{0,5})$")] = "sentences"
    files: dict[Literal["weights.safetensors", "vocabulary.json", "model.onnx"], Digest]

    @model_validator(mode="after")
    def _files_fit(self) -> PipelineCard:
        expected = {"model.onnx"}
        if self.vectorizer.type == "tfidf":
            expected.add("vocabulary.json")
        if self.vectorizer.use_idf:
            expected.add("weights.safetensors")
        if set(self.files) != expected:
            raise ValueError(f"files must name exactly {', '.join(sorted(expected))}")
        return self


Card: TypeAlias = LinearCard | PatternsCard | ProbeCard | CombinationCard | EncoderCard | PipelineCard

_CARD: TypeAdapter[Card] = TypeAdapter(Annotated[Card, Field(discriminator="kind")])


def read_card(folder: Path) -> Card:
    """Return the card of a classifier's folder.

    Raises ``ClassifierError`` that lists every mistake in it.
    """
    path = folder / CARD_FILE
    try:
        if not path.is_file():
            _refuse(path, "cannot be read: there is no such file")
        if path.stat().st_size > _MAX_CARD_BYTES:
            _refuse(path, f"is larger than {_MAX_CARD_BYTES} bytes")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        _refuse(path, f"cannot be read: {error}", error)
    return parse_card(data, path)


def parse_card(data: bytes, path: Path) -> Card:
    """Return the card that ``data`` holds; ``path`` is for messages."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        _refuse(path, f"is not valid JSON: {reason}", error)
    try:
        return _CARD.validate_python(value)
    except ValidationError as error:
        problems = [
            Problem(str(path), 0, 0, f"{_place(item['loc'])}{item['msg']}", _got(item["input"]))
            for item in error.errors(include_url=False)
        ]
        raise ClassifierError(problems) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"the key {counts.most_common(1)[0][0]!r} occurs twice in one object")
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")


def _place(location: tuple[int | str, ...]) -> str:
    # The first part only repeats the card's kind.
    parts = [str(part) for part in location[1:]] if len(location) > 1 else []
    return f"{'.'.join(parts)}: " if parts else ""


def _got(value: Any) -> str:
    return f"got {reprlib.repr(value)}"


def _refuse(path: Path, message: str, cause: Exception | None = None) -> NoReturn:
    raise ClassifierError([Problem(str(path), 0, 0, message)]) from cause
