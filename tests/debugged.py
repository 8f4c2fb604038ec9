"""Code run under Python's debugging allocator, which finds writes past the end and uses after it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["run_debugged"]


def run_debugged(script: str) -> subprocess.CompletedProcess[str]:
    """Run ``script`` in a process of its own; ``{root!r}`` in it stands for the folder of the tests' own."""
    root = os.fspath(Path(__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", "-c", script.format(root=root)],
        env={**os.environ, "PYTHONMALLOC": "debug"},
        capture_output=True,
        text=True,
        check=False,
    )
