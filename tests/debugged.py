"""Code run under Python's debugging allocator, which finds writes past the end and uses after it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["number_debugged"]


def number_debugged(script: str) -> int:
    """Return the number that ``script`` prints in a process of its own, which must end well.

    ``{root!r}`` in it stands for the folder of the tests' own.
    """
    root = os.fspath(Path(__file__).parents[1])
    found = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", "-c", script.format(root=root)],
        env={**os.environ, "PYTHONMALLOC": "debug"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return int(found.stdout)
