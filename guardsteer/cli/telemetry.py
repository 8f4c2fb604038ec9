"""``guardsteer telemetry metrics``, ``dashboard``: what can be watched, and a board to watch it on."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from guardsteer.cli import frame

__all__ = ["register", "run"]


def register(subparsers: frame.Subparsers) -> None:
    """Add ``telemetry`` and its actions."""
    parser = subparsers.add_parser(
        "telemetry", help="list the metrics, print the Grafana dashboard", description="Watch a guard."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    frame.add_command(
        actions, "metrics", "list the Prometheus metrics with their labels", "guardsteer telemetry metrics"
    )
    frame.add_command(
        actions,
        "dashboard",
        "print a Grafana dashboard of the metrics, to be imported as it is",
        "guardsteer telemetry dashboard > guardsteer.json",
    )


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    if args.action == "dashboard":
        from guardsteer.telemetry.dashboard import dashboard

        print(json.dumps(dashboard(), indent=None if args.json else 2))
        return 0
    from guardsteer.telemetry.catalogue import METRICS

    if args.json:
        frame.emit({"ok": True, "metrics": [asdict(metric) for metric in METRICS]})
        return 0
    for metric in METRICS:
        labels = f"{{{', '.join(metric.labels)}}}" if metric.labels else ""
        print(f"{metric.name}{labels}\n    {metric.kind}: {metric.says}")
    return 0
