"""One stream's files: segments that only grow, and the signed checkpoint that says how far they are durable.

Each segment has a signing key of its own, which is forgotten when the next one begins: whoever takes over
the process later cannot sign for what was written before (forward integrity: Bellare and Yee, 1997).
"""

from __future__ import annotations

import errno
import os
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardsteer import __version__
from guardsteer.audit.chain import (
    FORMAT_VERSION,
    ZERO_HASH,
    chain,
    checkpoint_name,
    new_stream_name,
    segment_name,
)
from guardsteer.audit.checkpoint import Checkpoint
from guardsteer.audit.merkle import Range
from guardsteer.audit.records import SCHEMA_VERSION, SegmentBegan, encode_record
from guardsteer.audit.signed_note import public_bytes

__all__ = ["StreamWriter"]

# macOS has no fdatasync.
_sync_data = getattr(os, "fdatasync", os.fsync)
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
_NO_FILE = -1


class StreamWriter:
    """Appends lines to a new stream; ``commit`` either makes all of a batch durable or raises ``OSError``.

    A segment ends after ``segment_bytes``, or ``segment_s`` seconds of ``clock``. ``signer``, where there is
    one, vouches for the first segment's key. After an error the same batch may be committed again: bytes
    that were never committed are cut off first, committed ones are never touched. Not for several threads
    at once.
    """

    __slots__ = (
        "_began",
        "_began_at_s",
        "_checkpoint_file",
        "_clock",
        "_digest_key",
        "_directory",
        "_dirty",
        "_hash",
        "_key",
        "_lines",
        "_number",
        "_removed",
        "_segment_bytes",
        "_segment_file",
        "_segment_s",
        "_size_bytes",
        "_told",
        "_tree",
        "checkpoint",
        "name",
    )

    def __init__(
        self,
        directory: Path,
        *,
        digest_key: str,
        segment_bytes: int,
        segment_s: float = inf,
        signer: Ed25519PrivateKey | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = new_stream_name()
        self._directory = directory
        self._digest_key = digest_key
        self._segment_bytes = segment_bytes
        self._segment_s = segment_s
        self._clock = clock
        self._lines, self._hash, self._tree = 0, ZERO_HASH, Range()
        self._key = signer
        self.checkpoint = b""
        self._number, self._size_bytes = 0, 0
        self._began_at_s, self._told = 0.0, False
        self._segment_file = _NO_FILE
        self._dirty = self._removed = False
        self._began = b""
        # There before the first segment, so a segment without a checkpoint was robbed of it.
        self._checkpoint_file = os.open(
            directory / checkpoint_name(self.name),
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
            0o600,
        )
        try:
            self._began = encode_record(self._change_keys(1))
            self._write_checkpoint(self._tree)
            os.fsync(self._checkpoint_file)
            self._open_segment(1)
            self.commit(())
        except BaseException:
            self.close()
            raise

    @property
    def lines(self) -> int:
        """How many lines are durable."""
        return self._lines

    @property
    def segment_path(self) -> Path:
        """The file that is being written."""
        return self._directory / segment_name(self.name, self._number)

    @property
    def due_s(self) -> float | None:
        """In how many seconds the segment ends for its age; None while it holds its first line alone."""
        return self._began_at_s + self._segment_s - self._clock() if self._told else None

    def commit(self, bodies: Sequence[bytes]) -> None:
        """Make JSON objects durable, in order, with one sync; raises ``OSError`` and then none counts.

        A segment that is due ends first, even where there is nothing to write.
        """
        due_s = self.due_s
        if self._size_bytes >= self._segment_bytes or self._removed or (due_s is not None and due_s <= 0):
            self._next_segment()
        opening = self._size_bytes == 0
        told = self._told or bool(bodies)
        if opening:
            bodies = (self._began, *bodies)
        chained = chain(bodies, self._lines, self._hash)
        if self._dirty:
            os.ftruncate(self._segment_file, self._size_bytes)
        self._dirty = True
        _write_all(self._segment_file, chained.data)
        _sync_data(self._segment_file)
        if os.fstat(self._segment_file).st_nlink == 0:
            # Bytes in a file without a name are lost: the next try goes to a new segment.
            self._removed = True
            raise OSError(errno.ENOENT, "the segment was removed while in use", str(self.segment_path))
        if opening:
            self._sync_directory()
        tree = self._tree.copy()
        for leaf in chained.leaves:
            tree.append(leaf)
        self._write_checkpoint(tree)
        self._dirty = False
        self._lines, self._hash, self._tree = chained.following, chained.hash, tree
        self._size_bytes += len(chained.data)
        self._told = told

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
        checkpoint_file, self._checkpoint_file = self._checkpoint_file, _NO_FILE
        self._key = None
        for descriptor in (segment_file, checkpoint_file):
            if descriptor != _NO_FILE:
                os.close(descriptor)

    def sync_checkpoint(self) -> None:
        """Make the checkpoint itself durable; raises ``OSError``."""
        os.fsync(self._checkpoint_file)

    def _next_segment(self) -> None:
        number = self._number + 1
        self._open_segment(number)
        # Encoded once: a commit that is tried again writes the same bytes.
        self._began = encode_record(self._change_keys(number))

    def _open_segment(self, number: int) -> None:
        descriptor = os.open(self._directory / segment_name(self.name, number), _APPEND, 0o600)
        # Never holds a closed descriptor, at no moment: a fork may come between any two lines.
        finished, self._segment_file = self._segment_file, descriptor
        if finished != _NO_FILE:
            os.close(finished)
        self._number = number
        self._size_bytes = 0
        self._began_at_s, self._told = self._clock(), False
        self._dirty = self._removed = False

    def _change_keys(self, number: int) -> SegmentBegan:
        """Forget the key in use once it has sealed what was written under it and named its successor."""
        key = Ed25519PrivateKey.generate()
        public = public_bytes(key)
        seal = Checkpoint(self.name, self._lines, self._tree.root(), public)
        sealed = seal.signed(self._key).decode() if self._key else ""
        self._key = key
        return SegmentBegan(
            time_ns=time.time_ns(),
            format=FORMAT_VERSION,
            stream=self.name,
            number=number,
            previous=self._hash.decode(),
            digest_key=self._digest_key,
            library=__version__,
            pid=os.getpid(),
            key=b64encode(public).decode(),
            seal=sealed,
            schema=SCHEMA_VERSION,
        )

    def _write_checkpoint(self, tree: Range) -> None:
        if self._key is None:
            raise OSError(errno.EBADF, "the stream is closed", str(self.segment_path))
        note = Checkpoint(self.name, tree.end, tree.root()).signed(self._key)
        # At offset 0, never shorter than before and far below a disk sector: written whole or not at all.
        os.pwrite(self._checkpoint_file, note, 0)
        self.checkpoint = note

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
