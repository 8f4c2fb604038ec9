"""Whether a journal records what it is given, and what it lost."""

from __future__ import annotations

import threading
import time

from guardsteer.audit.alarm import Alarm
from guardsteer.audit.records import RecordsDropped

__all__ = ["Health"]

STUCK_S = 5.0


class Health:
    """Failure and losses of one stream; for several threads at once.

    ``failed`` is true from the first failure until everything is recorded again, ``failure`` is its
    text. ``dropped`` counts the events that are lost for good. ``committing_since_s`` is when the commit
    under way began, by the monotonic clock; 0 without one.
    """

    __slots__ = (
        "_alarm",
        "_directory",
        "_first_ns",
        "_last_ns",
        "_lock",
        "_reason",
        "_unrecorded",
        "_unreported",
        "committing_since_s",
        "dropped",
        "failed",
        "failure",
    )

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.renew()

    def renew(self) -> None:
        """Forget everything: in the child of a fork, where nothing was written yet and nobody else is."""
        self._alarm = Alarm()
        self._lock = threading.Lock()
        self._first_ns = self._last_ns = 0
        self._reason = ""
        self._unrecorded = self._unreported = 0
        self.dropped = 0
        self.failed = False
        self.failure = ""
        self.committing_since_s = 0.0

    def failing(self) -> bool:
        """Tell whether something is not recorded; a commit that goes on for over five seconds is not."""
        return self.failed or (self.committing_since_s > 0.0 and self._stuck())

    def _stuck(self) -> bool:
        since_s = self.committing_since_s
        if not since_s or time.monotonic() - since_s < STUCK_S:
            return False
        self.fail(f"a write has taken longer than {STUCK_S:g} s; is the disk stuck?")
        return True

    def fail(self, failure: str) -> None:
        """Remember that events are not being recorded, and say so."""
        with self._lock:
            self.failure = failure
            self.failed = True
        self._alarm.failed(self._directory, failure, self.dropped)

    def lose(self, reason: str, count: int = 1) -> None:
        """Count events as lost."""
        with self._lock:
            self._last_ns = time.time_ns()
            if not self._unrecorded:
                self._first_ns, self._reason = self._last_ns, reason
            self.dropped += count
            self._unrecorded += count
            self._unreported += count
        self.fail(reason)

    def recover(self) -> None:
        """Forget the failure, unless losses are still to be recorded."""
        with self._lock:
            if not self.failed or self._unrecorded:
                return
            self.failed = False
        self._alarm.recovered(self._directory, self.dropped)

    @property
    def unrecorded(self) -> int:
        """How many lost events the log does not know of yet."""
        return self._unrecorded

    def take_record(self) -> RecordsDropped | None:
        """Return the record of what was lost since the last one, or None."""
        with self._lock:
            count, self._unrecorded = self._unrecorded, 0
            if not count:
                return None
            return RecordsDropped(
                time_ns=time.time_ns(),
                count=count,
                first_ns=self._first_ns,
                last_ns=self._last_ns,
                reason=self._reason,
            )

    def take_unreported(self) -> int:
        """Return how many were lost since this was last asked."""
        with self._lock:
            count, self._unreported = self._unreported, 0
            return count
