"""``guardsteer policy test``: does a policy do in its cases what it should?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from guardsteer.assets import Catalog, find_policy
from guardsteer.cli import frame

if TYPE_CHECKING:
    from guardsteer.cases import Report

__all__ = ["register", "run"]


def register(actions: frame.Subparsers) -> None:
    """Add ``test``."""
    parser = frame.add_command(
        actions,
        "test",
        "run the cases that lie beside policies; status 1 where one fails, or there is none",
        "guardsteer policy test policies/support",
    )
    parser.add_argument(
        "policies",
        metavar="PATH",
        nargs="+",
        help="a YAML file (cases: NAME.tests.yaml), a folder with policy.yaml (tests.yaml), or a name",
    )


def run(args: argparse.Namespace) -> int:
    """Test every policy; 1 when a case fails or a policy has none."""
    catalog = Catalog()
    reports = [_test(find_policy(given, catalog), catalog) for given in args.policies]
    ok = all(report.ok for report in reports)
    if args.json:
        frame.emit({"ok": ok, "policies": [report.as_json() for report in reports]})
    else:
        print("\n\n".join(map(str, reports)))
    return 0 if ok else 1


def _test(path: Path, catalog: Catalog) -> Report:
    from guardsteer.cases import Report, find_cases, load_cases, read_classifiers, run_cases
    from guardsteer.rules import load_policy

    policy = load_policy(path)
    file = find_cases(path)
    if file is None:
        return Report(policy.name, policy.digest, str(path), ())
    classifiers = read_classifiers(policy, catalog)
    outputs = {name: tuple(found.outputs) for name, found in classifiers.items()}
    # Again, now that the outputs are known: names of scores are checked as well.
    policy = load_policy(path, outputs=lambda spec: outputs[spec.name])
    return run_cases(policy, load_cases(file, policy, outputs), classifiers)
