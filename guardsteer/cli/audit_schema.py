"""``guardsteer audit schema``: what a line of the log may hold, for programs that read it."""

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
        "print the JSON Schema of the log's lines, by which programs check what they read",
        "guardsteer audit schema > audit.schema.json",
    )
    schema.add_argument(
        "--version",
        type=int,
        metavar="N",
        help="that of an older version; a segment's first line states its own (default: the newest)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the schema; always 0."""
    from guardsteer.audit import SCHEMA_VERSION
    from guardsteer.audit.schema import published_schema

    schema = published_schema(SCHEMA_VERSION if args.version is None else args.version)
    if args.json:
        frame.emit(schema)
    else:
        print(json.dumps(schema, indent=2, ensure_ascii=False))
    return 0
