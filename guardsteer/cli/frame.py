"""What every command shares: its parser, JSON output, progress, errors and colours."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, TypeAlias

from guardsteer.errors import AssetError, PolicyError

__all__ = ["Subparsers", "add_command", "emit", "fail", "progress", "use_color"]

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(subparsers: Subparsers, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    """Add a command with ``--help`` (which ends with ``example``) and ``--json``; return its parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=summary[:1].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    return parser


def emit(value: Any) -> None:
    """Print ``value`` as one line of JSON."""
    print(json.dumps(value, allow_nan=False), flush=True)


def fail(error: Exception, *, as_json: bool) -> int:
    """Say what was wrong, without a traceback, and return the status of misuse."""
    print(f"guardsteer: error: {error}", file=sys.stderr)
    if as_json:
        problems = error.problems if isinstance(error, PolicyError | AssetError) else ()
        places = [
            {"file": p.file, "line": p.line, "column": p.column, "message": p.message, "hint": p.hint}
            for p in problems
        ]
        emit({"ok": False, "error": type(error).__name__, "message": str(error), "problems": places})
    return 2


def progress(text: str) -> None:
    """Show a line of progress, only where a person watches."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


def use_color() -> bool:
    """Tell whether standard output is a terminal that shows colours."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
