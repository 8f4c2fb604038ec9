"""The files that sealed lines lie in: appended to, synced, never changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from guardsteer.audit.chain import new_stream_name
from guardsteer.core.events import TextKept

__all__ = ["FOLDER", "SideFile", "line_of", "problem_of"]

FOLDER = "text"
"""The folder of side files within a log's directory."""

_SUFFIX = ".text"
_sync_data = getattr(os, "fdatasync", os.fsync)


class SideFile:
    """Appends lines to files of its own below ``directory``, a new one after ``file_bytes``.

    Not for several threads at once; raises ``OSError``, and then nothing of that call counts.
    """

    def __init__(self, directory: Path, file_bytes: int) -> None:
        self._directory = directory
        self._file_bytes = file_bytes
        self._base = new_stream_name()
        self._number = 0
        self._size_bytes = 0
        self._descriptor = -1
        self.name = ""

    def write(self, lines: Sequence[bytes]) -> list[int]:
        """Make lines durable, newlines added; return where each begins in the file ``name``."""
        if self._descriptor < 0 or self._size_bytes >= self._file_bytes:
            self._open_next()
        offsets: list[int] = []
        end = self._size_bytes
        for line in lines:
            offsets.append(end)
            end += len(line) + 1
        try:
            _write_all(self._descriptor, b"".join(b"%b\n" % line for line in lines))
            _sync_data(self._descriptor)
            if os.fstat(self._descriptor).st_nlink == 0:
                raise FileNotFoundError(2, "the side file was removed while in use", self.name)
        except OSError:
            # What a failed write left behind belongs to no record; the next try begins a new file.
            self.close()
            raise
        self._size_bytes = end
        return offsets

    def close(self) -> None:
        """Close the file; the next line goes to another."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _open_next(self) -> None:
        self.close()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{self._base}.{self._number + 1:06d}{_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self._directory / name, flags, 0o600)
        self._number, self._size_bytes, self.name = self._number + 1, 0, name
        for folder in (self._directory, self._directory.parent):
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def line_of(directory: Path, kept: TextKept) -> bytes | None:
    """Return the line that a record of the log in ``directory`` is about, None where it is not there."""
    if os.path.basename(kept.file) != kept.file or kept.bytes < 0 or kept.offset < 0:
        return None
    try:
        with (directory / FOLDER / kept.file).open("rb") as file:
            file.seek(kept.offset)
            line = file.read(kept.bytes)
    except (OSError, ValueError, OverflowError):
        return None
    return line if len(line) == kept.bytes else None


def problem_of(directory: Path, kept: TextKept) -> str:
    """Return what is wrong with a kept text of the log in ``directory``; empty where it is as recorded."""
    line = line_of(directory, kept)
    place = f"{FOLDER}/{kept.file}, byte {kept.offset}"
    if line is None:
        return f"{place}: the encrypted {kept.part} of {kept.request} is gone"
    if sha256(line).hexdigest() != kept.digest:
        return f"{place}: the encrypted {kept.part} of {kept.request} was changed"
    return ""


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
