"""``guardsteer policy``: ``check`` tells every mistake with its place; the other actions have their files."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from importlib import import_module

from guardsteer.assets import Catalog, find_policy
from guardsteer.cli import frame
from guardsteer.core.policy import ClassifierSpec

__all__ = ["register", "run"]

_ELSEWHERE = {
    "test": "guardsteer.cli.policy_test",
    "keygen": "guardsteer.cli.policy_sign",
    "sign": "guardsteer.cli.policy_sign",
    "verify": "guardsteer.cli.policy_sign",
}
"""Actions that have a file of their own, with ``register(actions)`` and ``run(args)``."""


def register(subparsers: frame.Subparsers) -> None:
    """Add ``policy`` and its actions."""
    parser = subparsers.add_parser(
        "policy", help="check, test, explain and sign policies", description="Work with policies."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    check = frame.add_command(
        actions,
        "check",
        "report every mistake of a policy with its place; status 1 if there is any",
        "guardsteer policy check policies/support",
    )
    check.add_argument(
        "policy", metavar="PATH", help="a YAML file, a folder with policy.yaml, or a catalogue name"
    )
    for module in dict.fromkeys(_ELSEWHERE.values()):
        import_module(module).register(actions)


def run(args: argparse.Namespace) -> int:
    """Run the action; 1 when it finds something wrong."""
    if args.action in _ELSEWHERE:
        status: int = import_module(_ELSEWHERE[args.action]).run(args)
        return status
    return _check(args)


def _check(args: argparse.Namespace) -> int:
    from guardsteer.classify import outputs_of
    from guardsteer.rules import check

    catalog = Catalog()
    path = find_policy(args.policy, catalog)
    base = path if path.is_dir() else path.parent

    def outputs(spec: ClassifierSpec) -> tuple[str, ...]:
        return outputs_of(spec, base, catalog)

    problems = check(path, outputs=outputs)
    if args.json:
        rows = [asdict(problem) for problem in problems]
        frame.emit({"ok": not problems, "policy": str(path), "problems": rows})
    elif problems:
        print("\n".join(map(str, problems)))
        print(f"{path}: {len(problems)} {'mistake' if len(problems) == 1 else 'mistakes'}")
    else:
        print(f"{path}: ok")
    return 1 if problems else 0
