"""The ``guardsteer`` command: finds the command's module, runs it, turns errors into one line.

Exit status: 0 all well, 1 the command found something wrong in what it looked at, 2 misuse (bad
arguments, a file that cannot be used), 130 interrupted.

A command's module has ``register(subparsers)``, which adds its parser with ``frame.add_command``,
and ``run(args) -> int``, which returns the exit status. Only the module of the command at hand is
imported, and neither function's module may import torch at its top.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from guardsteer import __version__
from guardsteer.cli import frame
from guardsteer.errors import GuardsteerError

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("guardsteer.cli.demo", "show guarded and unguarded answers of the built-in model side by side"),
    "run": ("guardsteer.cli.run", "generate with a model of yours under a policy"),
    "prepare": ("guardsteer.cli.prepare", "build, calibrate and bind all that a policy needs for a model"),
    "doctor": ("guardsteer.cli.doctor", "check this machine, the installation and, if given, a model"),
    "policy": ("guardsteer.cli.policy", "check, test, explain and sign policies"),
    "vectors": ("guardsteer.cli.vectors", "extract steering vectors and look at them"),
    "classifiers": ("guardsteer.cli.classifiers", "train, evaluate and show classifiers of text"),
    "audit": ("guardsteer.cli.audit", "look at an audit log and verify it"),
    "telemetry": ("guardsteer.cli.telemetry", "list the metrics, print the Grafana dashboard"),
}
"""Name of each command: its module, and what it is for in one line."""

_EXAMPLE = """\
example:
  guardsteer demo
  guardsteer COMMAND --help"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own) and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in words if word in COMMANDS), None)
    parser = _parser(chosen)
    try:
        args = parser.parse_args(words)
        if args.command is None:
            parser.print_help()
            return 0
        return _run(args)
    except SystemExit as stop:  # argparse leaves this way after --help (0) and after misuse (2)
        return stop.code if isinstance(stop.code, int) else 2


def _run(args: argparse.Namespace) -> int:
    as_json: bool = getattr(args, "json", False)
    try:
        status: int = import_module(COMMANDS[args.command][0]).run(args)
        sys.stdout.flush()
    except GuardsteerError as error:
        return frame.fail(error, as_json=as_json)
    except BrokenPipeError:
        # The reader went away (`| head`). Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        return frame.fail(error, as_json=as_json)
    except KeyboardInterrupt:
        print("guardsteer: interrupted", file=sys.stderr)
        return 130
    return status


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="guardsteer",
        description="Guardrails that steer: classify every step, steer by policy, audit all of it.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"guardsteer {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, (module, summary) in COMMANDS.items():
        if name == chosen:
            import_module(module).register(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    return parser
