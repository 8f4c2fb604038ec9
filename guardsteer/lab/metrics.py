"""What to measure on replies: every metric is a function from prompts and replies to one number a reply.

A user's own metric is a function of the same form. Metrics that need the model are in
``guardsteer.lab.model_metrics``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

import re2

from guardsteer.assets import Catalog, resolve
from guardsteer.classify import load_folder
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import AssetError
from guardsteer.evaluate.vader import compounds
from guardsteer.lab.prompts import Prompt

__all__ = [
    "Metric",
    "check_scores",
    "classifier_score",
    "distinct",
    "expected",
    "judged",
    "metric_named",
    "pattern",
    "repetition",
    "vader",
    "words",
]

Metric: TypeAlias = Callable[[Sequence[Prompt], Sequence[str]], Sequence[float]]
"""From prompts and the reply to each to one finite number each. It must not depend on the order of rows."""

NAMES = "vader, classifier:NAME, classifier:NAME.OUTPUT, regex:PATTERN, expected, words, distinct:N, "
NAMES += "repetition:N and python:MODULE:FUNCTION"

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_WORD = re.compile(r"\w+")
_BLANKS = re.compile(r"(\{prompt\}|\{reply\})")


def vader(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:  # noqa: ARG001
    """Return the sentiment of each reply, -1 to 1 (Hutto and Gilbert, 2014); ``AssetError`` without it."""
    return compounds(replies)


def words(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:  # noqa: ARG001
    """Return the number of words of each reply."""
    return [float(len(_WORD.findall(reply))) for reply in replies]


def expected(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:
    """Return 1.0 where a reply holds what its prompt expects, whatever the case and white space, else 0.0.

    Raises ``AssetError`` for a prompt that expects nothing.
    """
    missing = [prompt.id for prompt in prompts if not prompt.expected]
    if missing:
        raise AssetError(
            f"metric 'expected': {len(missing)} prompts expect nothing, the first {missing[0]!r}; give each "
            "an 'expected'"
        )
    return [
        float(_plain(prompt.expected) in _plain(reply))
        for prompt, reply in zip(prompts, replies, strict=True)
    ]


def pattern(expression: str) -> Metric:
    """Return the metric that is 1.0 where RE2's ``expression`` is found in a reply, else 0.0.

    Raises ``AssetError`` for an expression that RE2 does not know.
    """
    options = re2.Options()
    options.log_errors = False  # the error is ours to tell, not the library's to print
    try:
        compiled = re2.compile(expression, options)
    except re2.error as error:
        told = error.args[0]
        reason = told.decode(errors="replace") if isinstance(told, bytes) else str(error)
        raise AssetError(f"metric 'regex:{expression}': {reason}") from error

    def score(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:  # noqa: ARG001
        return [float(compiled.search(reply) is not None) for reply in replies]

    return score


def classifier_score(classifier: TextClassifier, output: str | None = None) -> Metric:
    """Return the metric that is a classifier's score of each reply, 0 to 1; of its last output by default.

    Raises ``AssetError`` for an output that it does not have.
    """
    outputs = classifier.outputs
    if output is not None and output not in outputs:
        raise AssetError(f"metric: the classifier has no output {output!r}, only {', '.join(outputs)}")
    place = len(outputs) - 1 if output is None else outputs.index(output)

    def score(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:  # noqa: ARG001
        scores = []
        for reply in replies:
            state = classifier.start()
            state.push(reply)
            scores.append(float(state.scores()[place]))
        return scores

    return score


def distinct(n: int = 2) -> Metric:
    """Return the metric that is the share of different n-grams of words (distinct-n, Li et al., 2016).

    A reply without an n-gram has share 1.0.
    """

    def score(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:  # noqa: ARG001
        return [_distinct(_WORD.findall(reply.casefold()), n) for reply in replies]

    return score


def repetition(n: int = 3) -> Metric:
    """Return the metric that is the share of n-grams of words that repeat an earlier one, 0 to 1."""
    share = distinct(n)

    def score(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:
        return [1.0 - value for value in share(prompts, replies)]

    return score


def judged(ask: Callable[[str], str], template: str, *, lowest: float = 1.0, highest: float = 5.0) -> Metric:
    """Return the metric that is the number which a judge, a language model say, gives each reply.

    ``ask`` takes a question and returns the judge's words. ``template`` holds ``{prompt}`` and ``{reply}``;
    the last number of the judge's words counts. Raises ``AssetError`` where there is none between
    ``lowest`` and ``highest``: a judge that did not judge is not taken for an opinion.
    """
    if "{prompt}" not in template or "{reply}" not in template:
        raise AssetError("a judge's template must hold {prompt} and {reply}")

    def score(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:
        scores = []
        for prompt, reply in zip(prompts, replies, strict=True):
            # In one pass, so that a prompt that speaks of {reply} is not filled in a second time.
            filled = {"{prompt}": prompt.text, "{reply}": reply}
            said = ask("".join(filled.get(piece, piece) for piece in _BLANKS.split(template)))
            numbers = [float(number) for number in _NUMBER.findall(said)]
            if not numbers or not lowest <= numbers[-1] <= highest:
                raise AssetError(
                    f"the judge said {said!r:.80} of prompt {prompt.id!r}, expected a number from "
                    f"{lowest:g} to {highest:g} at the end"
                )
            scores.append(numbers[-1])
        return scores

    return score


def metric_named(name: str, catalog: Catalog | None = None) -> Metric:
    """Return the metric of a name, as the command line takes it; ``AssetError`` says which there are.

    ``python:MODULE:FUNCTION`` imports the module, so it runs that module's code.
    """
    kind, _, rest = name.partition(":")
    plain: dict[str, Metric] = {"vader": vader, "words": words, "expected": expected}
    if name in plain:
        return plain[name]
    if kind == "classifier" and rest:
        return _of_classifier(rest, catalog or Catalog())
    if kind == "regex" and rest:
        return pattern(rest)
    if kind in ("distinct", "repetition") and rest.isdecimal() and int(rest) > 0:
        return distinct(int(rest)) if kind == "distinct" else repetition(int(rest))
    if kind == "python" and rest.count(":") == 1:
        return _imported(*rest.split(":"))
    raise AssetError(f"metric {name!r}: there is no such metric; there are {NAMES}")


def check_scores(name: str, scores: Sequence[float], rows: int) -> list[float]:
    """Return a metric's numbers; ``AssetError`` unless it gave one finite number for each of ``rows``."""
    found = [float(score) for score in scores]
    if len(found) != rows or not all(math.isfinite(score) for score in found):
        raise AssetError(f"metric {name!r}: got {len(found)} numbers for {rows} replies, or one not finite")
    return found


def _of_classifier(rest: str, catalog: Catalog) -> Metric:
    use, _, output = rest.partition(".") if not rest.startswith((".", "/")) else (rest, "", "")
    folder = resolve("classifiers", use, Path(), catalog)
    found = load_folder(folder if folder.is_dir() else folder.parent)
    if not hasattr(found, "start"):
        raise AssetError(f"metric 'classifier:{rest}': it reads hidden states, not text")
    return classifier_score(found, output or None)


def _imported(module: str, function: str) -> Metric:
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise AssetError(f"metric 'python:{module}:{function}': {error}") from error
    if not callable(found):
        raise AssetError(f"metric 'python:{module}:{function}': it is not a function")
    metric: Metric = found
    return metric


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _distinct(found: Sequence[str], n: int) -> float:
    grams = [tuple(found[place : place + n]) for place in range(len(found) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0
