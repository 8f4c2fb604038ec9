"""The metrics that are told, as data: what registers them, documents them and draws them reads this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["METRICS", "Metric"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric by its Prometheus name: base units, ``_total`` for what only grows."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    says: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_STRENGTHS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)

METRICS: tuple[Metric, ...] = (
    Metric("guardsteer_rows_active", "gauge", "rows that were admitted and have not ended"),
    Metric(
        "guardsteer_rows_total",
        "counter",
        "rows that ended, by how: eos, length_or_stop, halted, failed",
        ("policy", "mode", "arm", "reason", "track"),
    ),
    Metric(
        "guardsteer_row_duration_seconds", "histogram", "from admission to the end", ("policy",), _SECONDS
    ),
    Metric("guardsteer_prompt_tokens_total", "counter", "tokens of the prompts", ("policy",)),
    Metric("guardsteer_generated_tokens_total", "counter", "tokens that were returned", ("policy",)),
    Metric(
        "guardsteer_steered_tokens_total",
        "counter",
        "tokens that were chosen under steering",
        ("policy", "track"),
    ),
    Metric("guardsteer_withheld_tokens_total", "counter", "tokens written and never released", ("policy",)),
    Metric(
        "guardsteer_limited_tokens_total", "counter", "tokens whose change was cut to the budget", ("policy",)
    ),
    Metric("guardsteer_flag_changes_total", "counter", "flags that went up or down", ("flag", "up", "track")),
    Metric("guardsteer_rule_firings_total", "counter", "rules that came to hold", ("rule", "mode", "track")),
    Metric(
        "guardsteer_activations_total",
        "counter",
        "activations that ended",
        ("rule", "vector", "mode", "track"),
    ),
    Metric(
        "guardsteer_activation_tokens_total",
        "counter",
        "positions that a vector acted on",
        ("rule", "vector", "mode", "track"),
    ),
    Metric(
        "guardsteer_activation_strength",
        "histogram",
        "strength applied, in units of the block's residual norm (additions and subtractions)",
        ("vector",),
        _STRENGTHS,
    ),
    Metric("guardsteer_halts_total", "counter", "rows ended with the fallback", ("rule", "mode", "track")),
    Metric(
        "guardsteer_revisions_total", "counter", "times that text was taken back", ("rule", "mode", "track")
    ),
    Metric("guardsteer_revised_tokens_total", "counter", "tokens taken back", ("rule", "mode", "track")),
    Metric(
        "guardsteer_classifier_failures_total", "counter", "classifier calls that failed", ("classifier",)
    ),
    Metric("guardsteer_classifier_late_total", "counter", "deadlines that were missed", ("classifier",)),
    Metric(
        "guardsteer_classifier_resting",
        "gauge",
        "1 while a failing classifier is left alone",
        ("classifier",),
    ),
    Metric("guardsteer_steering_stopped", "gauge", "guards whose kill switch is on"),
    Metric(
        "guardsteer_policy_info",
        "gauge",
        "1 for each policy in force, on each guard",
        ("guard", "policy", "digest", "approved_by", "track"),
    ),
    Metric("guardsteer_policy_refused_total", "counter", "policies that were to be adopted and were not"),
    Metric("guardsteer_audit_failed", "gauge", "audit logs in use that cannot be written now"),
    Metric("guardsteer_audit_backlog_records", "gauge", "records that wait to be written"),
    Metric("guardsteer_audit_dropped_records", "gauge", "records that audit logs in use have lost"),
)
"""Every metric, in the order of the documentation."""
