"""``guardsteer vectors metrics`` lists what replies can be judged by."""

from __future__ import annotations

import argparse

from guardsteer.cli import frame

__all__ = ["add", "run"]


def add(actions: frame.Subparsers) -> None:
    """Add ``vectors metrics``."""
    frame.add_command(
        actions,
        "metrics",
        "list the metrics that --metric, --watch, --task, --refusal and a recipe can name",
        "guardsteer vectors metrics",
    )


def run(args: argparse.Namespace) -> int:
    """List them."""
    from guardsteer.lab.measure.metrics import KINDS

    if args.json:
        kinds = [
            {"form": kind.form, "says": kind.says, "example": kind.example, "runs_code": kind.runs_code}
            for kind in KINDS.values()
        ]
        frame.emit({"ok": True, "metrics": kinds})
        return 0
    width = max(len(kind.form) for kind in KINDS.values())
    for kind in KINDS.values():
        print(f"{kind.form:<{width}}  {kind.says}")
        if kind.example != kind.form:
            print(f"{'':<{width}}  such as {kind.example}")
    return 0
