"""``guardsteer audit show`` and ``audit verify``: what was done, and whether the record is whole."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from guardsteer.cli import frame
from guardsteer.errors import AuditError

if TYPE_CHECKING:
    from guardsteer.audit import StoredEvent

__all__ = ["register", "run"]


def register(subparsers: frame.Subparsers) -> None:
    """Add ``audit`` and its actions."""
    parser = subparsers.add_parser(
        "audit", help="look at an audit log and verify it", description="Work with audit logs."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    show = frame.add_command(
        actions,
        "show",
        "show what was done to each request, in order; status 1 if lines were altered or none is found",
        "guardsteer audit show audit/ --request r-17",
    )
    show.add_argument("directory", type=Path, metavar="DIR", help="the folder that the log was written to")
    show.add_argument("--request", metavar="ID", help="one request alone")
    verify = frame.add_command(
        actions,
        "verify",
        "check that nothing was changed, cut or left out; status 1 with a finding",
        "guardsteer audit verify audit/",
    )
    verify.add_argument("directory", type=Path, metavar="DIR", help="the folder that the log was written to")
    verify.add_argument(
        "--anchor",
        action="append",
        default=[],
        metavar="HEAD",
        help="a head that verify printed earlier and that was kept elsewhere; the log must still hold it",
    )


def run(args: argparse.Namespace) -> int:
    """Run the action; 1 when the log is not what was written, or ``show`` finds nothing."""
    if not args.directory.is_dir():
        raise AuditError(
            f"{args.directory}: no such folder; give the DIR that was passed as audit=DIR or --audit DIR"
        )
    return _verify(args) if args.action == "verify" else _show(args)


def _verify(args: argparse.Namespace) -> int:
    from guardsteer.audit import verify

    result = verify(args.directory, args.anchor)
    if args.json:
        counts = {"records": result.records, "segments": result.segments}
        frame.emit({"ok": result.ok, **counts, **asdict(result)})
        return 0 if result.ok else 1
    for finding in result.findings:
        print(f"FINDING {finding}")
    for note in result.notes:
        print(f"note    {note}")
    for stream in result.streams:
        print(f"head    {stream.head}")
    print(
        f"{args.directory}: {_count(len(result.findings), 'finding') if result.findings else 'whole'}; "
        f"{_count(result.records, 'record')} in {_count(result.segments, 'segment')} "
        f"of {_count(len(result.streams), 'stream')}"
    )
    return 0 if result.ok else 1


def _show(args: argparse.Namespace) -> int:
    from guardsteer.audit import format_trail, read

    damaged: list[tuple[str, int]] = []
    altered = shown = 0

    def events() -> Iterator[StoredEvent]:
        nonlocal altered, shown
        for stored in read(args.directory, args.request, on_damage=lambda *place: damaged.append(place)):
            altered += not stored.intact
            shown += 1
            yield stored

    if args.json:
        for stored in events():
            place = {"stream": stored.stream, "seq": stored.seq, "intact": stored.intact}
            frame.emit({**place, "event": msgspec.to_builtins(stored.event)})
    elif text := format_trail(events(), color=frame.use_color()):
        print(text)
    if not shown:
        what = f"no record of request {args.request!r}" if args.request else "no record"
        print(f"guardsteer: {args.directory} holds {what}", file=sys.stderr)
    if damaged or altered:
        print(
            f"guardsteer: {_count(len(damaged), 'line')} left out, {_count(altered, 'record')} altered; "
            f"see: guardsteer audit verify {args.directory}",
            file=sys.stderr,
        )
    return 1 if damaged or altered or not shown else 0


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
