"""Says loudly, once and not once per record, that the audit log cannot be written."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any

import structlog

__all__ = ["Alarm"]

_QUIET_S = 10.0


class Alarm:
    """Reports failures and recoveries of one journal; at most one of each in ten seconds."""

    __slots__ = ("_failed_at_s", "_recovered_at_s")

    def __init__(self) -> None:
        self._failed_at_s = self._recovered_at_s = float("-inf")

    def failed(self, directory: str, failure: str, dropped: int) -> None:
        """Report that events are not being recorded."""
        now_s = time.monotonic()
        if now_s - self._failed_at_s >= _QUIET_S:
            self._failed_at_s = now_s
            _log("error", "audit.failed", directory=directory, failure=failure, dropped=dropped)

    def recovered(self, directory: str, dropped: int) -> None:
        """Report that events are being recorded again."""
        now_s = time.monotonic()
        if now_s - self._recovered_at_s >= _QUIET_S:
            self._recovered_at_s = now_s
            _log("warning", "audit.recovered", directory=directory, dropped=dropped)


def _log(level: str, message: str, **details: object) -> None:
    # A log that is broken too must end neither the generation nor the writer's thread.
    with contextlib.suppress(Exception):
        getattr(_logger(), level)(message, **details)


def _logger() -> Any:
    if structlog.is_configured():
        return structlog.get_logger("guardsteer.audit")
    # structlog's own default is stdout, where a program's results belong.
    return structlog.wrap_logger(structlog.PrintLogger(sys.stderr), logger_name="guardsteer.audit")
