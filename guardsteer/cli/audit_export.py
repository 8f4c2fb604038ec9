"""``guardsteer audit export``: records, or a view of them, as one file for other tools."""

from __future__ import annotations

import argparse
from pathlib import Path

from guardsteer.cli import frame
from guardsteer.cli.audit_filters import add_filters, tell_damage, window_of
from guardsteer.errors import AuditError

__all__ = ["register", "run"]


def register(actions: frame.Subparsers) -> None:
    """Add ``export``."""
    parser = frame.add_command(
        actions,
        "export",
        "write records to a CSV, JSON or Parquet file; status 1 if lines were altered",
        "guardsteer audit export audit/ --format csv --out march.csv --since 2026-03-01 --until 2026-04-01",
    )
    parser.add_argument(
        "directories",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folders of logs and of indices that 'audit compact' made",
    )
    parser.add_argument("--format", required=True, choices=("csv", "json", "jsonl", "parquet"))
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="a new file; never overwrites"
    )
    parser.add_argument(
        "--what",
        default="records",
        choices=("records", "requests", "activations", "flags", "rules"),
        help="records (the default): one row for each line of the log",
    )
    add_filters(parser)


def run(args: argparse.Namespace) -> int:
    """Export; 1 when lines of the log were altered or are no records."""
    from guardsteer.audit.index import export, open_tables

    for directory in args.directories:
        if not directory.is_dir():
            raise AuditError(f"{directory}: no such folder; name folders of logs or of indices")
    with open_tables(args.directories, window_of(args)) as tables:
        rows = export(tables, args.what, args.format, args.out)
        damage = tell_damage(tables, args.directories[0])
    if args.json:
        frame.emit(
            {"file": str(args.out), "rows": rows, "damaged": tables.damaged, "altered": tables.altered}
        )
    else:
        print(f"{args.out}: {rows:,} {args.what}")
    return 1 if damage else 0
