"""``guardsteer policy schema``: what a policy file may hold, for editors."""

from __future__ import annotations

import argparse
import json

from guardsteer.cli import frame

__all__ = ["register", "run"]


def register(actions: frame.Subparsers) -> None:
    """Add the action."""
    schema = frame.add_command(
        actions,
        "schema",
        "print the JSON Schema of policy files, with which editors complete and check",
        "guardsteer policy schema > policy.schema.json",
    )
    schema.add_argument("--binding", action="store_true", help="that of binding files instead")


def run(args: argparse.Namespace) -> int:
    """Print the schema; always 0."""
    from guardsteer.rules import binding_schema, policy_schema

    schema = binding_schema() if args.binding else policy_schema()
    if args.json:
        frame.emit(schema)
    else:
        print(json.dumps(schema, indent=2, ensure_ascii=False))
    return 0
