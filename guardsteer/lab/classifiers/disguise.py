"""What is left of a classifier when text is disguised: written so that a person still reads the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from guardsteer.evaluate import Estimate, mean_interval, wilson
from guardsteer.lab.classifiers.figures import Floats

__all__ = ["DISGUISES", "Disguised", "disguised"]

_WORD = re.compile(r"[^\W\d_]{4,}")
_LEET = str.maketrans("aeiostAEIOST", "431057431057")
# Cyrillic letters that look like these.
_TWINS = str.maketrans(
    "aceopxyABCEHKMOPTX",
    "\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0410\u0412\u0421\u0415\u041d\u041a\u041c\u041e\u0420\u0422\u0425",
)
_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


@dataclass(frozen=True, slots=True)
class Disguised:
    """The share of positive rows at the threshold or above in a disguise, and its change from plain text."""

    disguise: str
    tpr: Estimate
    change: Estimate


def _inside(mark: str) -> Callable[[str], str]:
    """Return what puts ``mark`` into the middle of every word of four letters or more."""

    def disguise(text: str) -> str:
        return _WORD.sub(lambda found: _halved(found[0], mark), text)

    return disguise


def _halved(word: str, mark: str) -> str:
    middle = len(word) // 2
    return f"{word[:middle]}{mark}{word[middle:]}"


DISGUISES: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "capitals": str.upper,
        "leetspeak": lambda text: text.translate(_LEET),
        "letters of another script": lambda text: text.translate(_TWINS),
        "full-width letters": lambda text: text.translate(_WIDE),
        "accents": lambda text: re.sub(r"([aeiouAEIOU])", "\\1\u0301", text),
        "zero-width space in words": _inside("\u200b"),
        "soft hyphen in words": _inside("\u00ad"),
        "space in words": _inside(" "),
        "full stop in words": _inside("."),
    }
)
"""Ways of writing that keep a text readable."""


def disguised(
    score: Callable[[Sequence[str]], Floats], positives: Sequence[str], threshold: float, *, seed: int = 0
) -> tuple[Disguised, ...]:
    """Return for each disguise what is raised of ``positives``, with the interval of the change over rows.

    ``score``: from texts to scores [row]. Raises ``ValueError`` where there is no text.
    """
    plain = score(positives) >= threshold
    found = []
    for name, disguise in DISGUISES.items():
        raised = score([disguise(text) for text in positives]) >= threshold
        change = mean_interval(raised.astype(np.float64) - plain, seed=seed, resamples=500)
        found.append(Disguised(name, wilson(int(raised.sum()), len(positives)), change))
    return tuple(found)
