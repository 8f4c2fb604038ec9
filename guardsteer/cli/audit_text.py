"""``guardsteer audit text`` and ``forget``: what was said, for those who may read it, until forgotten."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardsteer.cli import frame

if TYPE_CHECKING:
    from guardsteer.audit.text import KeptText

__all__ = ["register", "run"]

_KEYS_HELP = "the folder of the subjects' keys: what was passed as audit_text=KEYS or --audit-text KEYS"


def register(actions: frame.Subparsers) -> None:
    """Add ``text`` and ``forget``."""
    text = frame.add_command(
        actions,
        "text",
        "show the encrypted text of a request; status 1 where some of it cannot be read",
        "guardsteer audit text audit/ --request r-17 --keys /elsewhere/keys",
    )
    text.add_argument("directory", type=Path, metavar="DIR", help="the folder that the log was written to")
    text.add_argument("--request", required=True, metavar="ID", help="the request's id")
    text.add_argument("--keys", required=True, type=Path, metavar="KEYS", help=_KEYS_HELP)
    forget = frame.add_command(
        actions,
        "forget",
        "destroy a subject's key, so that nobody can read its text again; the log stays whole and records it",
        "guardsteer audit forget audit/ customer-17 --keys /elsewhere/keys --reason 'asked for by letter'",
    )
    forget.add_argument("directory", type=Path, metavar="DIR", help="the folder that the log was written to")
    forget.add_argument(
        "subject",
        metavar="SUBJECT",
        help="the request's subject, else its principal, else its tenant, else its id",
    )
    forget.add_argument("--keys", required=True, type=Path, metavar="KEYS", help=_KEYS_HELP)
    forget.add_argument("--reason", default="", metavar="TEXT", help="recorded in the log, as it is")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    return _forget(args) if args.action == "forget" else _text(args)


def _text(args: argparse.Namespace) -> int:
    from guardsteer.audit.text import read_texts

    found = read_texts(args.directory, _keys(args.keys), args.request)
    kept = [*([found.prompt] if found.prompt else []), *(found.outputs[n] for n in sorted(found.outputs))]
    if args.json:
        frame.emit({"request": args.request, "texts": [_told(each) for each in kept]})
    else:
        for each in kept:
            print(f"{_title(each)}\n{each.problem or _plain(each.text)}\n")
    if not kept:
        print(
            f"guardsteer: {args.directory} holds no text of request {args.request!r}: it was not recorded "
            "here, or no text was kept then",
            file=sys.stderr,
        )
    return 1 if not kept or any(each.problem for each in kept) else 0


def _forget(args: argparse.Namespace) -> int:
    from guardsteer.audit.text import forget

    destroyed = forget(args.directory, _keys(args.keys), args.subject, reason=args.reason)
    if args.json:
        frame.emit({"subject": args.subject, "destroyed": destroyed})
    else:
        which = f"key {destroyed[0]}" if len(destroyed) == 1 else f"keys {', '.join(destroyed)}"
        print(f"{which} destroyed: the text of {args.subject!r} cannot be read any more; recorded in the log")
    return 0


def _keys(folder: Path) -> Any:
    from guardsteer.audit.text import SubjectKeys
    from guardsteer.errors import AuditError

    if not folder.is_dir():
        raise AuditError(f"{folder}: no such folder; give {_KEYS_HELP}")
    return SubjectKeys(folder)


def _title(kept: KeptText) -> str:
    number = f" {kept.record.sequence}" if kept.record.part == "output" and kept.record.sequence else ""
    count = "" if kept.problem else f", {len(kept.tokens)} tokens"
    return f"--- {kept.record.part}{number}{count}"


def _told(kept: KeptText) -> dict[str, Any]:
    return {
        "part": kept.record.part,
        "sequence": kept.record.sequence,
        "key": kept.record.key,
        "tokens": kept.tokens,
        "text": kept.text,
        "problem": kept.problem,
    }


def _plain(text: str) -> str:
    """Return a text that cannot steer a terminal."""
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode()
        for each in text
    )
