"""The Python evangelist: how often do replies come to speak of Python?

    python -m examples.evangelist [--model PATH|demo]

Mentions are counted beside random vectors, and any talk of computers, the nearest that a small model knows.
"""

from __future__ import annotations

import sys

from examples.dose import Trial
from examples.dose_report import main
from guardsteer.lab.measure.measuring import Check, Goal
from guardsteer.lab.metrics.text import pattern, vader

__all__ = ["TRIAL"]

_COMPUTING = (
    r"(?i)\b(computers?|program\w*|code|coding|software|script|files?|websites?|internet|apps?|languages?|"
    r"laptop|data|server|java\w*|list|loop|function)\b"
)

TRIAL = Trial(
    recipe="python-evangelist",
    goal=Goal("replies that name Python", pattern(r"(?i)\bpython\b")),
    watched=(Check("replies that speak of computing", pattern(_COMPUTING)), Check("VADER", vader)),
)

if __name__ == "__main__":
    sys.exit(main(TRIAL, (__doc__ or "").splitlines()[0], "examples.evangelist"))
