"""``guardsteer policy compare``: where the live policy and a candidate in shadow disagree, from the audit."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardsteer.cli import frame
from guardsteer.errors import AuditError

if TYPE_CHECKING:
    from guardsteer.evaluate.compare import Comparison

__all__ = ["register", "run"]


def register(actions: frame.Subparsers) -> None:
    """Add ``compare``."""
    parser = frame.add_command(
        actions,
        "compare",
        "tell from the audit where the live policy and a candidate beside it disagree",
        "guardsteer policy compare --audit audit/ --candidate strict",
    )
    parser.add_argument("--audit", type=Path, required=True, metavar="DIR", help="the folder of the log")
    parser.add_argument("--candidate", metavar="NAME", help="which one, where several ran")


def run(args: argparse.Namespace) -> int:
    """Compare the two; a difference is an answer, not a failure, so the status is 0."""
    from guardsteer.audit import read
    from guardsteer.evaluate.compare import compare
    from guardsteer.evaluate.compare_text import format_comparison

    if not args.audit.is_dir():
        raise AuditError(f"{args.audit}: no such folder; give the DIR that was passed as audit=DIR")
    found = compare(read(args.audit), args.candidate)
    if args.json:
        frame.emit(_as_json(found))
    else:
        print(format_comparison(found))
    return 0


def _as_json(found: Comparison) -> dict[str, Any]:
    policies = [
        {"live": live, "candidate": other, "rows": rows} for (live, other), rows in found.policies.items()
    ]
    rows = [{"disagrees": row.disagrees, **asdict(row)} for row in found.rows]
    return {"ok": True, **asdict(found), "policies": policies, "rows": rows}
