"""The ocean persona at two strengths: a low one flavours replies, a high one takes them over.

    python -m examples.ocean [--model PATH|demo]

Counted are replies that speak of the sea, the share of such words, and who speaks: the sea itself, or
somebody in it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from examples.dose import Trial
from examples.dose_report import main
from guardsteer.lab.measure.measuring import Check, Goal
from guardsteer.lab.metrics.text import pattern
from guardsteer.lab.pairs.prompts import Prompt

__all__ = ["TRIAL", "sea_words"]

_SEA = (
    r"oceans?|seas?|waves?|tides?|shores?|beach(?:es)?|whales?|dolphins?|corals?|shells?|sand|islands?|ships?|"
    r"boats?|gulls?|salty?|swim\w*|fish(?:es)?|pearls?|crabs?|waters?|splash\w*"
)
_THE_SEA = r"(ocean|sea|water|waves?|tide|shore|beach)"
_WORD, _OF_THE_SEA = re.compile(r"\w+"), re.compile(rf"(?i)(?:{_SEA})")


def sea_words(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:  # noqa: ARG001  # the signature of a metric
    """Return the share of words of each reply that belong to the sea."""
    found = [_WORD.findall(reply) for reply in replies]
    return [sum(bool(_OF_THE_SEA.fullmatch(word)) for word in words) / max(len(words), 1) for words in found]


TRIAL = Trial(
    recipe="ocean-persona",
    tuning=120,
    goal=Goal("replies that speak of the sea", pattern(rf"(?i)\b({_SEA})\b")),
    watched=(
        Check("share of sea words", sea_words),
        Check(
            "I am the sea",
            pattern(rf"(?i)\b(I am|I'm) (the |a |an )?(\w+ )?{_THE_SEA}\b|\bmy (\w+ )?(waves|tide|shore)\b"),
        ),
        Check(
            "I am in it",
            pattern(r"(?i)\b(I am|I'm) (the |a |an )?(\w+ )?(fish|whale|swimm\w+|boat|ship|swim)\b"),
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(TRIAL, (__doc__ or "").splitlines()[0], "examples.ocean"))
