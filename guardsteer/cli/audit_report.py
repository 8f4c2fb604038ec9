"""``guardsteer audit report``: one page for a request, or for a period, that a browser shows offline."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardsteer.cli import frame
from guardsteer.cli.audit_filters import MOMENT, moment
from guardsteer.errors import AuditError

if TYPE_CHECKING:
    from guardsteer.audit import Verification
    from guardsteer.report import Said

__all__ = ["register", "run"]

_LARGE_BYTES = 32 * 2**20
_KEYS_HELP = "the folder of the subjects' keys: what was passed as audit_text=KEYS or --audit-text KEYS"


def register(actions: frame.Subparsers) -> None:
    """Add ``report``."""
    parser = frame.add_command(
        actions,
        "report",
        "make a page of a request, or of a period; status 1 where the log is not what was written",
        "guardsteer audit report audit/ --request r-17 --text answer.txt --tokenizer model/ --out r.html\n"
        "  guardsteer audit report audit/ --since 2026-11-01 --until 2026-12-01 --out november.html",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the folder that the log was written to")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the page, replaced if it is there"
    )
    parser.add_argument("--request", metavar="ID", help="the page of this request; without it: of a period")
    period = parser.add_argument_group("a period (without --request)")
    period.add_argument("--since", metavar="TIME", help=f"from this moment on: {MOMENT}")
    period.add_argument("--until", metavar="TIME", help="before this moment")
    texts = parser.add_argument_group("what was said in the request (the log has digests of it alone)")
    given = texts.add_mutually_exclusive_group()
    given.add_argument(
        "--keys",
        type=Path,
        metavar="KEYS",
        help=f"read the encrypted text that was kept beside the log; {_KEYS_HELP}",
    )
    given.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        help='the answer, or a JSON object with "output" and "prompt": texts or token ids',
    )
    texts.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="the model's folder, or its tokenizer.json"
    )
    texts.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="the key of the digests, where it is not where the log was written",
    )
    whole = parser.add_argument_group("whether the log is whole")
    whole.add_argument(
        "--anchor",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="what 'audit checkpoint' wrote and was kept elsewhere; the log must still hold it",
    )
    whole.add_argument(
        "--trusted",
        type=Path,
        metavar="KEYS",
        help="a public key or a folder of *.pub; each stream must have been begun with one of these",
    )
    whole.add_argument("--no-verify", action="store_true", help="leave it out, and say so on the page")


def run(args: argparse.Namespace) -> int:
    """Write the page; 1 where verification found something."""
    from guardsteer.pages.page import save_page

    _check(args)
    frame.progress(f"verifying {args.directory}")
    verification = None if args.no_verify else _verified(args)
    frame.progress(f"reading {args.directory}")
    page = _request(args, verification) if args.request is not None else _period(args, verification)
    try:
        save_page(args.out, page)
    except OSError as error:
        raise AuditError(f"{args.out}: the page cannot be written: {error.strerror}") from error
    ok = verification is None or verification.ok
    if args.json:
        frame.emit(
            {
                "ok": ok,
                "verified": verification is not None,
                "page": str(args.out),
                "bytes": len(page.encode()),
            }
        )
    else:
        state = "not verified" if verification is None else "whole" if ok else "NOT WHOLE: see the page"
        print(f"{args.out}: {len(page.encode()):,} bytes; the log is {state}")
    return 0 if ok else 1


def _check(args: argparse.Namespace) -> None:
    """Raise ``AuditError`` for options that do not go together, all at once."""
    period = [name for name in ("since", "until") if getattr(args, name) is not None]
    request = [name for name in ("text", "keys", "tokenizer", "key") if getattr(args, name) is not None]
    problems = []
    if args.request is not None and period:
        problems.append(
            f"--{' and --'.join(period)}: for the page of a period; leave out --request, or these"
        )
    if args.request is None and request:
        problems.append(f"--{' and --'.join(request)}: for the page of a request; give --request ID")
    if args.no_verify and (args.anchor or args.trusted is not None):
        problems.append("--no-verify: leaves out what --anchor and --trusted are for; give one or the other")
    if problems:
        raise AuditError("\n".join(problems))
    # Before a large log is verified in vain.
    _window(args)


def _window(args: argparse.Namespace) -> tuple[int | None, int | None]:
    since, until = moment("--since", args.since), moment("--until", args.until)
    if since is not None and until is not None and since >= until:
        raise AuditError(f"--since {args.since} is not before --until {args.until}: no record can count")
    return since, until


def _verified(args: argparse.Namespace) -> Verification:
    from guardsteer.audit import verify
    from guardsteer.cli.audit import public_keys, read_anchor

    anchors = [read_anchor(path) for path in args.anchor]
    trusted = None if args.trusted is None else public_keys(args.trusted)
    # Starting processes takes longer than reading a small log.
    large = sum(path.stat().st_size for path in args.directory.glob("*.jsonl")) > _LARGE_BYTES
    return verify(args.directory, anchors, trusted=trusted, processes=os.cpu_count() or 1 if large else 1)


def _request(args: argparse.Namespace, verification: Verification | None) -> str:
    from guardsteer.report import read_tokenizer, request_page

    tokenizer: Any = None if args.tokenizer is None else read_tokenizer(args.tokenizer)
    return request_page(
        args.directory,
        args.request,
        said=_said(args),
        tokenizer=tokenizer,
        key=None if args.key is None else _key(args.key),
        verification=verification,
    )


def _said(args: argparse.Namespace) -> Said | None:
    from guardsteer.audit.text import SubjectKeys, read_texts
    from guardsteer.report import read_said, said_of_kept

    if args.text is not None:
        return read_said(args.text)
    if args.keys is None:
        return None
    if not args.keys.is_dir():
        raise AuditError(f"{args.keys}: no such folder; give {_KEYS_HELP}")
    return said_of_kept(read_texts(args.directory, SubjectKeys(args.keys), args.request))


def _key(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise AuditError(f"{path}: the key of the digests cannot be read: {error.strerror}") from error


def _period(args: argparse.Namespace, verification: Verification | None) -> str:
    from guardsteer.report import period_page

    since, until = _window(args)
    return period_page(args.directory, since_ns=since, until_ns=until, verification=verification)
