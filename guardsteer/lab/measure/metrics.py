"""The register of metrics: one number a reply, by a name that the command line and a recipe can give.

Those that read text are in ``guardsteer.lab.metrics.text``, those that need a model in
``guardsteer.lab.metrics.model``; here come those that are looked up in the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from guardsteer.assets import Catalog, resolve
from guardsteer.classify import load_folder
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import AssetError
from guardsteer.lab.measure.traits import trait_reader
from guardsteer.lab.metrics.register import OWN_KINDS, Kind, named
from guardsteer.lab.metrics.text import Metric
from guardsteer.lab.pairs.prompts import Prompt
from guardsteer.lab.recipes.recipe import load_recipe

__all__ = ["KINDS", "classifier_score", "metric_named"]


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
    return named(name, KINDS if kinds is None else kinds, catalog)


def _of_classifier(rest: str, catalog: Catalog) -> Metric:
    use, _, output = rest.partition(".") if not rest.startswith((".", "/")) else (rest, "", "")
    folder = resolve("classifiers", use, Path(), catalog)
    found = load_folder(folder if folder.is_dir() else folder.parent)
    if not hasattr(found, "start"):
        raise AssetError(f"metric 'classifier:{rest}': it reads hidden states, not text")
    return classifier_score(found, output or None)


def _of_trait(rest: str, catalog: Catalog) -> Metric:
    return trait_reader(load_recipe(resolve("vectors", rest, Path(), catalog)))


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "vader": OWN_KINDS["vader"],
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
        **{name: kind for name, kind in OWN_KINDS.items() if name != "vader"},
    }
)
"""What there is, by name. ``guardsteer vectors metrics`` prints it."""
