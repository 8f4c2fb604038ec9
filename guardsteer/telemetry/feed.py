"""Events on their way to those who watch: queued where they happen, told from a thread of their own."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog

from guardsteer.core.events import Event, RequestStarted
from guardsteer.errors import UnsupportedError

__all__ = ["QUEUE_EVENTS", "AuditLog", "Feed", "Observer", "check_observers"]

QUEUE_EVENTS = 65_536

# Nobody wakes the thread, so that telling costs the generating thread an append and no more.
_EVERY_S = 0.1

_METHODS = ("opened", "context", "observe", "close")


class AuditLog(Protocol):
    """How an audit log fares, as ``guardsteer.audit.Journal`` tells it."""

    @property
    def failed(self) -> bool:
        """True while events cannot be recorded."""

    @property
    def dropped(self) -> int:
        """How many events are lost for good."""

    @property
    def backlog(self) -> int:
        """How many events wait to be written."""


class Observer(Protocol):
    """Somebody who watches a guard. All but ``context`` is called from one thread, never from a step."""

    def opened(self, audit: AuditLog | None) -> None:
        """Hear, once for each guard, of the log that it keeps."""

    def context(self) -> object:
        """Return what to remember of the caller; called in the caller's thread as a row is admitted."""

    def observe(self, event: Event, context: object) -> None:
        """Take in an event; ``context`` is what ``context`` returned for a ``RequestStarted``, else None."""

    def close(self) -> None:
        """Hear that a guard is off and that all of its events were told."""


def check_observers(observers: Sequence[object]) -> None:
    """Raise ``UnsupportedError`` for the first that is no observer, with what it lacks."""
    for observer in observers:
        missing = [name for name in _METHODS if not callable(getattr(observer, name, None))]
        if missing or isinstance(observer, type):
            raise UnsupportedError(
                f"observers: got {observer!r:.80}, expected an object with {', '.join(_METHODS)}; "
                + (f"it lacks {', '.join(missing)}" if missing else "this is a class, make one of it")
            )


class Feed:
    """Tells observers a guard's events, in order; ``append`` never blocks and never raises.

    What an observer raises is logged once and does not reach anybody else. ``capacity`` events may wait;
    those beyond are counted in ``dropped``. After a fork the child tells its own events.
    """

    def __init__(
        self, observers: Sequence[Observer], audit: AuditLog | None = None, *, capacity: int = QUEUE_EVENTS
    ) -> None:
        self.dropped = 0
        self._observers = tuple(observers)
        self._capacity = capacity
        self._queue: deque[tuple[Event, tuple[object, ...] | None]] = deque()
        self._telling = threading.Lock()
        self._closing = threading.Event()
        self._complained: set[int] = set()
        self._thread: threading.Thread | None = None
        for observer in self._observers:
            observer.opened(audit)
        os.register_at_fork(after_in_child=_forked_hook(weakref.ref(self)))

    def append(self, event: Event) -> None:
        """Queue an event; told some 100 ms later, or by ``flush``."""
        if len(self._queue) >= self._capacity:
            self.dropped += 1
            return
        contexts = None
        if type(event) is RequestStarted:
            contexts = tuple(self._context(observer) for observer in self._observers)
        self._queue.append((event, contexts))
        if self._thread is None:
            self._start()

    def flush(self) -> None:
        """Tell what was appended before; returns when it is told."""
        with self._telling:
            for _ in range(len(self._queue)):
                event, contexts = self._queue.popleft()
                for place, observer in enumerate(self._observers):
                    self._tell(observer, event, contexts[place] if contexts else None)

    def close(self) -> None:
        """Tell all that waits, then stop; does nothing the second time."""
        if self._closing.is_set():
            return
        self._closing.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self.flush()
        for observer in self._observers:
            try:
                observer.close()
            except Exception as error:
                self._complain(observer, error)

    def _start(self) -> None:
        with self._telling:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(
                    target=_run,
                    args=(weakref.ref(self), self._closing),
                    name="guardsteer-telemetry",
                    daemon=True,
                )
                self._thread.start()

    def _context(self, observer: Observer) -> object:
        try:
            return observer.context()
        except Exception as error:
            self._complain(observer, error)
            return None

    def _tell(self, observer: Observer, event: Event, context: object) -> None:
        try:
            observer.observe(event, context)
        except Exception as error:  # whoever watches must not end what is watched
            self._complain(observer, error)

    def _complain(self, observer: Observer, error: Exception) -> None:
        if id(observer) in self._complained:
            return
        self._complained.add(id(observer))
        # A log that is broken too must not end the thread.
        with contextlib.suppress(Exception):
            structlog.get_logger("guardsteer.telemetry").warning(
                "telemetry.failed", observer=type(observer).__name__, error=f"{type(error).__name__}: {error}"
            )

    def _forked(self) -> None:
        """Forget the parent's thread and all that is queued for it: the parent tells that."""
        self._thread = None
        self._queue = deque()
        self._telling = threading.Lock()
        self._closing = threading.Event()


def _run(feed: weakref.ref[Feed], closing: threading.Event) -> None:
    while not closing.wait(_EVERY_S):
        here = feed()
        if here is None:
            return
        here.flush()
        del here


def _forked_hook(feed: weakref.ref[Feed]) -> Callable[[], Any]:
    # Such a hook can never be taken back, so it must not keep the feed alive.
    def forked() -> None:
        if (here := feed()) is not None:
            here._forked()

    return forked
