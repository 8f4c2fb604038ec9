"""GGUF control vectors, by the package ``gguf``: ``direction.N`` is added to the output of layer N."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardsteer.errors import VectorError

__all__ = ["packed", "read"]

_ARCHITECTURES = ("controlvector", "steeringvector", "steervector")


def _library() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise VectorError(
            "GGUF files need the package gguf, which is not installed: pip install 'guardsteer[gguf]'"
        ) from error
    return gguf


def read(path: Path) -> tuple[dict[Any, Any], str | None]:
    """Return the tensors ``direction.N`` of a control vector by name, and the model that it names, if any.

    Raises ``VectorError`` for a GGUF of another kind or with quantised directions, and what ``gguf`` raises
    for a damaged one.
    """
    reader = _library().GGUFReader(path)
    kind = _text(reader, "general.architecture")
    if kind not in _ARCHITECTURES:
        raise VectorError(f"{path}: a GGUF of {kind or 'no architecture'}, expected a control vector")
    found = {}
    for tensor in reader.tensors:
        if not tensor.name.startswith("direction."):
            continue
        if tensor.data.dtype not in (np.float32, np.float16, np.float64):
            raise VectorError(f"{path}: {tensor.name} is {tensor.tensor_type.name}, expected F32 or F16")
        found[tensor.name] = np.array(tensor.data)
    return found, _text(reader, f"{kind}.model_hint")


def _text(reader: Any, name: str) -> str | None:
    field = reader.get_field(name)
    return None if field is None else bytes(field.parts[-1]).decode("utf-8", "replace")


def packed(rows: Mapping[int, NDArray[np.float32]], model_type: str) -> bytes:
    """Return a control vector with a direction for each block of ``rows``, as llama.cpp reads it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vector.gguf"
        writer = _library().GGUFWriter(path, "controlvector")
        writer.add_string("controlvector.model_hint", model_type)
        writer.add_uint32("controlvector.layer_count", len(rows))
        for block, row in rows.items():
            writer.add_tensor(f"direction.{block}", np.ascontiguousarray(row))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()
