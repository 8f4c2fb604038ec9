"""Single features of a sparse autoencoder, from a local file of its weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from guardsteer.core.digests import digest_bytes
from guardsteer.errors import VectorError
from guardsteer.steer.interchange import Foreign, directions_of

__all__ = ["read_sae_feature"]

_Array = NDArray[np.float64]

_DECODERS = ("W_dec", "decoder.weight", "decoder")


def read_sae_feature(
    path: Path | str, feature: int, *, block: int, source: str, decoder: str | None = None
) -> Foreign:
    """Return the decoder row of one feature of a sparse autoencoder in a safetensors or ``.npz`` file.

    Cunningham et al. (2023); as steering directions Templeton et al. (2024). ``source`` is the feature's id,
    such as ``gemma-2-2b/20-gemmascope-res-16k/3124`` (Neuronpedia's form). ``decoder`` names the tensor
    ``[feature, width]``, by default ``W_dec`` or ``decoder``; ``decoder.weight`` is read as ``[width,
    feature]``, as torch keeps it. Raises ``VectorError`` for a file without it or with fewer features.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            row = _sae_row_of_safetensors(path, feature, decoder)
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                name = _decoder_name(path, list(file.files), decoder)
                row = _row(path, name, file[name], feature)
        else:
            raise VectorError(f"{path}: expected a .safetensors or .npz file of a sparse autoencoder")
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise VectorError(f"{path}: cannot be read as a sparse autoencoder: {error}") from error
    directions = directions_of(path, {block: row}, None)
    digest = digest_bytes(np.ascontiguousarray(row, dtype="<f4").tobytes())
    note = "the digest is that of the feature's row, not of the whole file"
    return Foreign(directions, source, digest, None, (note,), "sae_feature")


def _sae_row_of_safetensors(path: Path, feature: int, decoder: str | None) -> _Array:
    with safetensors.safe_open(path, "np") as file:
        name = _decoder_name(path, list(file.keys()), decoder)
        table = file.get_slice(name)
        turned = name == "decoder.weight"
        _check_feature(path, name, tuple(table.get_shape()), feature, turned=turned)
        row: _Array = np.asarray(table[:, feature] if turned else table[feature], dtype=np.float64)
        return row


def _decoder_name(path: Path, names: Iterable[str], decoder: str | None) -> str:
    there = list(names)
    wanted = (decoder,) if decoder else _DECODERS
    name = next((name for name in wanted if name in there), None)
    if name is None:
        raise VectorError(f"{path}: no decoder among {', '.join(there[:12])}; looked for {', '.join(wanted)}")
    return name


def _row(path: Path, name: str, table: NDArray[Any], feature: int) -> _Array:
    turned = name == "decoder.weight"
    _check_feature(path, name, table.shape, feature, turned=turned)
    return np.asarray(table[:, feature] if turned else table[feature], dtype=np.float64)


def _check_feature(path: Path, name: str, shape: tuple[int, ...], feature: int, *, turned: bool) -> None:
    if len(shape) != 2 or not 0 <= feature < shape[1 if turned else 0]:
        raise VectorError(f"{path}: {name} has shape {list(shape)}, no feature {feature}")
