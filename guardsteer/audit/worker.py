"""The thread that takes events off the queue and makes them durable, a group at a time."""

from __future__ import annotations

import threading
import time
from collections import deque

from guardsteer.audit.batch import Barrier, Batch, take_batch
from guardsteer.audit.health import Health
from guardsteer.audit.records import StreamClosed, encode_record
from guardsteer.audit.stream import StreamWriter
from guardsteer.core.events import Event

__all__ = ["BATCH_RECORDS", "GROUP_DELAY_S", "RETRY_DELAY_S", "Worker"]

BATCH_RECORDS = 1_024
GROUP_DELAY_S = 0.02
RETRY_DELAY_S = 0.25

_LOOKS = 2


class Worker:
    """Writes one stream. ``queue`` may be appended to by any thread; then call ``wake`` if ``asleep``.

    A commit that failed is tried again every 0.25 s with the same records, at once when somebody
    calls ``wait_durable``. What is still not written when it stops is lost, and counted.
    """

    def __init__(self, writer: StreamWriter, health: Health) -> None:
        self.queue: deque[Event | Barrier] = deque()
        self.asleep = False
        self.stopping = False
        self._writer = writer
        self._health = health
        self._work = threading.Event()
        self._hurry = threading.Event()
        self._lock = threading.Lock()
        self._barriers: set[Barrier] = set()
        self._batch: Batch | None = None
        self._thread = threading.Thread(target=self._run, name="guardsteer-audit", daemon=True)
        self._thread.start()

    @property
    def writer(self) -> StreamWriter:
        """The stream's files."""
        return self._writer

    def wake(self) -> None:
        """Tell the thread that there is something to write."""
        self.asleep = False
        self._work.set()

    def wait_durable(self, timeout_s: float) -> str | None:
        """Wait until all that was appended before is durable; return "" then, the failure if it is not.

        None when neither is known after ``timeout_s`` seconds.
        """
        barrier = Barrier()
        with self._lock:
            self._barriers.add(barrier)
        self.queue.append(barrier)
        self._hurry.set()
        self.wake()
        # A worker that stopped in between would never see the barrier.
        if not self._thread.is_alive():
            self._answer(self._health.failure or "the journal is closed")
        return barrier.failure if barrier.done.wait(timeout_s) else None

    def stop(self, timeout_s: float) -> bool:
        """Write what is left and the closing record; false when it takes over ``timeout_s`` seconds."""
        self.stopping = True
        self._hurry.set()
        self.wake()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        left = sum(not isinstance(item, Barrier) for item in self.queue)
        left += self._batch.events if self._batch else 0
        if left:
            self._health.lose(self._health.failure or "appended while the journal was being closed", left)
        self._answer("the journal is closed")
        return True

    def _run(self) -> None:
        try:
            while not self.stopping:
                self._rest()
                self._drain()
            self._finish()
        except BaseException as error:
            # A dead writer must not look like a quiet one.
            self.stopping = True
            self._health.fail(f"the writer stopped: {error!r}")
            raise
        finally:
            self._answer(self._health.failure or "the journal is closed")
            self._writer.close()

    def _rest(self) -> None:
        """Sleep until there is something to write, then let a group gather."""
        gathered = False
        if self._batch is not None:
            self._hurry.wait(RETRY_DELAY_S)
        elif not self._awaited():
            gathered = self._look_around()
            if not gathered:
                self._sleep()
        self._work.clear()
        if not gathered and not self.stopping and len(self.queue) < BATCH_RECORDS:
            self._hurry.wait(GROUP_DELAY_S)
        self._hurry.clear()

    def _look_around(self) -> bool:
        """Look twice more, 20 ms apart, whether there is more; true when there is.

        Waking a sleeper costs the generating thread some microseconds, so one that writes at every step must
        find nobody asleep. But each look takes the interpreter's lock from it, so nobody looks for long.
        """
        return any(self._hurry.wait(GROUP_DELAY_S) or self._awaited() for _ in range(_LOOKS))

    def _sleep(self) -> None:
        self.asleep = True
        # Looked at again with the flag up: what came in between is not slept on.
        if not self._awaited():
            self._work.wait(self._until_due())
        self.asleep = False

    def _until_due(self) -> float | None:
        """Return how many seconds to sleep at most: until the segment ends for its age, None for ever."""
        due_s = self._writer.due_s
        if due_s is None:
            return None
        return min(max(due_s, RETRY_DELAY_S if self._health.failed else 0.0), threading.TIMEOUT_MAX)

    def _awaited(self) -> bool:
        return bool(self.queue) or self.stopping or self._health.unrecorded > 0

    def _drain(self) -> bool:
        """Commit what is queued, batch by batch; false when a commit failed."""
        while True:
            if self._batch is None:
                self._batch = take_batch(self.queue, BATCH_RECORDS, self._health)
            batch = self._batch
            if not batch.bodies and not batch.barriers:
                self._batch = None
                return self._end_segment()
            if batch.bodies and not self._commit(batch.bodies):
                return False
            self._batch = None
            if batch.bodies and not batch.refused:
                self._health.recover()
            with self._lock:
                self._barriers.difference_update(batch.barriers)
            for barrier in batch.barriers:
                barrier.done.set()

    def _end_segment(self) -> bool:
        """End a segment that is old enough though nothing comes; false when that failed."""
        due_s = self._writer.due_s
        if due_s is None or due_s > 0:
            return True
        if not self._commit(()):
            return False
        self._health.recover()
        return True

    def _commit(self, bodies: tuple[bytes, ...]) -> bool:
        self._health.committing_since_s = time.monotonic()
        try:
            self._writer.commit(bodies)
        except OSError as error:
            self._writer.discard_uncommitted()
            self._health.fail(str(error))
            self._answer(str(error))
            return False
        finally:
            self._health.committing_since_s = 0.0
        return True

    def _answer(self, failure: str) -> None:
        """Tell everyone who waits that it failed."""
        with self._lock:
            for barrier in self._barriers:
                barrier.failure = failure
                barrier.done.set()
            self._barriers.clear()

    def _finish(self) -> None:
        if not self._drain():
            return
        closing = StreamClosed(time_ns=time.time_ns(), dropped=self._health.dropped)
        if not self._commit((encode_record(closing),)):
            return
        try:
            self._writer.sync_checkpoint()
        except OSError as error:
            self._health.fail(str(error))
        else:
            self._health.recover()
