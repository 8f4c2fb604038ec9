"""Signed notes: a few lines of text with Ed25519 signatures that tools of other makers can check.

The form is C2SP's ``signed-note`` (https://c2sp.org/signed-note): the text, an empty line, and for each
signature a line ``— NAME BASE64``, the four bytes of the key's id before the signature itself.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["SignedNote", "decode_base64", "key_id", "parse_note", "public_bytes", "sign_note", "verifier_key"]

_ALGORITHM = b"\x01"
_ID_BYTES = 4
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A note's text, newline at its end included, and its signatures as (name, id of the key, signature)."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]

    def encode(self) -> bytes:
        """Return the note's bytes; there is one way to write a note."""
        lines = (f"— {name} {_base64(key + signature)}\n" for name, key, signature in self.signatures)
        return f"{self.text}\n{''.join(lines)}".encode()

    def signed_by(self, name: str, public: bytes) -> bool:
        """Tell whether one of the signatures is by this key (32 bytes) under this name."""
        wanted = key_id(name, public)
        for signer, key, signature in self.signatures:
            if (signer, key) == (name, wanted):
                try:
                    Ed25519PublicKey.from_public_bytes(public).verify(signature, self.text.encode())
                except (InvalidSignature, ValueError):
                    continue
                return True
        return False


def key_id(name: str, public: bytes) -> bytes:
    """Return the four bytes that tell keys apart within a note."""
    return sha256(name.encode() + b"\n" + _ALGORITHM + public).digest()[:_ID_BYTES]


def verifier_key(name: str, public: bytes) -> str:
    """Return a public key (32 bytes) as other tools take it: ``NAME+ID+BASE64``."""
    return f"{name}+{key_id(name, public).hex()}+{_base64(_ALGORITHM + public)}"


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """Return the 32 bytes of the public key that belongs to ``key``."""
    return key.public_key().public_bytes_raw()


def sign_note(text: str, name: str, key: Ed25519PrivateKey) -> bytes:
    """Return a note of ``text``, which ends with a newline, signed by ``key`` as ``name``."""
    return SignedNote(text, ((name, key_id(name, public_bytes(key)), key.sign(text.encode())),)).encode()


def parse_note(data: bytes) -> SignedNote | None:
    """Return the note that ``data`` is, or None; whether its signatures hold is not asked here."""
    try:
        text, gap, tail = data.decode().rpartition("\n\n")
    except UnicodeDecodeError:
        return None
    signatures = []
    for line in tail.split("\n")[:-1]:
        match = _SIGNATURE.fullmatch(line)
        blob = decode_base64(match[2]) if match else None
        if match is None or blob is None or len(blob) <= _ID_BYTES:
            return None
        signatures.append((match[1], blob[:_ID_BYTES], blob[_ID_BYTES:]))
    note = SignedNote(f"{text}\n", tuple(signatures))
    return note if gap and signatures and note.encode() == data else None


def decode_base64(text: str) -> bytes | None:
    """Return the bytes that ``text`` stands for, or None for anything but the one way to write them."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return None
    return data if _base64(data) == text else None


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
