"""What happened to each row as OpenTelemetry spans; needs ``guardsteer[opentelemetry]``.

A row is a span with what was decided as its span events, and a child span for each activation. Names
begin with ``guardsteer.``, since the conventions for guardrails are unsettled; token counts are those of the
GenAI conventions.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from guardsteer.core.events import (
    ActivationBegan,
    ActivationEnded,
    ClassifierFailed,
    ClassifierLate,
    Event,
    FlagChanged,
    PolicyAdopted,
    RequestEnded,
    RequestFailed,
    RequestStarted,
    RowHalted,
    RowRevised,
    RuleFired,
    RuleReleased,
)
from guardsteer.errors import UnsupportedError
from guardsteer.telemetry.feed import AuditLog

__all__ = ["OpenTelemetrySpans"]

_Row: TypeAlias = tuple[str, int]

_EVENTS: dict[type, tuple[str, tuple[str, ...]]] = {
    FlagChanged: ("guardsteer.flag", ("step", "flag", "up", "score")),
    RuleFired: ("guardsteer.rule.fired", ("step", "rule", "mode")),
    RuleReleased: ("guardsteer.rule.released", ("step", "rule", "mode")),
    RowHalted: ("guardsteer.halted", ("step", "rule", "position", "mode")),
    RowRevised: ("guardsteer.revised", ("step", "rule", "position", "dropped", "revision", "mode")),
    ClassifierFailed: ("guardsteer.classifier.failed", ("step", "classifier", "error")),
    ClassifierLate: ("guardsteer.classifier.late", ("step", "classifier", "until")),
}


class OpenTelemetrySpans:
    """Makes spans with ``tracer_provider``, by default the process's, below the caller's current span.

    Candidates that run beside the policy have no spans. Times are those of the audit's events. Raises
    ``UnsupportedError`` where ``opentelemetry-api`` is missing.
    """

    def __init__(self, tracer_provider: Any = None) -> None:
        try:
            from opentelemetry import context, trace
        except ImportError as error:
            raise UnsupportedError(
                'OpenTelemetrySpans needs opentelemetry-api: pip install "guardsteer[opentelemetry]"'
            ) from error
        from guardsteer import __version__

        self._trace = trace
        self._current = context.get_current
        self._tracer = trace.get_tracer("guardsteer", __version__, tracer_provider)
        self._rows: dict[_Row, Any] = {}
        self._acting: dict[tuple[_Row, str, str, str], ActivationBegan] = {}
        self._names: dict[str, str] = {}

    def opened(self, audit: AuditLog | None) -> None:
        """Do nothing: a log has no span."""

    def context(self) -> object:
        """Return the caller's context, which the row's span becomes a child of."""
        return self._current()

    def observe(self, event: Event, context: object) -> None:
        """Begin, fill or end a span."""
        if isinstance(event, PolicyAdopted):
            self._names[event.policy_digest] = event.policy
            return
        told: Any = event
        if not hasattr(told, "request") or told.track:
            return
        row: _Row = (told.request, told.sequence)
        if isinstance(event, RequestStarted):
            self._rows[row] = self._start(event, context)
            return
        span = self._rows.get(row)
        if span is None:
            return
        if isinstance(event, ActivationBegan):
            self._acting[row, event.rule, event.vector, event.mode] = event
        elif isinstance(event, ActivationEnded):
            self._acted(row, span, event)
        elif isinstance(event, RequestEnded | RequestFailed):
            self._end(row, span, event)
        elif named := _EVENTS.get(type(event)):
            span.add_event(named[0], _told(event, named[1]), event.time_ns)

    def close(self) -> None:
        """End the spans of rows that nobody ended."""
        for span in self._rows.values():
            span.end()
        self._rows.clear()
        self._acting.clear()

    def _start(self, event: RequestStarted, context: Any) -> Any:
        attributes: dict[str, Any] = {
            "guardsteer.request": event.request,
            "guardsteer.sequence": event.sequence,
            "guardsteer.guard": event.guard,
            "guardsteer.policy": self._names.get(event.policy_digest, ""),
            "guardsteer.policy.digest": event.policy_digest,
            "guardsteer.mode": event.mode,
            "guardsteer.arm": event.arm,
            "guardsteer.tenant": event.tenant,
            "gen_ai.usage.input_tokens": event.prompt_tokens,
        }
        given = {name: value for name, value in attributes.items() if value != ""}
        return self._tracer.start_span(
            "guardsteer.row", context=context, start_time=event.time_ns, attributes=given
        )

    def _acted(self, row: _Row, parent: Any, event: ActivationEnded) -> None:
        began = self._acting.pop((row, event.rule, event.vector, event.mode), None)
        span = self._tracer.start_span(
            "guardsteer.activation",
            context=self._trace.set_span_in_context(parent),
            start_time=event.time_ns if began is None else began.time_ns,
            attributes=_told(
                event, ("rule", "vector", "operator", "first", "last", "tokens", "applied", "mode")
            ),
        )
        span.end(event.time_ns)

    def _end(self, row: _Row, span: Any, event: RequestEnded | RequestFailed) -> None:
        if isinstance(event, RequestFailed):
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, event.error))
        else:
            span.set_attributes(
                {
                    **_told(event, ("steered_tokens", "withheld_tokens", "limited_tokens", "reason")),
                    "gen_ai.usage.output_tokens": event.generated_tokens,
                }
            )
        span.end(event.time_ns)
        del self._rows[row]
        for key in [key for key in self._acting if key[0] == row]:
            del self._acting[key]


def _told(event: Event, fields: tuple[str, ...]) -> dict[str, Any]:
    return {
        f"guardsteer.{field}": value for field in fields if (value := getattr(event, field)) not in ("", None)
    }
