"""The register of metrics: one number a reply, by a name that the command line and a recipe can give.

A metric is a function from prompts and replies to numbers; a user's own is one of the same form. Those that
read text are in ``guardsteer.lab.text_metrics``, those that need a model in ``guardsteer.lab.model_metrics``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from guardsteer.assets import Catalog, resolve
from guardsteer.classify import load_folder
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import AssetError, GuardsteerError
from guardsteer.lab.model_metrics import OfModel, bound, perplexity
from guardsteer.lab.prompts import Prompt
from guardsteer.lab.text_metrics import (
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

__all__ = [
    "KINDS",
    "Kind",
    "Metric",
    "OfModel",
    "bound",
    "check_scores",
    "classifier_score",
    "distinct",
    "expected",
    "follows",
    "judged",
    "metric_named",
    "pattern",
    "refusing",
    "repetition",
    "scored",
    "vader",
    "words",
]

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


def classifier_score(classifier: TextClassifier, output: str | None = None) -> Metric:
    """Return the metric that is a classifier's score of each reply, 0 to 1; of its last output by default.

    Raises ``AssetError`` for an output that it does not have.
    """
    outputs = classifier.outputs
    if output is not None and output not in outputs:
        raise AssetError(f"metric: the classifier has no output {output!r}, only {', '.join(outputs)}")
    place = len(outputs) - 1 if output is None else outputs.index(output)

    def score(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:  # noqa: ARG001  # the signature of a metric
        scores = []
        for reply in replies:
            state = classifier.start()
            state.push(reply)
            scores.append(float(state.scores()[place]))
        return scores

    return score


def metric_named(
    name: str, catalog: Catalog | None = None, *, kinds: Mapping[str, Kind] | None = None
) -> Metric:
    """Return the metric of a name, as the command line and recipes take it.

    ``kinds``: another register, such as ``{**KINDS, "mine": Kind(...)}``. ``python:`` and ``judge:`` import a
    module, so they run its code. Raises ``AssetError``, which says what there is, or what is wrong with what
    follows the name.
    """
    register = KINDS if kinds is None else kinds
    kind, colon, rest = name.partition(":")
    entry = register.get(kind)
    wants = entry is not None and ":" in entry.form
    if entry is None or bool(colon) != wants or bool(rest) != wants:
        meant = f"; {kind} is written {entry.form}, such as {entry.example}" if entry is not None else ""
        forms = ", ".join(each.form for each in register.values())
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


def _of_classifier(rest: str, catalog: Catalog) -> Metric:
    use, _, output = rest.partition(".") if not rest.startswith((".", "/")) else (rest, "", "")
    folder = resolve("classifiers", use, Path(), catalog)
    found = load_folder(folder if folder.is_dir() else folder.parent)
    if not hasattr(found, "start"):
        raise AssetError(f"metric 'classifier:{rest}': it reads hidden states, not text")
    return classifier_score(found, output or None)


def _of_trait(rest: str, catalog: Catalog) -> Metric:
    # A recipe may name its metric, so the reader of recipes stands above this module.
    from guardsteer.lab.recipe import load_recipe
    from guardsteer.lab.traits import trait_reader

    return trait_reader(load_recipe(resolve("vectors", rest, Path(), catalog)))


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


KINDS: Mapping[str, Kind] = {
    "vader": Kind("vader", "sentiment, -1 to 1; needs vaderSentiment", "vader", _plain(vader)),
    "classifier": Kind(
        "classifier:NAME[.OUTPUT]",
        "score, 0 to 1, of a classifier of guardsteer on the reply, by catalogue name or path",
        "classifier:hostility",
        _of_classifier,
        needs="classifiers",
    ),
    "trait": Kind(
        "trait:RECIPE",
        "probability, 0 to 1, that the reply is of a recipe's positive side, by a reader of its pairs",
        "trait:formality",
        _of_trait,
        needs="vectors",
    ),
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
"""What there is, by name. ``guardsteer vectors metrics`` prints it."""
