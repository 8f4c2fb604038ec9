"""Threads for calls that may never come back."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Threads"]


class Threads:
    """Up to ``most`` daemon threads, started when a job finds none idle; jobs begin in order.

    A job that hangs keeps its thread, and no other job waits for it before ``most`` of them hang. After a
    fork of the process the child begins without threads and without the parent's jobs.
    """

    __slots__ = ("_closed", "_idle", "_jobs", "_most", "_name", "_pid", "_started", "_work")

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._closed = False
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._work = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._idle = self._started = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Have a thread run ``job``, which must not raise. Raises ``RuntimeError`` after ``close``."""
        if os.getpid() != self._pid:
            # The lock may have been held when the process was forked, so it is not asked.
            self._forget()
        with self._work:
            if self._closed:
                raise RuntimeError("its threads were closed")
            if self._idle <= len(self._jobs) and self._started < self._most:
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
                self._started += 1
            self._jobs.append(job)
            self._work.notify()

    def close(self) -> None:
        """End the threads: idle ones at once, busy ones after their job. Jobs not begun never will be."""
        if os.getpid() != self._pid:
            self._forget()
        with self._work:
            self._closed = True
            self._jobs.clear()
            self._work.notify_all()

    def _run(self) -> None:
        work = self._work
        while True:
            with work:
                self._idle += 1
                while not self._jobs and not self._closed:
                    work.wait()
                self._idle -= 1
                if self._closed:
                    self._started -= 1
                    return
                job = self._jobs.popleft()
            job()
            # A kept job would keep its row alive.
            del job
