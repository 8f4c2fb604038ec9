"""``guardsteer audit show``, ``verify``, ``checkpoint``; the other actions have their files."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from guardsteer.cli import frame
from guardsteer.errors import AuditError

if TYPE_CHECKING:
    from guardsteer.audit import StoredEvent

__all__ = ["public_keys", "read_anchor", "register", "run"]

_LARGE_BYTES = 32 * 2**20
_ELSEWHERE = {
    "replay": "guardsteer.cli.audit_replay",
    "report": "guardsteer.cli.audit_report",
    "query": "guardsteer.cli.audit_query",
    "compact": "guardsteer.cli.audit_compact",
    "export": "guardsteer.cli.audit_export",
    "text": "guardsteer.cli.audit_text",
    "forget": "guardsteer.cli.audit_text",
    "schema": "guardsteer.cli.audit_schema",
}
"""Actions that have a file of their own, with ``register(actions)`` and ``run(args)``."""


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
        type=Path,
        metavar="FILE",
        help="what 'audit checkpoint' wrote and was kept elsewhere; the log must still hold it",
    )
    verify.add_argument(
        "--trusted",
        type=Path,
        metavar="KEYS",
        help="a public key or a folder of *.pub; each stream must have been begun with one of these",
    )
    verify.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="how many segments are read at once (default: one for each processor)",
    )
    checkpoint = frame.add_command(
        actions,
        "checkpoint",
        "print each stream's signed checkpoint, to be kept elsewhere as an anchor; status 1 with a finding",
        "guardsteer audit checkpoint audit/ --out /elsewhere/anchor",
    )
    checkpoint.add_argument(
        "directory", type=Path, metavar="DIR", help="the folder that the log was written to"
    )
    checkpoint.add_argument("--out", type=Path, metavar="FILE", help="write there instead; never overwrites")
    for module in dict.fromkeys(_ELSEWHERE.values()):
        import_module(module).register(actions)


def run(args: argparse.Namespace) -> int:
    """Run the action; 1 when the log is not what was written, or ``show`` finds nothing."""
    directory = getattr(args, "directory", None)
    if directory is not None and not directory.is_dir():
        raise AuditError(
            f"{directory}: no such folder; give the DIR that was passed as audit=DIR or --audit DIR"
        )
    if args.action in _ELSEWHERE:
        status: int = import_module(_ELSEWHERE[args.action]).run(args)
        return status
    actions = {"verify": _verify, "checkpoint": _checkpoint, "show": _show}
    return actions[args.action](args)


def _checkpoint(args: argparse.Namespace) -> int:
    from guardsteer.audit import verify

    result = verify(args.directory)
    if not result.ok:
        found = _count(len(result.findings), "finding")
        print(
            f"guardsteer: no anchor is made of this log: {found}, the first: {result.first}", file=sys.stderr
        )
        return 1
    texts = [stream.checkpoint for stream in result.streams if stream.checkpoint]
    if args.json:
        frame.emit({"checkpoints": texts})
    elif args.out is None:
        print("\n".join(texts), end="")
    if args.out is not None:
        try:
            with args.out.open("x", encoding="utf-8") as file:
                file.write("\n".join(texts))
        except OSError as error:
            raise AuditError(f"{args.out}: the anchor cannot be written: {error.strerror}") from error
    return 0


def _verify(args: argparse.Namespace) -> int:
    from guardsteer.audit import verify

    anchors = [read_anchor(path) for path in args.anchor]
    trusted = None if args.trusted is None else public_keys(args.trusted)
    # Starting processes takes longer than reading a small log.
    large = sum(path.stat().st_size for path in args.directory.glob("*.jsonl")) > _LARGE_BYTES
    result = verify(args.directory, anchors, trusted=trusted, processes=args.processes if large else 1)
    if args.json:
        counts = {"records": result.records, "segments": result.segments}
        frame.emit({"ok": result.ok, **counts, **asdict(result)})
        return 0 if result.ok else 1
    for finding in result.findings:
        print(f"FINDING {finding}")
    for note in result.notes:
        print(f"note    {note}")
    print(
        f"{args.directory}: {_count(len(result.findings), 'finding') if result.findings else 'whole'}; "
        f"{_count(result.records, 'record')} in {_count(result.segments, 'segment')} "
        f"of {_count(len(result.streams), 'stream')}"
    )
    return 0 if result.ok else 1


def read_anchor(path: Path) -> str:
    """Return what is in the file of an anchor; raises ``AuditError`` where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AuditError(f"{path}: the anchor cannot be read: {error}") from error


def public_keys(path: Path) -> list[bytes]:
    """Return the public keys, 32 bytes each, of a file or a folder of them."""
    from guardsteer.rules.signing_keys import read_trusted

    return [key.public_bytes_raw() for key in read_trusted(path).values()]


def _show(args: argparse.Namespace) -> int:
    from guardsteer.audit import format_trail, read

    damaged: list[tuple[str, int]] = []
    unknown: list[str] = []
    altered = shown = 0

    def events() -> Iterator[StoredEvent]:
        nonlocal altered, shown
        for stored in read(
            args.directory,
            args.request,
            on_damage=lambda *place: damaged.append(place),
            on_unknown=lambda _file, _line, kind: unknown.append(kind),
        ):
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
    if unknown:
        kinds = ", ".join(sorted(set(unknown)))
        print(
            f"guardsteer: {_count(len(unknown), 'record')} left out, of kinds that this version does not "
            f"know ({kinds}): a newer one wrote them",
            file=sys.stderr,
        )
    if damaged or altered:
        print(
            f"guardsteer: {_count(len(damaged), 'line')} left out, {_count(altered, 'record')} altered; "
            f"see: guardsteer audit verify {args.directory}",
            file=sys.stderr,
        )
    return 1 if damaged or altered or not shown else 0


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
