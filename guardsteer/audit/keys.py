"""The key of the keyed digests: text is recorded as a digest that only the key's owner can test."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from guardsteer.errors import AuditError

__all__ = ["KEY_FILE_NAME", "KEY_VARIABLE", "MIN_KEY_BYTES", "key_name", "keyed_digest", "load_key"]

KEY_VARIABLE = "GUARDSTEER_AUDIT_KEY_FILE"
KEY_FILE_NAME = "digest.key"
MIN_KEY_BYTES = 16
_PREFIX = "hk:"


def keyed_digest(key: bytes, data: bytes) -> str:
    """Return ``hk:`` and HMAC-SHA-256 of ``data`` (RFC 2104) in hexadecimal.

    Without the key nobody can test a guess of the text, which a plain digest of a short prompt allows.
    """
    return _PREFIX + hmac.digest(key, data, "sha256").hex()


def key_name(key: bytes) -> str:
    """Return 16 hexadecimal digits that tell keys apart and do not give the key away."""
    return hmac.digest(key, b"guardsteer audit digest key", "sha256").hex()[:16]


def load_key(directory: Path, key: bytes | None = None) -> bytes:
    """Return the key: ``key``, else what ``GUARDSTEER_AUDIT_KEY_FILE`` names, else the directory's own.

    The directory's own file (``digest.key``, mode 0600) is made of 32 random bytes when there is none.
    Space around a file's content does not count. Raises ``AuditError`` for a key that is missing or
    shorter than 16 bytes, ``OSError`` when the directory's own cannot be read or made.
    """
    if key is not None:
        return _checked(key, "the key that was given")
    named = os.environ.get(KEY_VARIABLE)
    if named:
        try:
            return _checked(Path(named).read_bytes().strip(), f"{KEY_VARIABLE}={named}")
        except OSError as error:
            raise AuditError(
                f"{KEY_VARIABLE}={named}: the key of the audit's digests cannot be read ({error.strerror}); "
                "name a readable file or unset the variable"
            ) from error
    path = directory / KEY_FILE_NAME
    if not path.exists():
        _make_key(path)
    return _checked(path.read_bytes().strip(), str(path))


def _checked(key: bytes, where: str) -> bytes:
    if len(key) < MIN_KEY_BYTES:
        raise AuditError(
            f"{where}: {len(key)} bytes are too few for a key of keyed digests, expected at least "
            f"{MIN_KEY_BYTES}; make one with: openssl rand -hex 32"
        )
    return key


def _make_key(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.write(descriptor, secrets.token_hex(32).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        # Linked whole or not at all: of two processes that start together both use the same key.
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        os.unlink(draft)
