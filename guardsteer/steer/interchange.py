"""Vectors in the formats of others: read as data alone, and written with what each format can carry.

GGUF control vectors (llama.cpp, repeng, EasySteer), CAST's ``.svec``, plain safetensors, NumPy and torch
files. What is read has no model: it must be bound to one before
it can steer (``guardsteer.lab.extraction.importing``).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from guardsteer.core.digests import digest_bytes
from guardsteer.errors import VectorError
from guardsteer.steer import interchange_gguf
from guardsteer.steer.vectors import Vector, write_whole

__all__ = ["FORMATS", "Foreign", "directions_of", "export_vector", "read_foreign"]

_Array = NDArray[np.float64]

FORMATS: Mapping[str, str] = {
    ".gguf": "gguf",
    ".svec": "svec",
    ".safetensors": "safetensors",
    ".npz": "numpy",
    ".npy": "numpy",
    ".pt": "torch",
    ".pth": "torch",
    ".bin": "torch",
}
"""Formats by the ending of the file's name."""

_LARGEST_BYTES = 1 << 28
_NUMBER = re.compile(r"(\d{1,5})\D*$")
_LENGTHS = (
    "each direction has the length of its block's residual norm, so that a coefficient of 0.3 there is "
    "strength 0.3 here"
)
_LEFT = "left behind: the binding to the model, the recommended range, the separation, licence and digest"


@dataclass(frozen=True, slots=True, eq=False)
class Foreign:
    """What a file of another format holds.

    ``directions``: for each block a float64 direction, ``[width]``, of the file's own length. ``digest`` is
    that of the file. ``model_hint``: the kind of model that the file names, if it does. ``source`` says
    where a direction is from. ``notes``: what the format leaves open.
    """

    directions: dict[int, _Array]
    source: str
    digest: str
    model_hint: str | None = None
    notes: tuple[str, ...] = ()
    method: str = "imported"

    @property
    def width(self) -> int:
        """Number of values of each direction."""
        return len(next(iter(self.directions.values())))


def read_foreign(path: Path | str, *, block: int | None = None) -> Foreign:
    """Return the directions in a file, whose format its name's ending tells (``FORMATS``).

    ``block``: which block a file with a single unnamed direction is for. A table of directions has a row for
    each block from 0 on. Nothing in the file is run. Raises ``VectorError`` for a file that cannot be read,
    is no vector, or holds directions that are not finite, are zero or differ in width.
    """
    path = Path(path)
    form = FORMATS.get(path.suffix)
    if form is None:
        raise VectorError(f"{path}: unknown format {path.suffix!r}, expected one of {', '.join(FORMATS)}")
    data = _read(path, _LARGEST_BYTES)
    hint: str | None = None
    try:
        if form == "gguf":
            found, hint = interchange_gguf.read(path)
        elif form == "svec":
            found, hint = _read_svec(data)
        elif form == "safetensors":
            found = dict(load(data))
        elif form == "numpy":
            found = _read_numpy(data)
        else:
            found = _read_torch(data)
    except VectorError:
        raise
    except Exception as error:  # each format's library raises kinds of its own for damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise VectorError(f"{path}: not a {form} file of vectors: {reason}") from error
    directions = directions_of(path, found, block)
    return Foreign(directions, f"{form}: {path.name}", digest_bytes(data), hint, _notes_on_reading(form))


def export_vector(vector: Vector, path: Path | str) -> tuple[str, ...]:
    """Write ``vector`` in the format that the ending of ``path`` names; return what it could not carry.

    Lengths are the residual norms. Raises ``VectorError`` for a format that has no place for the vector's
    site or blocks, and where the file cannot be written.
    """
    path = Path(path)
    form = FORMATS.get(path.suffix)
    if form is None:
        raise VectorError(f"{path}: unknown format {path.suffix!r}, expected one of {', '.join(FORMATS)}")
    site = vector.card.site
    if form in ("gguf", "svec") and site != "block_output":
        raise VectorError(
            f"{path}: {form} holds directions at the output of blocks, the vector's are at {site}; "
            "export it as safetensors"
        )
    lengths = vector.directions.astype(np.float64) * vector.residual_norms[:, None].astype(np.float64)
    rows = {block: row.astype(np.float32) for block, row in zip(vector.blocks, lengths, strict=True)}
    notes = [_LENGTHS, _LEFT, *_advice(vector)]
    if form == "gguf":
        if rows.pop(0, None) is not None:
            notes.append("block 0 is left out: llama.cpp has no control vector for its layer 0")
        if not rows:
            raise VectorError(
                f"{path}: a GGUF control vector starts at block 1, the vector has block 0 alone"
            )
        data = interchange_gguf.packed(rows, _model_type(vector))
    else:
        data = _packed(form, path.suffix, rows, vector)
        if form == "svec":
            notes.append("CAST adds it to what a block is given, not to its output")
        elif site != "block_output":
            notes.append(f"the format does not say that the site is {site}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise VectorError(f"{path}: cannot be written: {error.strerror or error}") from error
    return tuple(notes)


def _packed(form: str, suffix: str, rows: dict[int, NDArray[np.float32]], vector: Vector) -> bytes:
    named = {f"direction.{block}": row for block, row in rows.items()}
    if form == "svec":
        content = {
            "model_type": _model_type(vector),
            "directions": {str(block): row.tolist() for block, row in rows.items()},
            "explained_variances": {str(block): 0.0 for block in rows},
        }
        return json.dumps(content).encode()
    if form == "safetensors":
        return save(named)
    buffer = io.BytesIO()
    if suffix == ".npz":
        np.savez(buffer, **named)  # type: ignore[arg-type]  # numpy's stub takes the names for its flags
    elif suffix == ".npy":
        if list(rows) != list(range(len(rows))):
            raise VectorError("a .npy table has a row for each block from 0 on; export it as .npz")
        np.save(buffer, np.stack(list(rows.values())))
    else:
        import torch

        torch.save({name: torch.from_numpy(row) for name, row in named.items()}, buffer)
    return buffer.getvalue()


def _advice(vector: Vector) -> list[str]:
    best = vector.card.recommended
    if best is None:
        return []
    blocks, positions = ", ".join(map(str, best.blocks)), ", ".join(best.positions)
    told = {} if best.schedule is None else best.schedule.model_dump(exclude_defaults=True)
    schedule = "".join(f", {name} {value}" for name, value in told.items())
    window = f"{best.low:g} to {best.high:g}{schedule}"
    return [
        f"here it acts with {best.recommended:g} ({window}) on block {blocks} at {positions}; another "
        "tool pushes every block in the file and every position, unless it is told"
    ]


def _model_type(vector: Vector) -> str:
    return vector.card.model.architecture.removesuffix("ForCausalLM").removesuffix("LMHeadModel").lower()


def _read(path: Path, largest: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise VectorError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > largest:
        raise VectorError(f"{path}: larger than {largest} bytes, which no vector is")
    return data


def _read_svec(data: bytes) -> tuple[dict[Any, Any], str | None]:
    content = json.loads(data)
    if not isinstance(content, dict) or not isinstance(content.get("directions"), dict):
        raise ValueError("expected an object with 'directions'")
    hint = content.get("model_type")
    return content["directions"], hint if isinstance(hint, str) else None


def _read_numpy(data: bytes) -> dict[Any, Any]:
    found = np.load(io.BytesIO(data), allow_pickle=False)
    if isinstance(found, np.ndarray):
        return {"": found}
    with found:
        return {name: found[name] for name in found.files}


def _read_torch(data: bytes) -> dict[Any, Any]:
    import torch

    found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    named = found if isinstance(found, dict) else {"": found}
    inner = named.get("directions")
    named = inner if isinstance(inner, dict) else named
    return {
        name: value.detach().float().numpy() if isinstance(value, torch.Tensor) else value
        for name, value in named.items()
    }


def directions_of(path: Path, found: Mapping[Any, Any], block: int | None) -> dict[int, _Array]:
    """Return directions by block from named arrays, or from one table; raises for what is no direction."""
    rows: dict[int, _Array] = {}
    for name, values in found.items():
        array = np.asarray(values, dtype=np.float64)
        if array.ndim == 2 and 1 in array.shape:
            array = array.reshape(-1)
        if array.ndim == 2 and len(found) == 1:
            return _checked(path, dict(enumerate(array)))
        if array.ndim != 1 or not array.size:
            raise VectorError(
                f"{path}: {str(name)!r} has shape {array.shape}, expected one direction [width]"
            )
        number = _block_of(path, name, block if len(found) == 1 else None)
        if number in rows:
            raise VectorError(f"{path}: two directions for block {number}")
        rows[number] = array
    if not rows:
        raise VectorError(f"{path}: holds no direction")
    return _checked(path, dict(sorted(rows.items())))


def _block_of(path: Path, name: Any, block: int | None) -> int:
    if isinstance(name, int) and not isinstance(name, bool) and name >= 0:
        return name
    match = _NUMBER.search(str(name))
    if block is not None:
        return block
    if match is None:
        raise VectorError(f"{path}: {str(name)!r} does not tell its block (direction.N); name it: --block N")
    return int(match.group(1))


def _checked(path: Path, rows: dict[int, _Array]) -> dict[int, _Array]:
    widths = {len(row) for row in rows.values()}
    if len(widths) != 1:
        raise VectorError(f"{path}: directions of different widths: {sorted(widths)}")
    for block, row in rows.items():
        if not np.isfinite(row).all() or not row.any():
            raise VectorError(f"{path}: block {block}: the direction is zero or holds NaN or infinity")
    return rows


def _notes_on_reading(form: str) -> tuple[str, ...]:
    notes = ["not in the file: residual norms, the range of strengths, and what it was made of"]
    if form == "gguf":
        notes.append("direction.N is taken for the output of block N, where llama.cpp and repeng add it")
    elif form == "svec":
        notes.append("direction N was read at the output of block N; CAST itself adds it one block earlier")
    return tuple(notes)
