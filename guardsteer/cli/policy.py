"""``guardsteer policy``: ``check`` tells every mistake with its place; the other actions have their files."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from importlib import import_module

from guardsteer.assets import Catalog, find_policy
from guardsteer.cli import frame
from guardsteer.core.policy import ClassifierSpec
from guardsteer.errors import PolicyError, Problem

__all__ = ["register", "run"]

_ELSEWHERE = {
    "schema": "guardsteer.cli.policy_schema",
    "test": "guardsteer.cli.policy_test",
    "explain": "guardsteer.cli.policy_explain",
    "compare": "guardsteer.cli.policy_compare",
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
        "report every mistake of a policy with its place, and warn of what is surely not meant",
        "guardsteer policy check policies/support",
    )
    check.add_argument(
        "policy", metavar="PATH", help="a YAML file, a folder with policy.yaml, or a catalogue name"
    )
    check.add_argument("--strict", action="store_true", help="status 1 for warnings too")
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
    from guardsteer.rules import LintWarning, lint, load_policy

    catalog = Catalog()
    path = find_policy(args.policy, catalog)
    base = path if path.is_dir() else path.parent

    def outputs(spec: ClassifierSpec) -> tuple[str, ...]:
        return outputs_of(spec, base, catalog)

    problems: tuple[Problem, ...] = ()
    warnings: tuple[LintWarning, ...] = ()
    try:
        warnings = lint(load_policy(path, outputs=outputs))
    except PolicyError as error:
        problems = error.problems
    bad = bool(problems or (args.strict and warnings))
    if args.json:
        rows = {"problems": list(map(asdict, problems)), "warnings": list(map(asdict, warnings))}
        frame.emit({"ok": not bad, "policy": str(path), **rows})
        return int(bad)
    for found in (*problems, *warnings):
        print(found)
    counts = [_counted(len(problems), "mistake"), _counted(len(warnings), "warning")]
    print(f"{path}: {', '.join(filter(None, counts)) or 'ok'}")
    return int(bad)


def _counted(number: int, what: str) -> str:
    return "" if not number else f"{number} {what}{'s' if number > 1 else ''}"
