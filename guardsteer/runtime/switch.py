"""The kill switch: one call, one file or one environment variable, and every strength is zero."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from guardsteer.core.events import Event, Resumed, Stopped

__all__ = ["STOP_VARIABLE", "Cause", "Switch"]

STOP_VARIABLE = "GUARDSTEER_STOP"
_OFF = frozenset({"", "0"})

Cause = Literal["call", "file", "environment"]


class Switch:
    """Tells, at the start of every pass, whether steering is stopped; any thread may throw it.

    It is on while one of three says so: ``stop`` was called and not taken back, ``file`` exists, or the
    environment variable ``GUARDSTEER_STOP`` holds anything but ``0``. What comes and goes is handed to
    ``report``, once for each cause.
    """

    __slots__ = (
        "_called",
        "_causes",
        "_environment",
        "_file",
        "_guard",
        "_lock",
        "_name",
        "_only_environment",
        "_report",
        "_seen",
    )

    def __init__(self, guard: str, report: Callable[[Event], None], file: Path | None = None) -> None:
        self._guard = guard
        self._report = report
        self._file = None if file is None else os.fspath(file.absolute())
        self._lock = threading.Lock()
        self._called = False
        self._causes: frozenset[Cause] = frozenset()
        # Neither is anything stopped now, nor can anything else stop it without a call.
        self._only_environment = self._file is None
        # ``os.environ`` looks into a dictionary of its own, after encoding the name: several times the cost
        # of seeing that the name is not there.
        self._environment = os.environ
        contents: Any = getattr(os.environ, "_data", None)
        self._seen: dict[Any, Any] | None = contents if type(contents) is dict else None
        self._name: Any = STOP_VARIABLE if self._seen is None else os.environ.encodekey(STOP_VARIABLE)

    def stop(self, reason: str = "") -> None:
        """Stop: no pass that begins after this returns is steered."""
        self._called = True
        self._note(self._present(), reason)

    def resume(self, reason: str = "") -> None:
        """Take ``stop`` back; a file or variable that says stop goes on saying so."""
        self._called = False
        self._note(self._present(), reason)

    @property
    def causes(self) -> frozenset[Cause]:
        """What says stop now."""
        found = self._present()
        self._note(found, "")
        return found

    def active(self) -> bool:
        """Tell whether steering is stopped; about a microsecond, and nothing is written unless it changed."""
        seen = self._seen
        if (
            self._only_environment
            and seen is not None
            and self._name not in seen
            and os.environ is self._environment
        ):
            return False
        return self._look()

    def _look(self) -> bool:
        found = self._present()
        self._note(found, "")
        return bool(found)

    def _present(self) -> frozenset[Cause]:
        found: set[Cause] = set()
        if self._called:
            found.add("call")
        if self._file is not None and os.path.exists(self._file):
            found.add("file")
        if os.environ.get(STOP_VARIABLE, "") not in _OFF:
            found.add("environment")
        return frozenset(found)

    def _note(self, found: frozenset[Cause], reason: str) -> None:
        if found == self._causes:
            return
        with self._lock:
            known, self._causes = self._causes, found
            self._only_environment = not (found or self._called or self._file is not None)
        for cause in sorted(found - known):
            self._report(
                Stopped(time_ns=time.time_ns(), guard=self._guard, by=cause, reason=_of(cause, reason))
            )
        for cause in sorted(known - found):
            self._report(
                Resumed(time_ns=time.time_ns(), guard=self._guard, by=cause, reason=_of(cause, reason))
            )


def _of(cause: Cause, reason: str) -> str:
    return reason if cause == "call" else ""
