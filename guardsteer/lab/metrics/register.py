"""How a metric of replies is named: kinds by name, and those that need nothing but the reply or a model.

A metric is a function from prompts and replies to numbers; a user's own is one of the same form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from guardsteer.assets import Catalog
from guardsteer.errors import AssetError, GuardsteerError
from guardsteer.lab.metrics.model import OfModel, perplexity
from guardsteer.lab.metrics.text import (
    Metric,
    distinct,
    expected,
    follows,
    judged,
    pattern,
    refusing,
    repetition,
    vader,
    words,
)
from guardsteer.lab.pairs.prompts import Prompt

__all__ = ["OWN_KINDS", "Kind", "check_scores", "named", "scored"]

_LARGEST_TEMPLATE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Kind:
    """One entry of the register.

    ``make`` gets what follows the kind's name and a colon, "" for nothing. ``runs_code``: making one runs
    code that the name points to, so that no file from elsewhere may name it. ``needs``: it names a folder,
    looked up in the catalogue.
    """

    form: str
    says: str
    example: str
    make: Callable[[str, Catalog], Metric]
    runs_code: bool = False
    needs: str | None = None


def named(name: str, kinds: Mapping[str, Kind], catalog: Catalog | None = None) -> Metric:
    """Return the metric of a name by a register of kinds.

    Raises ``AssetError``, which says what there is, or what is wrong with what follows the name.
    """
    kind, colon, rest = name.partition(":")
    entry = kinds.get(kind)
    wants = entry is not None and ":" in entry.form
    if entry is None or bool(colon) != wants or bool(rest) != wants:
        meant = f"; {kind} is written {entry.form}, such as {entry.example}" if entry is not None else ""
        forms = ", ".join(each.form for each in kinds.values())
        raise AssetError(f"metric {name!r}: there is no such metric{meant}; there are {forms}")
    return entry.make(rest, catalog or Catalog())


def scored(name: str, metric: Metric, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:
    """Return a metric's numbers; ``AssetError`` where it fails or gives no finite number for each reply."""
    try:
        found = metric(prompts, replies)
    except GuardsteerError:
        raise
    except Exception as error:  # A user's function may raise anything.
        raise AssetError(f"metric {name!r}: it raised {type(error).__name__}: {error}") from error
    return check_scores(name, found, len(replies))


def check_scores(name: str, scores: Sequence[float], rows: int) -> list[float]:
    """Return a metric's numbers; ``AssetError`` unless it gave one finite number for each of ``rows``."""
    try:
        found = [float(score) for score in scores]
    except (TypeError, ValueError) as error:
        raise AssetError(f"metric {name!r}: got {scores!r:.60}, expected a list of {rows} numbers") from error
    if len(found) != rows or not all(math.isfinite(score) for score in found):
        raise AssetError(f"metric {name!r}: got {len(found)} numbers for {rows} replies, or one not finite")
    return found


def _plain(metric: Metric) -> Callable[[str, Catalog], Metric]:
    return lambda _rest, _catalog: metric


def _of_words(name: str, make: Callable[[int], Metric]) -> Callable[[str, Catalog], Metric]:
    def made(rest: str, catalog: Catalog) -> Metric:  # noqa: ARG001  # the signature of a kind
        if not (rest.isascii() and rest.isdecimal() and 0 < int(rest[:4]) < 100):
            raise AssetError(f"metric '{name}:{rest}': got {rest!r}, expected a number of words from 1 to 99")
        return make(int(rest))

    return made


def _imported(rest: str, catalog: Catalog) -> Metric:  # noqa: ARG001  # the signature of a kind
    metric: Metric = _function(f"python:{rest}", rest)
    return metric


def _of_judge(rest: str, catalog: Catalog) -> Metric:  # noqa: ARG001  # the signature of a kind
    function, _, path = rest.rpartition(":")
    if function.count(":") != 1 or not path:
        raise AssetError(f"metric 'judge:{rest}': expected judge:MODULE:FUNCTION:FILE, its template last")
    ask = _function(f"judge:{rest}", function)
    try:
        with Path(path).open("rb") as file:
            template = file.read(_LARGEST_TEMPLATE_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AssetError(f"metric 'judge:{rest}': {path} cannot be read: {error}") from error
    return judged(ask, template)


def _function(name: str, given: str) -> Any:
    module, _, function = given.partition(":")
    if not module or not function or ":" in function:
        raise AssetError(f"metric {name!r}: expected MODULE:FUNCTION, got {given!r}")
    try:
        found = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        hint = "put the folder of your module on PYTHONPATH, as in PYTHONPATH=. guardsteer ..."
        raise AssetError(f"metric {name!r}: ModuleNotFoundError: {error}; {hint}") from error
    except Exception as error:  # Importing runs the module, which may raise anything.
        raise AssetError(f"metric {name!r}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise AssetError(f"metric {name!r}: it is not a function")
    return found


def _divergence(rest: str, catalog: Catalog) -> Metric:  # noqa: ARG001  # the signature of a kind
    raise AssetError(
        "metric 'kl': it compares two models' next tokens and so is none of a reply. Every calibration "
        "measures it on off-target prompts: choose them with --off-target and bound it with --kl"
    )


OWN_KINDS: Mapping[str, Kind] = {
    "vader": Kind("vader", "sentiment, -1 to 1; needs vaderSentiment", "vader", _plain(vader)),
    "regex": Kind(
        "regex:PATTERN", "1 where RE2 finds the pattern", "regex:(?i)thank you", lambda r, _: pattern(r)
    ),
    "expected": Kind(
        "expected", "1 where the reply holds its prompt's `expected`", "expected", _plain(expected)
    ),
    "follows": Kind(
        "follows", "1 where the reply is all that its prompt's `expect` asks", "follows", _plain(follows)
    ),
    "refusing": Kind(
        "refusing", "1 where the reply opens with a refusal, in English", "refusing", _plain(refusing)
    ),
    "words": Kind("words", "number of words", "words", _plain(words)),
    "distinct": Kind(
        "distinct:N", "share of different n-grams of words", "distinct:2", _of_words("distinct", distinct)
    ),
    "repetition": Kind(
        "repetition:N",
        "share of n-grams of words that repeat",
        "repetition:3",
        _of_words("repetition", repetition),
    ),
    "perplexity": Kind(
        "perplexity",
        "of the reply under the bare model",
        "perplexity",
        _plain(OfModel("perplexity", perplexity)),
    ),
    "kl": Kind("kl", "divergence on off-target prompts: measured always, bounded by --kl", "kl", _divergence),
    "python": Kind(
        "python:MODULE:FUNCTION",
        "a function of yours, from prompts and replies to one number a reply; the module is run",
        "python:my_metrics:politeness",
        _imported,
        runs_code=True,
    ),
    "judge": Kind(
        "judge:MODULE:FUNCTION:FILE",
        "number from 1 to 5 that ends what your function answers to the question in FILE, which holds "
        "{prompt} and {reply}; the module is run",
        "judge:my_judge:ask:rubric.txt",
        _of_judge,
        runs_code=True,
    ),
}
"""What can be named without a catalogue."""
