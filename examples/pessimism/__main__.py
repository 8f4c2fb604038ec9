"""Pessimism, raised until the trait stops rising and the text breaks.

    python -m examples.pessimism [--model PATH|demo]

Sentiment (VADER) is counted, and beside it what could fool it: replies that only say no, and gloomy words.
"""

from __future__ import annotations

import sys

from examples.dose import Trial
from examples.dose_report import main
from guardsteer.lab.measure.measuring import Check, Goal
from guardsteer.lab.metrics.text import pattern, vader

__all__ = ["TRIAL"]

_GLOOMY = (
    r"(?i)\b(never|nothing|nobody|no one|worse|worst|bad|sad|tired|afraid|scared|worried|hurts?|los[et]|"
    r"fail\w*|wrong|hate|hard|sick|alone|broken|trouble|too (late|old|hard|much)|can't|won't|couldn't)\b"
)

TRIAL = Trial(
    recipe="pessimism",
    goal=Goal("VADER", vader, up=False),
    watched=(
        Check("replies with a gloomy word", pattern(_GLOOMY)),
        Check("replies that begin with no", pattern(r"(?i)^no\b")),
    ),
)

if __name__ == "__main__":
    sys.exit(main(TRIAL, (__doc__ or "").splitlines()[0], "examples.pessimism"))
