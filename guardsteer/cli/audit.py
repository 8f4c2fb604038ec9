"""``guardsteer audit show`` and ``audit verify``: what was done, and whether the record is whole."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import msgspec

from guardsteer.cli import frame
from guardsteer.errors import AuditError

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
        "show what was done to each request, in order",
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


def run(args: argparse.Namespace) -> int:
    """Run the action; 1 when ``verify`` has a finding."""
    if not args.directory.is_dir():
        raise AuditError(
            f"{args.directory}: no such folder; give the DIR that was passed as audit=DIR or --audit DIR"
        )
    return _verify(args) if args.action == "verify" else _show(args)


def _verify(args: argparse.Namespace) -> int:
    from guardsteer.audit import verify

    result = verify(args.directory)
    if args.json:
        frame.emit({"ok": not result.findings, **asdict(result)})
        return 1 if result.findings else 0
    for finding in result.findings:
        print(f"FINDING {finding.file}:{finding.line}: {finding.kind}: {finding.message}")
    for note in result.notes:
        print(f"note: {note}")
    outcome = f"{len(result.findings)} findings" if result.findings else "whole"
    print(
        f"{args.directory}: {outcome}; {result.records} records in {result.segments} segments "
        f"of {result.streams} streams"
    )
    return 1 if result.findings else 0


def _show(args: argparse.Namespace) -> int:
    from guardsteer.audit import read
    from guardsteer.audit.show import format_trail

    events = read(args.directory, request=args.request)
    if args.json:
        for stored in events:
            frame.emit(
                {"stream": stored.stream, "seq": stored.seq, "event": msgspec.to_builtins(stored.event)}
            )
        return 0
    print(format_trail(events, color=frame.use_color()))
    return 0
