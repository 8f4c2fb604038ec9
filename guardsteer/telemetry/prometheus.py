"""What a guard did as Prometheus metrics; needs ``prometheus_client`` (``guardsteer[prometheus]``)."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from guardsteer.core.events import (
    ActivationEnded,
    ClassifierFailed,
    ClassifierLate,
    ClassifierRestored,
    ClassifierTripped,
    Detached,
    Event,
    FlagChanged,
    PolicyAdopted,
    PolicyRefused,
    RequestEnded,
    RequestFailed,
    RequestStarted,
    Resumed,
    RowHalted,
    RowRevised,
    RuleFired,
    Stopped,
)
from guardsteer.errors import UnsupportedError
from guardsteer.telemetry.catalogue import METRICS
from guardsteer.telemetry.feed import AuditLog

__all__ = ["PrometheusMetrics"]

_Row: TypeAlias = tuple[str, int, str]

# Asked when the metrics are read.
_OF_LOGS = {
    "failed": "guardsteer_audit_failed",
    "backlog": "guardsteer_audit_backlog_records",
    "dropped": "guardsteer_audit_dropped_records",
}


class PrometheusMetrics:
    """Keeps the metrics of ``guardsteer.telemetry.catalogue`` in ``registry``, by default the process's.

    One may watch several guards. Raises ``UnsupportedError`` where ``prometheus_client`` is missing, and for
    a second one in the same registry.
    """

    def __init__(self, registry: Any = None) -> None:
        try:
            import prometheus_client
        except ImportError as error:
            raise UnsupportedError(
                'PrometheusMetrics needs prometheus_client: pip install "guardsteer[prometheus]"'
            ) from error
        where = prometheus_client.REGISTRY if registry is None else registry
        try:
            self._metrics = _register(prometheus_client, where)
        except ValueError as error:
            raise UnsupportedError(
                "PrometheusMetrics: this registry has metrics of these names already; share one between "
                "guards, or give each a registry of its own"
            ) from error
        self._logs: weakref.WeakSet[AuditLog] = weakref.WeakSet()
        for name, metric in _OF_LOGS.items():
            self._metrics[metric].set_function(partial(self._of_logs, name))
        self._rows: dict[_Row, RequestStarted] = {}
        self._names: dict[str, str] = {}
        self._in_force: dict[tuple[str, str], tuple[str, ...]] = {}
        self._stopped: set[str] = set()
        self._takers: dict[type, Callable[[Any], None]] = {
            RequestStarted: self._started,
            RequestEnded: self._ended,
            RequestFailed: self._failed,
            FlagChanged: lambda e: self._count("flag_changes", e.flag, str(e.up).lower(), e.track),
            RuleFired: lambda e: self._count("rule_firings", e.rule, e.mode, e.track),
            ActivationEnded: self._acted,
            RowHalted: lambda e: self._count("halts", e.rule, e.mode, e.track),
            RowRevised: self._revised,
            ClassifierFailed: lambda e: self._count("classifier_failures", e.classifier),
            ClassifierLate: lambda e: self._count("classifier_late", e.classifier),
            ClassifierTripped: lambda e: self._rest(e.classifier, 1),
            ClassifierRestored: lambda e: self._rest(e.classifier, 0),
            Stopped: lambda e: self._switch(e.guard, on=True),
            Resumed: lambda e: self._switch(e.guard, on=False),
            PolicyAdopted: self._adopted,
            PolicyRefused: lambda _: self._count("policy_refused"),
            Detached: self._detached,
        }

    def opened(self, audit: AuditLog | None) -> None:
        """Watch how the guard's log fares too; guards that share one are counted once."""
        if audit is not None:
            self._logs.add(audit)

    def context(self) -> None:
        """Remember nothing."""

    def observe(self, event: Event, context: object) -> None:  # noqa: ARG002  # the signature of an observer
        """Count the event."""
        taker = self._takers.get(type(event))
        if taker is not None:
            taker(event)

    def close(self) -> None:
        """Keep what was counted: the process goes on."""

    def _of_logs(self, name: str) -> float:
        return sum(float(getattr(log, name)) for log in list(self._logs))

    def _count(self, name: str, *labels: str, by: float = 1) -> None:
        metric = self._metrics[f"guardsteer_{name}_total"]
        (metric.labels(*labels) if labels else metric).inc(by)

    def _started(self, event: RequestStarted) -> None:
        self._rows[event.request, event.sequence, event.track] = event
        if not event.track:
            self._metrics["guardsteer_rows_active"].inc()
            self._count("prompt_tokens", self._policy(event), by=event.prompt_tokens)

    def _ended(self, event: RequestEnded) -> None:
        started = self._end(event, event.reason)
        policy = self._policy(started)
        self._count("steered_tokens", policy, event.track, by=event.steered_tokens)
        if not event.track:
            self._count("generated_tokens", policy, by=event.generated_tokens)
            self._count("withheld_tokens", policy, by=event.withheld_tokens)
            self._count("limited_tokens", policy, by=event.limited_tokens)

    def _failed(self, event: RequestFailed) -> None:
        self._end(event, "failed")

    def _end(self, event: RequestEnded | RequestFailed, reason: str) -> RequestStarted | None:
        started = self._rows.pop((event.request, event.sequence, event.track), None)
        policy = self._policy(started)
        mode, arm = (started.mode, started.arm) if started else ("", "")
        self._count("rows", policy, mode, arm, reason, event.track)
        if started is not None and not event.track:
            self._metrics["guardsteer_rows_active"].dec()
            if event.monotonic_ns:
                taken_s = (event.monotonic_ns - started.monotonic_ns) / 1e9
                self._metrics["guardsteer_row_duration_seconds"].labels(policy).observe(taken_s)
        return started

    def _policy(self, started: RequestStarted | None) -> str:
        return "" if started is None else self._names.get(started.policy_digest, started.policy_digest)

    def _acted(self, event: ActivationEnded) -> None:
        labels = (event.rule, event.vector, event.mode, event.track)
        self._count("activations", *labels)
        self._count("activation_tokens", *labels, by=event.tokens)
        if event.operator in ("add", "subtract") and event.mode == "enforce" and not event.track:
            self._metrics["guardsteer_activation_strength"].labels(event.vector).observe(abs(event.applied))

    def _revised(self, event: RowRevised) -> None:
        self._count("revisions", event.rule, event.mode, event.track)
        self._count("revised_tokens", event.rule, event.mode, event.track, by=event.dropped)

    def _rest(self, classifier: str, value: int) -> None:
        self._metrics["guardsteer_classifier_resting"].labels(classifier).set(value)

    def _switch(self, guard: str, *, on: bool) -> None:
        (self._stopped.add if on else self._stopped.discard)(guard)
        self._metrics["guardsteer_steering_stopped"].set(len(self._stopped))

    def _adopted(self, event: PolicyAdopted) -> None:
        self._names[event.policy_digest] = event.policy
        self._leave(event.guard, event.track)
        labels = (event.guard, event.policy, event.policy_digest, event.approved_by, event.track)
        self._in_force[event.guard, event.track] = labels
        self._metrics["guardsteer_policy_info"].labels(*labels).set(1)

    def _leave(self, guard: str, track: str) -> None:
        former = self._in_force.pop((guard, track), None)
        if former is not None:
            self._metrics["guardsteer_policy_info"].remove(*former)

    def _detached(self, event: Detached) -> None:
        for guard, track in [key for key in self._in_force if key[0] == event.guard]:
            self._leave(guard, track)
        self._switch(event.guard, on=False)


def _register(client: Any, registry: Any) -> dict[str, Any]:
    made = {"counter": client.Counter, "gauge": client.Gauge}
    return {
        metric.name: client.Histogram(
            metric.name, metric.says, metric.labels, registry=registry, buckets=metric.buckets
        )
        if metric.kind == "histogram"
        else made[metric.kind](metric.name, metric.says, metric.labels, registry=registry)
        for metric in METRICS
    }
