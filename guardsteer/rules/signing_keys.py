"""Keys that sign policies: Ed25519 in PEM files, the private one readable by its owner alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from guardsteer.core.digests import digest_bytes
from guardsteer.errors import SignatureError

PrivateKey: TypeAlias = Ed25519PrivateKey
PublicKey: TypeAlias = Ed25519PublicKey

__all__ = ["PASSWORD", "PrivateKey", "PublicKey", "key_id", "make_keys", "read_private", "read_trusted"]

PASSWORD: Final = "GUARDSTEER_KEY_PASSWORD"
"""Environment variable that holds the password of a private key; keys are not encrypted without it."""

PUBLIC_SUFFIX: Final = ".pub"
PRIVATE_SUFFIX: Final = ".key"
_LARGEST_BYTES: Final = 1 << 16
_ID_DIGITS: Final = 32


def key_id(key: PublicKey) -> str:
    """Return a public key's name: ``ed25519:`` and 128 bits of its digest."""
    return "ed25519:" + digest_bytes(key.public_bytes_raw()).partition(":")[2][:_ID_DIGITS]


def make_keys(base: Path) -> tuple[Path, Path, str]:
    """Write a new pair of keys, ``BASE.key`` and ``BASE.pub``; return where, and the key's name.

    The private key is encrypted if the environment's GUARDSTEER_KEY_PASSWORD is set. Nothing is
    overwritten: raises ``FileExistsError``.
    """
    key = Ed25519PrivateKey.generate()
    password = os.environ.get(PASSWORD)
    protection = (
        serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    )
    private_pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    public = key.public_key()
    public_pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private_path = base.with_name(base.name + PRIVATE_SUFFIX)
    public_path = base.with_name(base.name + PUBLIC_SUFFIX)
    if public_path.exists():
        raise FileExistsError(17, "the file exists; a key is never overwritten", str(public_path))
    _create(private_path, private_pem, 0o600)
    _create(public_path, public_pem, 0o644)
    return private_path, public_path, key_id(public)


def _create(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def read_private(path: Path) -> PrivateKey:
    """Return the private key in a PEM file. Raises ``SignatureError`` where it is none or stays locked."""
    password = os.environ.get(PASSWORD)
    data = _read(path)
    locked = b"ENCRYPTED" in data
    if locked and not password:
        raise SignatureError("bad_key", f"{path} is encrypted; set {PASSWORD} to its password")
    try:
        key = serialization.load_pem_private_key(
            data, password=password.encode() if password and locked else None
        )
    # The library raises errors of many kinds for bytes that are no key; none of them may show the bytes.
    except Exception as error:
        why = f"{PASSWORD} is not its password" if locked else "it is no private key in PEM"
        raise SignatureError("bad_key", f"{path} cannot be used: {why} ({type(error).__name__})") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError("bad_key", f"{path} holds a key of another kind; expected Ed25519")
    return key


def read_trusted(path: Path) -> Mapping[str, PublicKey]:
    """Return the public keys in a PEM file or in a folder's ``*.pub``, by name.

    Raises ``SignatureError`` where there is none, or a file among them is no public key.
    """
    files = sorted(path.glob(f"*{PUBLIC_SUFFIX}")) if path.is_dir() else [path]
    if not files:
        raise SignatureError("bad_key", f"{path} holds no public key; put *{PUBLIC_SUFFIX} files there")
    keys = [_read_public(file) for file in files]
    return {key_id(key): key for key in keys}


def _read_public(path: Path) -> PublicKey:
    data = _read(path)
    try:
        key = serialization.load_pem_public_key(data)
    except Exception as error:
        raise SignatureError(
            "bad_key", f"{path} is no public key in PEM ({type(error).__name__}); trust BASE{PUBLIC_SUFFIX}"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureError("bad_key", f"{path} holds a key of another kind; expected Ed25519")
    return key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_BYTES)
    except OSError as error:
        raise SignatureError("bad_key", f"{path} cannot be read: {error.strerror}") from None
