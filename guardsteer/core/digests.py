"""Content digests: BLAKE3, written as ``b3:`` and 64 hexadecimal digits.

BLAKE3 (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020) is collision resistant at 128 bits, so two
contents with one digest are not to be expected by chance or by design.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from blake3 import blake3

__all__ = ["digest_bytes", "digest_file", "digest_json", "digest_parts"]

PREFIX = "b3:"


def digest_bytes(data: bytes) -> str:
    """Return the digest of ``data``."""
    return PREFIX + blake3(data).hexdigest()


def digest_parts(parts: Iterable[bytes]) -> str:
    """Return the digest of a sequence of byte strings; where one ends and the next begins matters."""
    hasher = blake3()
    for part in parts:
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return PREFIX + hasher.hexdigest()


def digest_json(value: Any) -> str:
    """Return the digest of a JSON value in canonical form (sorted keys, no spaces, UTF-8)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return digest_bytes(text.encode())


def digest_file(path: Path) -> str:
    """Return the digest of a file's content, read through a memory map.

    Raises ``OSError`` where the file cannot be read.
    """
    hasher = blake3()
    hasher.update_mmap(path)
    return PREFIX + hasher.hexdigest()
