"""What 'audit query' and 'audit export' share: which records count, and what is said of a damaged log."""

from __future__ import annotations

import argparse
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from guardsteer.errors import AuditError

if TYPE_CHECKING:
    from guardsteer.audit.index import Tables, Window

__all__ = ["MOMENT", "add_filters", "moment", "tell_damage", "window_of"]

MOMENT = "as 2026-11-21, 2026-11-21T08:30, or 90m, 36h, 7d, 2w ago; UTC where it names no offset"
"""How a time is written, for the help of a command."""

_AGO_S = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add ``--since``, ``--until``, ``--tenant`` and ``--rule``."""
    filters = parser.add_argument_group("which records")
    filters.add_argument("--since", metavar="TIME", help=f"from this moment on: {MOMENT}")
    filters.add_argument("--until", metavar="TIME", help="before this moment")
    filters.add_argument("--tenant", metavar="NAME", help="requests of one tenant")
    filters.add_argument(
        "--rule", metavar="ID", help="requests where one rule fired, and what that rule did there"
    )


def window_of(args: argparse.Namespace) -> Window:
    """Return which records the arguments name; raises ``AuditError`` for a time that is none."""
    from guardsteer.audit.index import Window

    since, until = moment("--since", args.since), moment("--until", args.until)
    if since is not None and until is not None and since >= until:
        raise AuditError(f"--since {args.since} is not before --until {args.until}: no record can count")
    return Window(since, until, args.tenant, args.rule)


def tell_damage(tables: Tables, folder: Path) -> bool:
    """Say on stderr that lines were altered or are no records; true where some are."""
    if not tables.damaged and not tables.altered:
        return False
    print(
        f"guardsteer: {tables.damaged:,} lines of the log are no records and were left out, "
        f"{tables.altered:,} do not fit to the line before; see: guardsteer audit verify {folder}",
        file=sys.stderr,
    )
    return True


def moment(option: str, text: str | None) -> int | None:
    """Return a time as UTC nanoseconds since 1970; raises ``AuditError`` for a text that is none."""
    if text is None:
        return None
    if ago := re.fullmatch(r"([0-9]{1,6})([mhdw])", text):
        return time.time_ns() - int(ago[1]) * _AGO_S[ago[2]] * 10**9
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise AuditError(
            f"{option} {text!r} is no time; expected a date (2026-11-21), a time (2026-11-21T08:30) or how "
            "long ago (90m, 36h, 7d, 2w)"
        ) from error
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    between = when - datetime(1970, 1, 1, tzinfo=UTC)
    return ((between.days * 86_400 + between.seconds) * 10**6 + between.microseconds) * 1000
