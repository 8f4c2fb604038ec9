"""``guardsteer audit compact``: an index of Parquet files, for questions to millions of records."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from guardsteer.cli import frame
from guardsteer.errors import AuditError

if TYPE_CHECKING:
    from guardsteer.audit.index import Compaction, Covered

__all__ = ["register", "run"]

_LARGE_BYTES = 32 * 2**20


def register(actions: frame.Subparsers) -> None:
    """Add ``compact``."""
    parser = frame.add_command(
        actions,
        "compact",
        "write what is new in a log to an index of Parquet files; status 1 where the log is not whole",
        "guardsteer audit compact audit/ --out index/",
    )
    parser.add_argument(
        "directories", nargs="+", type=Path, metavar="DIR", help="folders that logs were written to"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="INDEX", help="the index: a new folder, or one to add to"
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="verify the log first, as 'audit verify' does, and hold what is read against what was verified",
    )
    parser.add_argument(
        "--trusted",
        type=Path,
        metavar="KEYS",
        help="with --verify: each stream must have been begun with one of these public keys",
    )
    parser.add_argument(
        "--memory-mib", type=int, default=1024, metavar="N", help="for the database engine (default: 1024)"
    )


def run(args: argparse.Namespace) -> int:
    """Compact; 1 when verification has a finding, or lines are missing, altered or no records."""
    from guardsteer.audit.index import compact

    for directory in args.directories:
        if not directory.is_dir():
            raise AuditError(
                f"{directory}: no such folder; give the DIR that was passed as audit=DIR or --audit DIR"
            )
    if args.memory_mib < 128:
        raise AuditError(f"--memory-mib {args.memory_mib}: expected at least 128")
    if args.trusted is not None and not args.verify:
        raise AuditError("--trusted is for --verify: give both")
    size = sum(path.stat().st_size for each in args.directories for path in each.glob("*.jsonl"))
    result = compact(
        args.directories,
        args.out,
        check=args.verify,
        trusted=None if args.trusted is None else _trusted(args.trusted),
        # Starting processes takes longer than verifying a small log.
        processes=(os.cpu_count() or 1) if size > _LARGE_BYTES else 1,
        memory_mib=args.memory_mib,
    )
    whole = not result.findings and all(_whole(stream) for stream in result.streams)
    if args.json:
        frame.emit({"ok": whole, "added": result.added, **asdict(result)})
    else:
        _print(result, verified=args.verify)
    return 0 if whole else 1


def _trusted(path: Path) -> list[bytes]:
    from guardsteer.cli.audit import public_keys

    return public_keys(path)


def _whole(stream: Covered) -> bool:
    return not (stream.damaged or stream.altered) and stream.lines == stream.committed


def _print(result: Compaction, *, verified: bool) -> None:
    for finding in result.findings:
        print(f"FINDING {finding}", file=sys.stderr)
    for stream in result.streams:
        if not _whole(stream):
            of = "without a checkpoint" if stream.committed is None else f"of {stream.committed:,} committed"
            print(
                f"{stream.stream}: {stream.lines:,} lines {of}, {stream.damaged:,} are no records, "
                f"{stream.altered:,} do not fit to the line before; see: guardsteer audit verify",
                file=sys.stderr,
            )
    lines = sum(stream.lines for stream in result.streams)
    how = "verified" if verified else "chained, not verified (--verify)"
    print(
        f"{result.index}: {result.added:,} lines added, "
        f"{lines:,} of {len(result.streams):,} streams in all; {how}"
    )
