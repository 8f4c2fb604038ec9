"""The operational log: what an operator wants to read of a guard, through structlog."""

from __future__ import annotations

from typing import Any

import structlog

from guardsteer.core.events import (
    ClassifierFailed,
    ClassifierLate,
    ClassifierRestored,
    ClassifierTripped,
    Event,
    PolicyAdopted,
    PolicyRefused,
    RequestEnded,
    RequestFailed,
    Resumed,
    RowHalted,
    RowRevised,
    Stopped,
    TextDropped,
)
from guardsteer.telemetry.feed import AuditLog

__all__ = ["OperationalLog"]

# Level, name, and the fields that are told; the rest is for the audit.
_TOLD: dict[type, tuple[str, str, tuple[str, ...]]] = {
    PolicyAdopted: ("info", "policy.adopted", ("policy", "policy_digest", "source", "approved_by", "track")),
    PolicyRefused: ("error", "policy.refused", ("file", "error")),
    Stopped: ("warning", "steering.stopped", ("by", "reason")),
    Resumed: ("warning", "steering.resumed", ("by", "reason")),
    ClassifierTripped: ("error", "classifier.tripped", ("classifier", "failures", "rest_s", "error")),
    ClassifierRestored: ("info", "classifier.restored", ("classifier",)),
    ClassifierFailed: ("warning", "classifier.failed", ("classifier", "step", "error", "track")),
    ClassifierLate: ("warning", "classifier.late", ("classifier", "step", "until", "track")),
    RowHalted: ("warning", "row.halted", ("rule", "position", "mode", "track")),
    RowRevised: ("info", "row.revised", ("rule", "position", "dropped", "revision", "mode", "track")),
    RequestFailed: ("error", "request.failed", ("error", "track")),
    RequestEnded: ("info", "request.ended", ("generated_tokens", "steered_tokens", "reason", "track")),
    TextDropped: ("error", "text.dropped", ("count", "reason")),
}


class OperationalLog:
    """Logs what happened to ``logger``, by default structlog's ``guardsteer``, with the request's id.

    Neither text nor scores: the audit has what decided. Levels are in ``docs/telemetry.md``.
    """

    def __init__(self, logger: Any = None) -> None:
        self._logger = logger

    def opened(self, audit: AuditLog | None) -> None:
        """Do nothing: the log complains by itself."""

    def context(self) -> None:
        """Remember nothing."""

    def observe(self, event: Event, context: object) -> None:  # noqa: ARG002  # the signature of an observer
        """Log the event if it is one to tell."""
        told = _TOLD.get(type(event))
        if told is None:
            return
        level, name, fields = told
        values = {field: value for field in fields if (value := getattr(event, field)) != ""}
        request = getattr(event, "request", None)
        if request is not None:
            values = {"request": request, "sequence": getattr(event, "sequence", 0), **values}
        logger = structlog.get_logger("guardsteer") if self._logger is None else self._logger
        getattr(logger, level)(name, **values)

    def close(self) -> None:
        """Do nothing."""
