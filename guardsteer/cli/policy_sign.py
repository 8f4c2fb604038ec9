"""``guardsteer policy keygen``, ``sign`` and ``verify``: who approved a policy, shown by a signature."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from guardsteer.assets import Catalog, find_policy
from guardsteer.cli import frame
from guardsteer.errors import SignatureError

__all__ = ["register", "run"]


def register(actions: frame.Subparsers) -> None:
    """Add the three actions."""
    keygen = frame.add_command(
        actions,
        "keygen",
        "make a pair of keys: BASE.key to sign with, BASE.pub to be trusted",
        "GUARDSTEER_KEY_PASSWORD=... guardsteer policy keygen keys/ada",
    )
    keygen.add_argument("base", type=Path, metavar="BASE", help="where to write, without suffix")
    sign = frame.add_command(
        actions,
        "sign",
        "approve a policy or a binding file: write FILE.sig beside it",
        "guardsteer policy sign policies/support --key keys/ada.key --by 'Ada Lovelace'",
    )
    sign.add_argument("policy", metavar="PATH", help="a file, a folder with policy.yaml, or a name")
    sign.add_argument("--key", type=Path, required=True, metavar="FILE", help="a private key (BASE.key)")
    sign.add_argument("--by", required=True, metavar="NAME", help="who approves; goes into the audit")
    sign.add_argument(
        "--at", type=_moment, metavar="TIME", help="when, as 2026-01-31T12:00:00Z (default: now)"
    )
    verify = frame.add_command(
        actions,
        "verify",
        "tell who approved a policy or a binding file; status 1 unless a trusted key signed all of it",
        "guardsteer policy verify policies/support --trusted keys/",
    )
    verify.add_argument("policy", metavar="PATH", help="a file, a folder with policy.yaml, or a name")
    verify.add_argument(
        "--trusted", type=Path, required=True, metavar="PATH", help="a public key, or a folder of *.pub"
    )


def run(args: argparse.Namespace) -> int:
    """Run the action; 1 when a signature does not hold."""
    if args.action == "keygen":
        return _keygen(args)
    path = find_policy(args.policy, Catalog())
    return _sign(args, path) if args.action == "sign" else _verify(args, path)


def _keygen(args: argparse.Namespace) -> int:
    from guardsteer.rules.signing_keys import make_keys

    private, public, name = make_keys(args.base)
    if args.json:
        frame.emit({"ok": True, "key": name, "private": str(private), "public": str(public)})
    else:
        print(f"{name}\n{private}: the private key, for you alone\n{public}: the public key, to be trusted")
    return 0


def _sign(args: argparse.Namespace, path: Path) -> int:
    from guardsteer.rules.signing import sign_policy
    from guardsteer.rules.signing_keys import read_private

    written = sign_policy(path, read_private(args.key), by=args.by, at=args.at)
    if args.json:
        frame.emit({"ok": True, "policy": str(path), "signature": str(written)})
    else:
        print(f"{written}: {path} is approved by {args.by}")
    return 0


def _verify(args: argparse.Namespace, path: Path) -> int:
    from guardsteer.rules.signing import verify_policy

    try:
        approval = verify_policy(path, args.trusted)
    except SignatureError as error:
        if error.reason == "bad_key":
            raise
        if args.json:
            frame.emit({"ok": False, "policy": str(path), "reason": error.reason, "message": str(error)})
        else:
            print(f"{path}: NOT APPROVED ({error.reason}): {error}")
        return 1
    if args.json:
        frame.emit({"ok": True, "policy": str(path), "approval": asdict(approval)})
    else:
        print(f"{path}: approved by {approval.by} at {approval.at} with key {approval.key}")
    return 0


def _moment(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected UTC as 2026-01-31T12:00:00Z") from None
