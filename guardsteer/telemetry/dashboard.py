"""A Grafana dashboard of the metrics, ready to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["dashboard"]

_IN_FORCE = 'track=""'


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    says: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8


def _rate(name: str, by: str = "", where: str = "") -> str:
    inner = f"rate(guardsteer_{name}_total{{{where}}}[$__rate_interval])"
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


def _quantile(share: float) -> str:
    rate = "rate(guardsteer_row_duration_seconds_bucket[$__rate_interval])"
    return f"histogram_quantile({share}, sum by (le) ({rate}))"


_ROWS: Sequence[tuple[str, Sequence[_Panel]]] = (
    (
        "Now",
        (
            _Panel(
                "Steering",
                "Guards whose kill switch is on.",
                (("sum(guardsteer_steering_stopped)", "stopped"),),
                "stat",
                width=4,
                height=4,
            ),
            _Panel(
                "Audit failing",
                "Logs that cannot be written now.",
                (("sum(guardsteer_audit_failed)", "failing"),),
                "stat",
                width=4,
                height=4,
            ),
            _Panel(
                "Records lost",
                "Lost for the audit since the start.",
                (("sum(guardsteer_audit_dropped_records)", "lost"),),
                "stat",
                width=4,
                height=4,
            ),
            _Panel(
                "Records waiting",
                "Queued for the disk.",
                (("sum(guardsteer_audit_backlog_records)", "waiting"),),
                "stat",
                width=4,
                height=4,
            ),
            _Panel(
                "Classifiers resting",
                "Left alone after failures.",
                (("sum(guardsteer_classifier_resting)", "resting"),),
                "stat",
                width=4,
                height=4,
            ),
            _Panel(
                "Rows now",
                "Admitted and not ended.",
                (("sum(guardsteer_rows_active)", "rows"),),
                "stat",
                width=4,
                height=4,
            ),
        ),
    ),
    (
        "Traffic",
        (
            _Panel(
                "Rows by end",
                "How rows ended.",
                ((_rate("rows", "reason", _IN_FORCE), "{{reason}}"),),
                unit="reqps",
            ),
            _Panel(
                "Duration of a row",
                "From admission to the end.",
                tuple((_quantile(share), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)),
                unit="s",
            ),
            _Panel(
                "Tokens",
                "Returned, and chosen under steering.",
                (
                    (_rate("generated_tokens"), "returned"),
                    (_rate("steered_tokens", "", _IN_FORCE), "steered"),
                ),
            ),
        ),
    ),
    (
        "Decisions",
        (
            _Panel(
                "Steered share",
                "Of the tokens returned.",
                ((f"{_rate('steered_tokens', '', _IN_FORCE)} / {_rate('generated_tokens')}", "steered"),),
                unit="percentunit",
            ),
            _Panel(
                "Rules",
                "Rules that came to hold, enforced.",
                ((_rate("rule_firings", "rule", f'mode="enforce",{_IN_FORCE}'), "{{rule}}"),),
            ),
            _Panel(
                "Flags",
                "Flags that went up.",
                ((_rate("flag_changes", "flag", f'up="true",{_IN_FORCE}'), "{{flag}}"),),
            ),
            _Panel(
                "Vectors",
                "Positions that each vector acted on.",
                ((_rate("activation_tokens", "vector", f'mode="enforce",{_IN_FORCE}'), "{{vector}}"),),
            ),
            _Panel(
                "Halts and revisions",
                "Rows ended with the fallback; text taken back.",
                (
                    (_rate("halts", "rule", f'mode="enforce",{_IN_FORCE}'), "halt {{rule}}"),
                    (_rate("revisions", "rule", f'mode="enforce",{_IN_FORCE}'), "revise {{rule}}"),
                ),
            ),
            _Panel(
                "Shadow",
                "What rules in shadow and candidates would have done.",
                ((_rate("rule_firings", "rule, track", 'mode="shadow"'), "{{rule}} {{track}}"),),
            ),
        ),
    ),
    (
        "Health",
        (
            _Panel(
                "Classifiers",
                "Calls that failed; deadlines missed.",
                (
                    (_rate("classifier_failures", "classifier"), "failed {{classifier}}"),
                    (_rate("classifier_late", "classifier"), "late {{classifier}}"),
                ),
            ),
            _Panel(
                "Policies in force",
                "On each guard.",
                (
                    (
                        "sum by (policy, digest, approved_by, track) (guardsteer_policy_info)",
                        "{{policy}} {{digest}} {{approved_by}} {{track}}",
                    ),
                ),
                "table",
            ),
            _Panel(
                "Refused policies",
                "Were to be adopted and were not.",
                ((_rate("policy_refused"), "refused"),),
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it; it asks for the Prometheus data source."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, members in _ROWS:
        panels.append(
            {"type": "row", "title": title, "collapsed": False, "panels": [], **_place(0, top, 24, 1)}
        )
        top, left, tallest = top + 1, 0, 0
        for member in members:
            if left + member.width > 24:
                top, left, tallest = top + tallest, 0, 0
            panels.append(_panel(member, left, top))
            left, tallest = left + member.width, max(tallest, member.height)
        top += tallest
    for number, panel in enumerate(panels, start=1):
        panel["id"] = number
    return {
        "title": "guardsteer",
        "uid": "guardsteer",
        "tags": ["guardsteer"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
            ]
        },
        "panels": panels,
    }


def _panel(panel: _Panel, left: int, top: int) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    table = panel.kind == "table"
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": source,
        **_place(left, top, panel.width, panel.height),
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": source,
                "expr": expression,
                "legendFormat": legend,
                "instant": table or panel.kind == "stat",
                "format": "table" if table else "time_series",
            }
            for place, (expression, legend) in enumerate(panel.queries)
        ],
    }


def _place(left: int, top: int, width: int, height: int) -> dict[str, Any]:
    return {"gridPos": {"x": left, "y": top, "w": width, "h": height}}
