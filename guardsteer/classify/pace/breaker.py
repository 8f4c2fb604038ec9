"""A fuse before a classifier that keeps failing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from guardsteer.core.policy import BreakerSpec

__all__ = ["Breaker"]


class Breaker:
    """Trips after ``spec.failures`` in a row, rests for ``spec.rest_s`` seconds, then lets one row try.

    Shared by all rows of a classifier, whatever thread they are in. While ``tripped`` a row asks
    ``admits``: true for one row once the rest is over, and for another where that one has not reported
    within a further ``rest_s``. Its ``succeeded`` closes the breaker, its ``failed`` begins the rest anew.
    Rows that were not admitted report nothing. ``clock`` gives seconds that never go back.
    """

    __slots__ = ("_clock", "_failures", "_lock", "_on_restore", "_on_trip", "_retry_at_s", "spec", "tripped")

    def __init__(self, spec: BreakerSpec, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.spec = spec
        self.tripped = False
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._retry_at_s = 0.0
        self._on_trip: Callable[[int, str], None] | None = None
        self._on_restore: Callable[[], None] | None = None

    def listen(self, on_trip: Callable[[int, str], None], on_restore: Callable[[], None]) -> None:
        """Call ``on_trip(failures, error)`` when a rest begins, ``on_restore()`` when the last one ends.

        Both are called by the row that reported, outside of the lock, and must not raise.
        """
        self._on_trip, self._on_restore = on_trip, on_restore

    def admits(self) -> bool:
        """Tell whether a row may call the classifier now; the row that is let in to try must report."""
        with self._lock:
            if not self.tripped:
                return True
            now_s = self._clock()
            if now_s < self._retry_at_s:
                return False
            self._retry_at_s = now_s + self.spec.rest_s
            return True

    def succeeded(self) -> None:
        """Count a call that went well."""
        if not self._failures:
            return
        with self._lock:
            restored, self.tripped = self.tripped, False
            self._failures = 0
        if restored and self._on_restore is not None:
            self._on_restore()

    def failed(self, error: str) -> None:
        """Count a call that failed; ``error`` says how."""
        with self._lock:
            self._failures += 1
            failures = self._failures
            if failures < self.spec.failures:
                return
            self.tripped = True
            self._retry_at_s = self._clock() + self.spec.rest_s
        if self._on_trip is not None:
            self._on_trip(failures, error)
