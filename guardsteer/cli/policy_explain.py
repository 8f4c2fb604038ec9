"""``guardsteer policy explain``: why each rule did or did not fire in a request, from the audit alone."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from guardsteer.cli import frame
from guardsteer.errors import AuditError

__all__ = ["register", "run"]


def register(actions: frame.Subparsers) -> None:
    """Add ``explain``."""
    parser = frame.add_command(
        actions,
        "explain",
        "tell from the audit why each rule fired or not; status 1 where the log contradicts itself",
        "guardsteer policy explain r-17 --audit audit/ --rule warm-billing",
    )
    parser.add_argument("request", metavar="REQUEST", help="the request's id")
    parser.add_argument("--audit", type=Path, required=True, metavar="DIR", help="the folder of the log")
    parser.add_argument("--step", type=int, metavar="N", help="one step alone")
    parser.add_argument("--rule", metavar="ID", help="one rule alone")


def run(args: argparse.Namespace) -> int:
    """Explain the request; 1 where lines of it were altered or contradict one another."""
    from guardsteer.audit import read
    from guardsteer.evaluate.explain import explain, narrowed
    from guardsteer.evaluate.explain_text import format_explanation

    if not args.audit.is_dir():
        raise AuditError(f"{args.audit}: no such folder; give the DIR that was passed as audit=DIR")
    whole = explain(list(read(args.audit)), args.request)
    rules = sorted({story.rule for each in whole for story in each.rules})
    if args.rule is not None and args.rule not in rules:
        known = ", ".join(rules)
        raise AuditError(f"request {args.request!r} ran under no rule {args.rule!r}; its policy has {known}")
    found = [narrowed(each, step=args.step, rule=args.rule) for each in whole]
    troubled = any(each.disagreements for each in found)
    if args.json:
        frame.emit({"ok": not troubled, "rows": [asdict(each) for each in found]})
    else:
        print("\n\n".join(map(format_explanation, found)))
    if troubled:
        print(f"guardsteer: see: guardsteer audit verify {args.audit}", file=sys.stderr)
    return 1 if troubled else 0
