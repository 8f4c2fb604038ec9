"""One stream's files: segments that only grow, and the head that says how far they are durable."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path

from guardsteer import __version__
from guardsteer.audit.chain import (
    FORMAT_VERSION,
    ZERO_HASH,
    Head,
    encode_head,
    head_name,
    new_stream_name,
    seal,
    segment_name,
)
from guardsteer.audit.records import SegmentBegan, encode_record

__all__ = ["StreamWriter"]

# macOS has no fdatasync.
_sync_data = getattr(os, "fdatasync", os.fsync)
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
_NO_FILE = -1


class StreamWriter:
    """Appends lines to a new stream; ``commit`` either makes all of a batch durable or raises ``OSError``.

    After an error the same batch may be committed again: bytes that were never committed are cut off
    first, committed ones are never touched. Not for several threads at once.
    """

    __slots__ = (
        "_began",
        "_digest_key",
        "_directory",
        "_dirty",
        "_hash",
        "_head_file",
        "_lines",
        "_number",
        "_removed",
        "_segment_bytes",
        "_segment_file",
        "_size_bytes",
        "name",
    )

    def __init__(self, directory: Path, *, digest_key: str, segment_bytes: int) -> None:
        self.name = new_stream_name()
        self._directory = directory
        self._digest_key = digest_key
        self._segment_bytes = segment_bytes
        self._lines, self._hash = 0, ZERO_HASH
        self._number, self._size_bytes = 0, 0
        self._segment_file = _NO_FILE
        self._dirty = self._removed = False
        self._began = b""
        # The head exists before the first segment, so a segment without one was robbed of it.
        self._head_file = os.open(
            directory / head_name(self.name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        try:
            self._write_head(self._lines, self._hash)
            os.fsync(self._head_file)
            self._next_segment()
            self.commit(())
        except BaseException:
            self.close()
            raise

    @property
    def head(self) -> Head:
        """How far the stream is durable."""
        return Head(self.name, self._lines, self._hash.decode())

    @property
    def segment_path(self) -> Path:
        """The file that is being written."""
        return self._directory / segment_name(self.name, self._number)

    def commit(self, bodies: Sequence[bytes]) -> None:
        """Make JSON objects durable, in order, with one sync; raises ``OSError`` and then none counts."""
        if self._size_bytes >= self._segment_bytes or self._removed:
            self._next_segment()
        opening = self._size_bytes == 0
        if opening:
            bodies = (self._began, *bodies)
        data, lines, last_hash = seal(bodies, self._lines, self._hash)
        if self._dirty:
            os.ftruncate(self._segment_file, self._size_bytes)
        self._dirty = True
        _write_all(self._segment_file, data)
        _sync_data(self._segment_file)
        if os.fstat(self._segment_file).st_nlink == 0:
            # Bytes in a file without a name are lost: the next try goes to a new segment.
            self._removed = True
            raise OSError(errno.ENOENT, "the segment was removed while in use", str(self.segment_path))
        if opening:
            self._sync_directory()
        self._write_head(lines, last_hash)
        self._dirty = False
        self._lines, self._hash = lines, last_hash
        self._size_bytes += len(data)

    def discard_uncommitted(self) -> None:
        """Cut off what a failed commit left behind; does nothing where that fails too."""
        if self._dirty:
            try:
                os.ftruncate(self._segment_file, self._size_bytes)
            except OSError:
                return
            self._dirty = False

    def close(self) -> None:
        """Close the files; durable already, so nothing is written."""
        segment_file, self._segment_file = self._segment_file, _NO_FILE
        head_file, self._head_file = self._head_file, _NO_FILE
        for descriptor in (segment_file, head_file):
            if descriptor != _NO_FILE:
                os.close(descriptor)

    def sync_head(self) -> None:
        """Make the head itself durable; raises ``OSError``."""
        os.fsync(self._head_file)

    def _next_segment(self) -> None:
        number = self._number + 1
        descriptor = os.open(self._directory / segment_name(self.name, number), _APPEND, 0o600)
        # Never holds a closed descriptor, at no moment: a fork may come between any two lines.
        finished, self._segment_file = self._segment_file, descriptor
        if finished != _NO_FILE:
            os.close(finished)
        self._number = number
        self._size_bytes = 0
        self._dirty = self._removed = False
        # Encoded once: a commit that is tried again writes the same bytes.
        self._began = encode_record(
            SegmentBegan(
                time_ns=time.time_ns(),
                format=FORMAT_VERSION,
                stream=self.name,
                number=number,
                previous=self._hash.decode(),
                digest_key=self._digest_key,
                library=__version__,
                pid=os.getpid(),
            )
        )

    def _write_head(self, lines: int, last_hash: bytes) -> None:
        # At offset 0 and far below a disk sector: written whole or not at all.
        os.pwrite(self._head_file, encode_head(Head(self.name, lines, last_hash.decode())), 0)

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
