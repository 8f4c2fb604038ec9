"""One key for each subject whose text is kept, in a folder of its own; destroying a key forgets the text.

A key's file is named after the subject by a keyed digest, so the folder tells nobody's name, and after a
random id, which is all that the log knows of it. With a master key each key lies there wrapped (RFC 3394).
"""

from __future__ import annotations

import hmac
import os
import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from contextlib import suppress
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from guardsteer.errors import AuditError

__all__ = ["MASTER_VARIABLE", "SubjectKeys"]

MASTER_VARIABLE = "GUARDSTEER_AUDIT_MASTER_KEY_FILE"
"""Environment variable that names the file of the key under which subjects' keys are kept."""

_NAMES_FILE = "names.key"
_SUFFIX = ".key"
_KEY_BYTES = 32
_LEAST_MASTER_BYTES = 32
_SHARD_DIGITS = 2
_NAME_DIGITS = 32
_ID_DIGITS = 16
_FILE_VERSION = 1


class _KeyFile(msgspec.Struct, frozen=True):
    """What a key's file holds: ``key`` in base64, wrapped by the master key that ``master`` names."""

    format: int
    key: str
    master: str = ""


class SubjectKeys:
    """The keys below ``directory``, which is made if need be; usable by several processes at once.

    ``master``, or the content of the file that ``GUARDSTEER_AUDIT_MASTER_KEY_FILE`` names, is what keys are
    wrapped with: 32 bytes or more. Without one they lie there as they are, readable by their owner alone.
    Raises ``AuditError`` for a folder that cannot be made or read, or a master key that is too short.
    """

    def __init__(self, directory: str | os.PathLike[str], *, master: bytes | None = None) -> None:
        self.directory = Path(directory).absolute()
        given = _named_master() if master is None else (master, "the master key that was given")
        self._wrapping = None if given is None else _derived(*given)
        self._master = "" if self._wrapping is None else _name_of(self._wrapping)
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._names = _names_key(self.directory / _NAMES_FILE)
        except OSError as error:
            raise AuditError(
                f"{self.directory}: the folder of the subjects' keys cannot be used: {error}"
            ) from error

    def key_for(self, subject: str) -> tuple[str, bytes]:
        """Return a subject's key and its id; makes one where there is none.

        Raises ``OSError`` where the folder cannot be used, ``AuditError`` for a key that cannot be unwrapped.
        """
        name = self._name(subject)
        for path in self._files(name[:_SHARD_DIGITS], f"{name}."):
            key = self._read(path)
            if key is not None:
                return _id_of(path), key
        return self._make(name)

    def key_of(self, key_id: str) -> bytes | None:
        """Return the key that records call ``key_id``, or None where it was destroyed or is not here.

        Raises ``AuditError`` where it cannot be unwrapped.
        """
        for path in self._files(key_id[:_SHARD_DIGITS], "", key_id):
            return self._read(path)
        return None

    def has(self, key_id: str, subject: str) -> bool:
        """Tell whether a subject's key is still there."""
        name = self._name(subject)
        return (self.directory / name[:_SHARD_DIGITS] / f"{name}.{key_id}{_SUFFIX}").exists()

    def destroy(self, subject: str) -> tuple[str, ...]:
        """Destroy the keys of a subject and return their ids; none where it has none. Raises ``OSError``.

        The file is overwritten before it is removed, which a disk or its backups may undo: with a master key
        what they hold is of no use to whoever lacks that.
        """
        name = self._name(subject)
        destroyed: list[str] = []
        for path in self._files(name[:_SHARD_DIGITS], f"{name}."):
            _shred(path)
            destroyed.append(_id_of(path))
        return tuple(destroyed)

    def _name(self, subject: str) -> str:
        return hmac.digest(self._names, subject.encode(), "sha256").hex()[:_NAME_DIGITS]

    def _files(self, shard: str, beginning: str, key_id: str = "") -> list[Path]:
        try:
            names = sorted(os.listdir(self.directory / shard))
        except FileNotFoundError:
            return []
        end = f".{key_id}{_SUFFIX}" if key_id else _SUFFIX
        return [
            self.directory / shard / name
            for name in names
            if name.startswith(beginning) and name.endswith(end) and not name.startswith(".")
        ]

    def _make(self, name: str) -> tuple[str, bytes]:
        key = secrets.token_bytes(_KEY_BYTES)
        key_id = name[:_SHARD_DIGITS] + secrets.token_hex((_ID_DIGITS - _SHARD_DIGITS) // 2)
        kept = key if self._wrapping is None else aes_key_wrap(self._wrapping, key)
        content = msgspec.json.encode(_KeyFile(_FILE_VERSION, b64encode(kept).decode(), self._master))
        shard = self.directory / name[:_SHARD_DIGITS]
        if not shard.exists():
            shard.mkdir(mode=0o700, exist_ok=True)
            _sync(self.directory)
        # Two processes may make one each for a subject: both are kept, and destroyed together.
        _write_new(shard / f"{name}.{key_id}{_SUFFIX}", content)
        return key_id, key

    def _read(self, path: Path) -> bytes | None:
        content = path.read_bytes()
        # Whoever destroyed it was stopped before the file was removed.
        if not content.strip(b"\0"):
            return None
        try:
            found = msgspec.json.decode(content, type=_KeyFile)
            kept = b64decode(found.key, validate=True)
        except (msgspec.MsgspecError, UnicodeDecodeError, Base64Error) as error:
            raise AuditError(f"{path}: not a key that this library wrote, or damaged") from error
        if not found.master:
            return kept
        if self._wrapping is None or found.master != self._master:
            got = f"the one given is {self._master}" if self._master else "none was given"
            raise AuditError(
                f"{path}: this key is wrapped by the master key {found.master}, {got}; name its file by "
                f"{MASTER_VARIABLE}"
            )
        try:
            return aes_key_unwrap(self._wrapping, kept)
        except InvalidUnwrap as error:
            raise AuditError(f"{path}: damaged: it cannot be unwrapped by its master key") from error


def _named_master() -> tuple[bytes, str] | None:
    named = os.environ.get(MASTER_VARIABLE)
    if not named:
        return None
    try:
        return Path(named).read_bytes().strip(), f"{MASTER_VARIABLE}={named}"
    except OSError as error:
        raise AuditError(
            f"{MASTER_VARIABLE}={named}: the master key cannot be read ({error.strerror}); name a readable "
            "file or unset the variable"
        ) from error


def _derived(master: bytes, where: str) -> bytes:
    if len(master) < _LEAST_MASTER_BYTES:
        raise AuditError(
            f"{where}: {len(master)} bytes are too few for a master key, expected at least "
            f"{_LEAST_MASTER_BYTES}; make one with: openssl rand -hex 32"
        )
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=b"guardsteer audit master key").derive(master)


def _name_of(key: bytes) -> str:
    return hmac.digest(key, b"guardsteer audit master key", "sha256").hex()[:_ID_DIGITS]


def _names_key(path: Path) -> bytes:
    """Return the key that subjects' files are named by; it is made when there is none."""
    if not path.exists():
        _write_new(path, secrets.token_bytes(_KEY_BYTES))
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise OSError(f"{path} holds {len(key)} bytes, expected {_KEY_BYTES}: it was damaged")
    return key


def _id_of(path: Path) -> str:
    return path.name.removesuffix(_SUFFIX).rpartition(".")[2]


def _write_new(path: Path, content: bytes) -> None:
    """Make a file whole or not at all; does nothing where there is one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)
    _sync(path.parent)


def _shred(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, bytes(os.fstat(descriptor).st_size), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.unlink(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
