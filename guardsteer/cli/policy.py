"""``guardsteer policy``: ``check`` tells every mistake with its place; the other actions have their files."""

from __future__ import annotations

import argparse
import warnings
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from guardsteer.assets import Catalog, find_policy
from guardsteer.cli import frame
from guardsteer.cli.models import add_dtype, load_model
from guardsteer.core.policy import ClassifierSpec
from guardsteer.errors import AssetError, HostError, PolicyError, Problem, VectorsFightWarning

if TYPE_CHECKING:
    from guardsteer.rules import LintWarning

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
    check.add_argument(
        "--model",
        metavar="PATH",
        help="put the policy on this model too, to find what it lacks and vectors that fight there",
    )
    add_dtype(check)
    check.add_argument(
        "--assets",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="a folder of assets to look in first",
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
    from guardsteer.rules import lint, load_policy

    catalog = Catalog(args.assets)
    path = find_policy(args.policy, catalog)
    base = path if path.is_dir() else path.parent

    def outputs(spec: ClassifierSpec) -> tuple[str, ...]:
        return outputs_of(spec, base, catalog)

    problems: tuple[Problem, ...] = ()
    notes: tuple[LintWarning, ...] = ()
    try:
        notes = lint(load_policy(path, outputs=outputs))
    except PolicyError as error:
        problems = error.problems
    if args.model is not None and not problems:
        problems, fights = _on_model(path, args)
        notes += fights
    bad = bool(problems or (args.strict and notes))
    if args.json:
        rows = {"problems": list(map(asdict, problems)), "warnings": list(map(asdict, notes))}
        frame.emit({"ok": not bad, "policy": str(path), **rows})
        return int(bad)
    for found in (*problems, *notes):
        print(found)
    counts = [_counted(len(problems), "mistake"), _counted(len(notes), "warning")]
    print(f"{path}: {', '.join(filter(None, counts)) or 'ok'}")
    return int(bad)


def _on_model(path: Path, args: argparse.Namespace) -> tuple[tuple[Problem, ...], tuple[LintWarning, ...]]:
    """Return what keeps the policy off the model, and which of its vectors fight there."""
    import guardsteer
    from guardsteer.rules import LintWarning

    model, tokenizer = load_model(args.model, args.dtype)
    file = str(path / "policy.yaml" if path.is_dir() else path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            guardsteer.wrap(model, tokenizer, policy=path, assets=args.assets).detach()
        except (PolicyError, AssetError, HostError) as error:
            found = getattr(error, "problems", ()) or (Problem(file, 0, 0, str(error)),)
            return found, ()
    fights = [each for each in caught if issubclass(each.category, VectorsFightWarning)]
    return (), tuple(LintWarning("vectors-fight", file, 0, 0, str(each.message)) for each in fights)


def _counted(number: int, what: str) -> str:
    return "" if not number else f"{number} {what}{'s' if number > 1 else ''}"
