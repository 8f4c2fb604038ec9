"""Files of a classifier's folder, read with every check and written byte for byte the same each time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from guardsteer.core.digests import digest_bytes
from guardsteer.errors import ClassifierError, Problem

__all__ = [
    "VOCABULARY_FILE",
    "Expected",
    "check_tensors",
    "read_file",
    "read_tensors",
    "read_vocabulary",
    "tensor_offset",
    "write_tensors",
    "write_vocabulary",
]

Expected: TypeAlias = Mapping[str, tuple[tuple[int, ...], tuple[str, ...]]]
"""Tensor name to shape and the data types allowed."""

VOCABULARY_FILE: Final = "vocabulary.json"

_MAX_FILE_BYTES = 2 * 2**30

# Far above any weight that training gives, and far below where sums of products overflow.
_LARGEST = 1e12


def read_file(folder: Path, name: str, digest: str) -> bytes:
    """Return a file's bytes. Raises ``ClassifierError`` where it is missing or not the file of the card."""
    path = folder / name
    try:
        if not path.is_file():
            raise ClassifierError([_problem(path, "cannot be read: there is no such file")])
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ClassifierError([_problem(path, f"is larger than {_MAX_FILE_BYTES} bytes")])
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ClassifierError([_problem(path, f"cannot be read: {error}")]) from error
    found = digest_bytes(data)
    if found != digest:
        message = f"is not the file that the card names: its digest is {found}, expected {digest}"
        raise ClassifierError(
            [_problem(path, message, "the file is damaged or of another version; restore the whole folder")]
        )
    return data


def read_tensors(path: Path, data: bytes, expected: Expected) -> dict[str, NDArray[Any]]:
    """Return the tensors of a safetensors file, which must be exactly those expected and finite."""
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ClassifierError([_problem(path, f"is not a valid safetensors file: {error}")]) from error
    problems = check_tensors(tensors, expected)
    if problems:
        raise ClassifierError([_problem(path, problem) for problem in problems])
    return tensors


def check_tensors(tensors: Mapping[str, NDArray[Any]], expected: Expected) -> list[str]:
    """Return what is wrong with tensors."""
    problems = []
    if set(tensors) != set(expected):
        problems.append(f"holds the tensors {sorted(tensors)}, expected {sorted(expected)}")
    for name in sorted(set(tensors) & set(expected)):
        tensor, (shape, types) = tensors[name], expected[name]
        if tensor.shape != shape:
            problems.append(f"tensor {name} has the shape {list(tensor.shape)}, expected {list(shape)}")
        if tensor.dtype.name not in types:
            problems.append(f"tensor {name} is of {tensor.dtype.name}, expected {' or '.join(types)}")
        elif not bool(np.all(np.abs(tensor) <= _LARGEST)):
            problems.append(f"tensor {name} holds a value that is not finite, or above {_LARGEST:g}")
    return problems


def write_tensors(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the safetensors file of some tensors."""
    data: bytes = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    return data


def tensor_offset(data: bytes, name: str) -> tuple[int, int]:
    """Return where a tensor's bytes begin in a safetensors file, and how many they are."""
    header_length = int.from_bytes(data[:8], "little")
    begin, end = json.loads(data[8 : 8 + header_length])[name]["data_offsets"]
    return 8 + header_length + begin, end - begin


def read_vocabulary(path: Path, data: bytes, features: int) -> dict[str, int]:
    """Return n-gram to index from a JSON list of all n-grams in order of their index."""
    try:
        terms = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ClassifierError([_problem(path, f"is not valid JSON: {error}")]) from error
    if not isinstance(terms, list) or not all(isinstance(term, str) and term for term in terms):
        raise ClassifierError([_problem(path, "must be a list of n-grams, none of them empty")])
    vocabulary = {term: index for index, term in enumerate(terms)}
    if len(terms) != features or len(vocabulary) != features:
        message = f"holds {len(terms)} n-grams, {len(vocabulary)} of them distinct, expected {features}"
        raise ClassifierError([_problem(path, message)])
    return vocabulary


def write_vocabulary(vocabulary: Mapping[str, int]) -> bytes:
    """Return the vocabulary's file."""
    terms = sorted(vocabulary, key=vocabulary.__getitem__)
    return (json.dumps(terms, ensure_ascii=False, indent=0) + "\n").encode()


def _problem(path: Path, message: str, hint: str = "") -> Problem:
    return Problem(str(path), 0, 0, message, hint)
