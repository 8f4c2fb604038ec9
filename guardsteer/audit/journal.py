"""The journal: events go on a queue in a fraction of a microsecond, a thread makes them durable."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardsteer.audit.batch import Barrier
from guardsteer.audit.health import Health
from guardsteer.audit.keys import key_name, keyed_digest, load_key
from guardsteer.audit.stream import StreamWriter
from guardsteer.audit.worker import RETRY_DELAY_S, Worker
from guardsteer.core.events import Event
from guardsteer.errors import AuditError, AuditWriteError

__all__ = ["QUEUE_RECORDS", "SEGMENT_BYTES", "SEGMENT_S", "Journal", "open_journal"]

SEGMENT_BYTES = 64 * 2**20
SEGMENT_S = 24 * 60 * 60.0
QUEUE_RECORDS = 65_536


@dataclass(frozen=True, slots=True)
class Limits:
    """When a segment ends, in bytes and in seconds of ``clock``, and how many events may wait."""

    segment_bytes: int
    segment_s: float
    queue_records: int
    clock: Callable[[], float]


def open_journal(
    directory: str | os.PathLike[str],
    *,
    key: bytes | None = None,
    signing_key: Ed25519PrivateKey | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    segment_s: float = SEGMENT_S,
    queue_records: int = QUEUE_RECORDS,
    clock: Callable[[], float] = time.monotonic,
) -> Journal:
    """Open a new stream below ``directory``, which is made if need be, and start its writer.

    ``key`` is the key of the keyed digests; ``load_key`` says where it comes from otherwise.
    ``signing_key`` vouches for the stream's first checkpoint key, so that nobody without it can pass off
    a log of his own making; every segment's key vouches for the next one's. A segment ends after
    ``segment_bytes``, or ``segment_s`` seconds of ``clock``, and with it the key that signs it;
    ``queue_records`` events may wait for the disk. Raises ``AuditWriteError`` when the directory cannot be
    written, ``AuditError`` for a bad key, size or age.
    """
    path = Path(directory).absolute()
    if segment_bytes < 1 or queue_records < 1:
        raise AuditError(f"segment_bytes={segment_bytes}, queue_records={queue_records}: expected 1 or more")
    if not segment_s > 0:
        raise AuditError(f"segment_s={segment_s:g}: expected seconds above 0; math.inf for no limit of age")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        limits = Limits(segment_bytes, segment_s, queue_records, clock)
        return Journal(path, load_key(path, key), signing_key, limits)
    except OSError as error:
        raise AuditWriteError(f"{path}: the audit log cannot be opened for writing: {error}") from error


class Journal:
    """Records events in one stream of its own; use ``open_journal`` to get one.

    ``append`` never blocks and never raises: watch ``failed``. After a fork the child has a stream of
    its own, opened by its first ``append``. May be shared by threads.
    """

    def __init__(
        self,
        directory: Path,
        key: bytes,
        signing_key: Ed25519PrivateKey | None,
        limits: Limits,
    ) -> None:
        self.directory = directory
        self._key = key
        self._signing_key = signing_key
        self._limits = limits
        self._lock = threading.RLock()
        self._retry_at_s = float("-inf")
        self._closed = False
        self._health = Health(str(directory))
        self._worker: Worker | None = self._start()
        self._queue: deque[Event | Barrier] = self._worker.queue
        self._capacity = limits.queue_records
        atexit.register(self._close_at_exit)
        os.register_at_fork(after_in_child=_forked_hook(weakref.ref(self)))

    @property
    def stream(self) -> str:
        """Name of the stream that this process writes; empty in a forked child before its first event."""
        return self._worker.writer.name if self._worker else ""

    @property
    def checkpoint(self) -> str:
        """How far the stream is durable, signed: the anchor to keep elsewhere. Empty as ``stream`` is."""
        return self._worker.writer.checkpoint.decode() if self._worker else ""

    @property
    def failed(self) -> bool:
        """True from the moment that an event could not be recorded until all is recorded again.

        A write that takes longer than five seconds counts as one that could not be recorded.
        """
        return self._health.failing()

    @property
    def health(self) -> Health:
        """What knows that, for who asks at every step; the same object as long as this one lives."""
        return self._health

    @property
    def failure(self) -> str:
        """What went wrong last; empty when nothing ever did."""
        return self._health.failure

    @property
    def dropped(self) -> int:
        """How many events are lost for good: the queue was full, or they could not be encoded."""
        return self._health.dropped

    @property
    def backlog(self) -> int:
        """How many events wait to be written."""
        return len(self._queue)

    def append(self, event: Event) -> None:
        """Queue an event; durable some 20 ms later, or once ``flush`` has returned."""
        queue = self._queue
        if len(queue) >= self._capacity:
            self._refuse(event)
            return
        queue.append(event)
        worker = self._worker
        if worker is not None and worker.asleep:
            worker.wake()

    def keyed_digest(self, data: bytes) -> str:
        """Return the digest to record in place of a text; see ``guardsteer.audit.keys``."""
        return keyed_digest(self._key, data)

    def flush(self, timeout_s: float = 10.0) -> None:
        """Wait until every event appended before is durable.

        Raises ``AuditWriteError`` when one is not, after ``timeout_s`` seconds at the latest.
        """
        if self._worker is not None and not self._closed:
            failure = self._worker.wait_durable(timeout_s)
            if failure is None:
                self._raise(f"not durable after {timeout_s:g} s; is the disk stuck?")
            if failure:
                self._raise(f"the audit log cannot be written: {failure}")
        self._raise_losses()

    def close(self, timeout_s: float = 10.0) -> None:
        """Flush, write the closing record and stop; does nothing the second time.

        Raises ``AuditWriteError`` when events are lost or the stream could not be closed in order.
        """
        if self._closed:
            return
        self._closed = True
        self._capacity = 0
        atexit.unregister(self._close_at_exit)
        if self._worker is not None and not self._worker.stop(timeout_s):
            self._raise(f"not closed after {timeout_s:g} s; is the disk stuck?")
        self._raise_losses()
        if self._worker is not None and self.failed:
            self._raise(f"the audit log was not closed in order: {self.failure}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except AuditWriteError:
            # The alarm has told; the body's own error is the one to see.
            if error is None:
                raise

    def _start(self) -> Worker:
        writer = StreamWriter(
            self.directory,
            digest_key=key_name(self._key),
            segment_bytes=self._limits.segment_bytes,
            segment_s=self._limits.segment_s,
            signer=self._signing_key,
            clock=self._limits.clock,
        )
        return Worker(writer, self._health)

    def _refuse(self, event: Event) -> None:
        """Take the rare ways of ``append``: first event after a fork, closed, dead writer, queue full."""
        with self._lock:
            if self._closed:
                self._health.lose("the journal is closed")
            elif self._worker is None and not self._restart():
                return
            elif len(self._queue) >= self._capacity:
                self._health.lose(f"the queue of {self._capacity} records is full")
            else:
                self.append(event)

    def _restart(self) -> bool:
        now_s = time.monotonic()
        if now_s < self._retry_at_s:
            self._health.lose(self.failure)
            return False
        try:
            worker = self._start()
        except OSError as error:
            self._retry_at_s = now_s + RETRY_DELAY_S
            self._health.lose(f"the stream of a forked process cannot be opened: {error}")
            return False
        self._queue, self._worker = worker.queue, worker
        self._capacity = self._limits.queue_records
        # A child of multiprocessing ends without running atexit.
        if multiprocessing_util := sys.modules.get("multiprocessing.util"):
            multiprocessing_util.Finalize(self, self._close_at_exit, exitpriority=0)
        return True

    def _raise(self, failure: str) -> None:
        raise AuditWriteError(f"{self.directory}: {failure}")

    def _raise_losses(self) -> None:
        if count := self._health.take_unreported():
            self._raise(f"{count} events are lost for the audit: {self.failure}")

    def _close_at_exit(self) -> None:
        try:
            self.close()
        except AuditWriteError as error:
            self._health.fail(str(error))

    def _forked(self) -> None:
        """Forget the parent's stream and everything queued for it: the parent writes that."""
        worker, self._worker = self._worker, None
        self._queue, self._capacity = deque(), 0
        self._lock = threading.RLock()
        self._health.renew()
        self._retry_at_s = float("-inf")
        if worker is not None:
            worker.writer.close()


def _forked_hook(journal: weakref.ref[Journal]) -> Callable[[], None]:
    # Such a hook can never be taken back, so it must not keep the journal alive.
    def forked() -> None:
        if (here := journal()) is not None:
            here._forked()

    return forked
