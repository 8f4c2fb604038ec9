"""A search for secrets in whatever was written, in every form in which they might lie there."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from blake3 import blake3

__all__ = ["forms", "leaks", "token_forms", "written"]

_LEAST_BYTES = 6
"""A run shorter than this is met by chance."""


def forms(secret: str) -> Iterator[tuple[str, bytes]]:
    """Yield the ways in which a text might be written, by name."""
    plain = secret.encode()
    encodings = {
        "utf-8": plain,
        "utf-16-le": secret.encode("utf-16-le"),
        "utf-16-be": secret.encode("utf-16-be"),
    }
    for name, data in encodings.items():
        yield name, data
        yield f"{name} in hex", data.hex().encode()
        yield f"{name} in HEX", data.hex().upper().encode()
        yield from _base64_forms(name, data)
    yield "json", json.dumps(secret)[1:-1].encode()
    yield "escaped", secret.encode("unicode_escape")
    yield "repr", repr(secret)[1:-1].encode()
    yield "url", quote(secret).encode()
    yield "lower", secret.lower().encode()
    yield "upper", secret.upper().encode()
    yield "reversed", plain[::-1]
    yield "bytes", ",".join(map(str, plain)).encode()
    yield from _digests(plain)


def token_forms(tokens: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    """Yield the ways in which token ids might be written, by name."""
    for between in (",", ", ", " ", "-", "\n"):
        listed = between.join(map(str, tokens)).encode()
        yield f"ids between {between!r}", listed
        yield from _base64_forms(f"ids between {between!r}", listed)
    for name, layout in {"int32": "<i", "int64": "<q", "int16": "<h", "big-endian int32": ">i"}.items():
        data = b"".join(struct.pack(layout, token) for token in tokens)
        yield name, data
        yield f"{name} in hex", data.hex().encode()
        yield from _base64_forms(name, data)
        yield from _digests(data)


def _base64_forms(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield base64 as it looks at each of the three places where a text may begin."""
    for shift in range(3):
        # Bytes before and behind change the digits at both ends, and not those in between.
        encoded = base64.b64encode(bytes(shift) + data)
        middle = encoded[-(-8 * shift // 6) :]
        middle = middle[: (len(data) * 8 - (-shift * 8) % 6) // 6]
        yield f"{name} in base64, {shift} behind", middle
        yield f"{name} in base64url, {shift} behind", middle.translate(bytes.maketrans(b"+/", b"-_"))


def _digests(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield digests that anyone can make of a guess."""
    for name in ("md5", "sha1", "sha256", "sha512", "blake2b"):
        yield name, hashlib.new(name, data).hexdigest().encode()
        yield f"raw {name}", hashlib.new(name, data).digest()
    yield "blake3", blake3(data).hexdigest().encode()


def written(folders: Iterable[Path]) -> dict[str, bytes]:
    """Return what lies below folders, by path; a file's own name is part of it."""
    found: dict[str, bytes] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder.parent).as_posix()
            found[name] = name.encode() + b"\n" + (path.read_bytes() if path.is_file() else b"")
    return found


def leaks(data: Mapping[str, bytes], wanted: Iterable[tuple[str, bytes]]) -> list[str]:
    """Return where what is wanted lies, and in which form."""
    found = [(name, form) for name, form in wanted if len(form) >= _LEAST_BYTES]
    return [f"{where}: {name}" for where, content in data.items() for name, form in found if form in content]
