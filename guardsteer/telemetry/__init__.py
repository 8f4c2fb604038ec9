"""What a guard did, for those who watch: metrics, spans and a log, all off the token path.

The audit proves afterwards; this shows now. An observer gets the same events, from a thread of its own.
"""

from guardsteer.telemetry.feed import AuditLog, Feed, Observer, check_observers
from guardsteer.telemetry.operational import OperationalLog
from guardsteer.telemetry.prometheus import PrometheusMetrics
from guardsteer.telemetry.spans import OpenTelemetrySpans

__all__ = [
    "AuditLog",
    "Feed",
    "Observer",
    "OpenTelemetrySpans",
    "OperationalLog",
    "PrometheusMetrics",
    "check_observers",
]
