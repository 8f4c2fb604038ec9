"""A vector on disk: ``NAME.safetensors`` with the numbers and ``NAME.json``, the card, with all else.

The card's ``digest`` covers the card and, through ``tensors_digest``, the numbers: a change of either is
found. Nothing here is executed on reading; numbers are read by safetensors and checked one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import safetensors
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from safetensors.numpy import save

from guardsteer.core.digests import digest_json
from guardsteer.core.policy import Position, Site
from guardsteer.errors import Problem

__all__ = [
    "FORMAT",
    "UNIT_TOLERANCE",
    "MethodName",
    "ModelBinding",
    "ReadPosition",
    "Recommendation",
    "Schedule",
    "Separation",
    "Tensors",
    "VectorCard",
    "card_digest",
    "check_numbers",
    "pack_tensors",
    "unpack_tensors",
]

FORMAT: Literal["guardsteer.vector/1"] = "guardsteer.vector/1"
UNIT_TOLERANCE = 1e-4

_deserialize: Any = safetensors.deserialize  # safetensors leaves it without types

MethodName: TypeAlias = Literal[
    "mean_difference",
    "single_pair",
    "mean_centred",
    "whitened_mean_difference",
    "pca_differences",
    "logistic_regression",
    "linear_discriminant",
    "head_probes",
    "refusal_direction",
    "sae_feature",
    "random",
    "imported",
]
ReadPosition: TypeAlias = Literal["assistant_mean", "last_prompt_token", "generated_tokens"]
"""Where hidden states are read.

``assistant_mean``: the mean over the tokens of the last assistant turn. ``last_prompt_token``: the
position whose pass chooses the first token of the answer. ``generated_tokens``: each token of the last
assistant turn as a state of its own.
"""

_Read = Annotated[
    str,
    Field(
        max_length=400,
        pattern=r"^(assistant_mean|last_prompt_token|generated_tokens|not_known|(matching|flagged)_tokens:.+)$",
    ),
]

_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
_Text = Annotated[str, Field(min_length=1, max_length=4000)]
_Digest = Annotated[str, Field(pattern=r"^(b3:[0-9a-f]{64})?$")]
_Block = Annotated[int, Field(ge=0, lt=100_000)]
_Cosine = Annotated[FiniteFloat, Field(ge=-1.000001, le=1.000001)]
_Float32: TypeAlias = NDArray[np.float32]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelBinding(_Closed):
    """The model that a vector was read from, as ``guardsteer.host.fingerprint`` names its parts."""

    architecture: _Text
    config: _Text
    weights: _Text
    tokenizer: _Text
    dtype: _Text
    width: Annotated[int, Field(ge=1)]
    n_blocks: Annotated[int, Field(ge=1)]


class Separation(_Closed):
    """How well one block's direction tells the two sides apart.

    ``cohens_d`` is the difference of the sides' mean projections in units of their pooled standard
    deviation, over the pairs of ``measured_on``; ``split_half_cosine`` compares the directions of two
    halves of the extraction pairs (1.0: the direction does not depend on which pairs were taken). None
    where there were too few pairs to tell. A well separated block is not always one that steers.
    """

    block: _Block
    cohens_d: FiniteFloat | None
    split_half_cosine: _Cosine | None
    measured_on: Literal["tuning", "extraction"]


class Schedule(_Closed):
    """For how long a calibrated push acts; the fields mean what they mean in a policy."""

    ramp: Annotated[int, Field(ge=1)] | None = None
    half_life: Annotated[FiniteFloat, Field(gt=0)] | None = None
    until_sentence_end: bool = False


class Recommendation(_Closed):
    """A calibrated range: strengths in units of the block's residual norm, over the blocks together.

    ``schedule``: for how long the push acted when the range was found, None where all the time. A range
    that was found for a push that decays says nothing about one that stays.
    """

    blocks: Annotated[tuple[_Block, ...], Field(min_length=1)]
    positions: Annotated[tuple[Position, ...], Field(min_length=1)] = ("generated",)
    low: Annotated[FiniteFloat, Field(gt=0)]
    recommended: Annotated[FiniteFloat, Field(gt=0)]
    high: Annotated[FiniteFloat, Field(gt=0)]
    schedule: Schedule | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Recommendation:
        if not self.low <= self.recommended <= self.high:
            raise ValueError(
                f"got low {self.low}, recommended {self.recommended}, high {self.high}; they must ascend"
            )
        return self


class VectorCard(_Closed):
    """What a vector says about itself; ``recommended`` is None until it was calibrated on its model.

    ``site`` is where hidden states were read, and where the vector acts. ``site_width`` is the number of
    values of a state there, None where it is the model's width; for ``heads`` it must be given. ``source``
    says of a direction that was not read from pairs where it comes from: the format of the file, the id of
    the feature; ``pairs`` is then 0, ``read`` is ``not_known`` and ``data_digest`` is that of the file.
    """

    format: Literal["guardsteer.vector/1"] = FORMAT
    name: _Name
    version: _Text
    trait: _Text
    description: str = Field(max_length=4000)
    licence: _Text
    method: MethodName
    source: Annotated[str, Field(min_length=1, max_length=400)] | None = None
    read: _Read
    site: Site = "block_output"
    site_width: Annotated[int, Field(ge=1)] | None = None
    data_digest: Annotated[str, Field(pattern=r"^b3:[0-9a-f]{64}$")]
    pairs: Annotated[int, Field(ge=0)]
    blocks: Annotated[tuple[_Block, ...], Field(min_length=1)]
    model: ModelBinding
    separation: tuple[Separation, ...] = ()
    recommended: Recommendation | None = None
    libraries: dict[str, str]
    tensors_digest: _Digest = ""
    digest: _Digest = ""

    @property
    def width(self) -> int:
        """Number of values of one direction."""
        return self.model.width if self.site_width is None else self.site_width

    @model_validator(mode="after")
    def _origin_agrees(self) -> VectorCard:
        if self.pairs == 0 and self.source is None:
            raise ValueError("pairs: got 0, expected at least 1, or a source that says where it comes from")
        return self

    @model_validator(mode="after")
    def _site_agrees(self) -> VectorCard:
        if self.site == "embedding" and self.blocks != (0,):
            raise ValueError(f"blocks: got {self.blocks}, but the embedding belongs to block 0 alone")
        if self.site == "heads" and self.site_width is None:
            raise ValueError("site_width: missing; for heads it is n_heads * head_dim of the model")
        if self.site not in ("heads", "embedding") and self.site_width not in (None, self.model.width):
            raise ValueError(
                f"site_width: got {self.site_width}, but states at {self.site} are {self.model.width} wide"
            )
        return self

    @model_validator(mode="after")
    def _blocks_agree(self) -> VectorCard:
        if list(self.blocks) != sorted(set(self.blocks)):
            raise ValueError(f"blocks: got {self.blocks}, each must appear once, in ascending order")
        if self.blocks[-1] >= self.model.n_blocks:
            raise ValueError(f"blocks: got {self.blocks[-1]}, but the model has {self.model.n_blocks} blocks")
        measured = tuple(row.block for row in self.separation)
        if measured and measured != self.blocks:
            raise ValueError(f"separation: got blocks {measured}, but the vector has {self.blocks}")
        strange = set(self.recommended.blocks) - set(self.blocks) if self.recommended else set()
        if strange:
            raise ValueError(f"recommended: got blocks {sorted(strange)}, which the vector lacks")
        return self


def card_digest(card: VectorCard) -> str:
    """Return the digest of everything on ``card`` except its own ``digest``.

    A ``site_width``, ``source`` or ``schedule`` that is not given is left out, as on the cards from before
    there was one.
    """
    absent = {name for name in ("site_width", "source") if getattr(card, name) is None}
    values = card.model_dump(mode="json", exclude={"digest"} | absent)
    if card.recommended is not None and card.recommended.schedule is None:
        del values["recommended"]["schedule"]
    return digest_json(values)


@dataclass(frozen=True, slots=True, eq=False)
class Tensors:
    """The numbers of a vector.

    ``blocks``: ``[block]`` int64. ``directions``: ``[block, width of the site]`` float32. ``residual_norms``:
    ``[block]`` float32.
    """

    blocks: NDArray[np.int64]
    directions: _Float32
    residual_norms: _Float32


def pack_tensors(tensors: Tensors) -> bytes:
    """Return ``tensors`` as a safetensors file; the same numbers give the same bytes."""
    return save(
        {
            "blocks": np.ascontiguousarray(tensors.blocks, dtype="<i8"),
            "directions": np.ascontiguousarray(tensors.directions, dtype="<f4"),
            "residual_norms": np.ascontiguousarray(tensors.residual_norms, dtype="<f4"),
        },
        metadata={"format": FORMAT},
    )


def unpack_tensors(data: bytes, card: VectorCard, file: str) -> Tensors | tuple[Problem, ...]:
    """Return the numbers of a safetensors file, or all that is wrong with them against ``card``."""
    try:
        entries: dict[str, Mapping[str, Any]] = dict(_deserialize(data))
    except Exception as error:  # the parser is another library's: whatever it raises, the file is damaged
        return (Problem(file, 0, 0, f"not a safetensors file: {error}", "build the vector anew"),)
    n_blocks = len(card.blocks)
    shapes = {"blocks": [n_blocks], "directions": [n_blocks, card.width], "residual_norms": [n_blocks]}
    dtypes = {"blocks": "I64", "directions": "F32", "residual_norms": "F32"}
    problems = []
    if set(entries) != set(shapes):
        problems.append(Problem(file, 0, 0, f"tensors: got {sorted(entries)}, expected {sorted(shapes)}"))
    for name in sorted(set(entries) & set(shapes)):
        got = (str(entries[name]["dtype"]), list(entries[name]["shape"]))
        if got != (dtypes[name], shapes[name]):
            wanted = f"{dtypes[name]} {shapes[name]}"
            problems.append(Problem(file, 0, 0, f"tensor {name!r}: got {got[0]} {got[1]}, expected {wanted}"))
    if problems:
        return tuple(problems)
    raw = {name: bytes(entry["data"]) for name, entry in entries.items()}
    tensors = Tensors(
        blocks=np.frombuffer(raw["blocks"], dtype="<i8"),
        directions=np.frombuffer(raw["directions"], dtype="<f4").reshape(shapes["directions"]),
        residual_norms=np.frombuffer(raw["residual_norms"], dtype="<f4"),
    )
    return check_numbers(tensors, card, file) or tensors


def check_numbers(tensors: Tensors, card: VectorCard, file: str) -> tuple[Problem, ...]:
    """Return what is wrong with the values: blocks unlike the card's, NaN, rows that are not unit."""
    problems = []
    if tensors.blocks.tolist() != list(card.blocks):
        problems.append(f"tensor 'blocks': got {tensors.blocks.tolist()}, the card says {list(card.blocks)}")
    for row, block in zip(tensors.directions, card.blocks, strict=True):
        if not np.isfinite(row).all():
            problems.append(f"block {block}: the direction holds NaN or infinity")
            continue
        norm = float(np.linalg.norm(row.astype(np.float64)))
        if abs(norm - 1.0) > UNIT_TOLERANCE:
            problems.append(f"block {block}: got a direction of norm {norm:.6g}, expected 1")
    for norm, block in zip(tensors.residual_norms.tolist(), card.blocks, strict=True):
        if not (np.isfinite(norm) and norm > 0):
            problems.append(f"block {block}: got residual norm {norm}, expected a positive number")
    return tuple(Problem(file, 0, 0, message, "build the vector anew") for message in problems)
