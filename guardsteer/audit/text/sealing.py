"""Text as it lies in a side file: a line of JSON for each part of a row, AES-256-GCM by its subject's key.

What the line says in the open (which text, which part, which row, which key) is authenticated with it, so a
line that is put in another's place cannot be opened.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["Said", "SealedLine", "open_line", "seal"]

_NONCE_BYTES = 12


class Said(msgspec.Struct, frozen=True):
    """What is encrypted: token ids, and the text that each of them adds (a token's own name if special)."""

    tokens: tuple[int, ...]
    pieces: tuple[str, ...]


class SealedLine(msgspec.Struct, frozen=True):
    """A line of a side file; ``nonce`` and ``data`` (with the tag) in base64."""

    format: int
    text: str
    part: str
    sequence: int
    key: str
    nonce: str
    data: str


def seal(said: Said, *, text: str, part: str, sequence: int, key_id: str, key: bytes) -> bytes:
    """Return the line, without its newline, that holds ``said`` under ``key`` (32 bytes)."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    about = _about(text, part, sequence, key_id)
    data = AESGCM(key).encrypt(nonce, msgspec.json.encode(said), about)
    line = SealedLine(1, text, part, sequence, key_id, b64encode(nonce).decode(), b64encode(data).decode())
    return msgspec.json.encode(line)


def open_line(line: bytes, key: bytes, *, text: str, part: str, sequence: int, key_id: str) -> Said | None:
    """Return what a line holds; None where it is not that text, or not under that key."""
    try:
        sealed = msgspec.json.decode(line, type=SealedLine)
        nonce, data = b64decode(sealed.nonce, validate=True), b64decode(sealed.data, validate=True)
        plain = AESGCM(key).decrypt(nonce, data, _about(text, part, sequence, key_id))
        return msgspec.json.decode(plain, type=Said)
    except (msgspec.MsgspecError, UnicodeDecodeError, Base64Error, InvalidTag, ValueError):
        return None


def _about(text: str, part: str, sequence: int, key_id: str) -> bytes:
    return b"guardsteer text 1\n" + msgspec.json.encode([text, part, sequence, key_id])
