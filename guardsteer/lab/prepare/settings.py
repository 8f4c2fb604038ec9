"""What may be told to ``prepare``: metrics, bounds, prompts, strengths, sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from guardsteer.errors import AssetError, RequestError
from guardsteer.lab.measure.measuring import BOUNDS, Bounds, Parts
from guardsteer.lab.pairs.contrast import Measure, Recipe
from guardsteer.lab.pairs.prompts import few, load_prompts, recipe_prompts, split_prompts
from guardsteer.lab.tuning.calibrate import STRENGTHS
from guardsteer.lab.tuning.sweep import STRENGTHS as SWEEP_STRENGTHS

__all__ = ["Metrics", "Schedules", "Settings", "bounds_for", "check_settings", "measure_for", "prompts_for"]

_LEAST = {"controls": 1, "limit": 8, "new_tokens": 1, "batch_size": 1}

Schedules: TypeAlias = Literal["policy", "all"]
"""``policy``: those that the policy uses, and all others where none of these holds. ``all``: all at once."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Which metric judges which recipe's vector, in place of its own; ``every``: all without one in ``of``.

    ``lower``: recipes whose given metric should fall. ``python:`` metrics are the caller's code.
    """

    of: Mapping[str, str] = field(default_factory=dict)
    every: str | None = None
    lower: frozenset[str] = frozenset()

    def named(self, recipe: str) -> str | None:
        """Return the name of the metric that is given for a recipe's vector."""
        return self.of.get(recipe, self.every)


@dataclass(frozen=True, slots=True)
class Settings:
    """How to prepare.

    ``gain`` and ``perplexity_ratio``: in place of the recipe's and of ``bounds``. ``prompts``: in place of
    the recipe's own. ``limit``: prompts of a part, at most. ``calibrate``: without, blocks are chosen by
    separation alone. ``gates``: hold vectors to what ships for that too (``lab.gates``). ``in_place``:
    artifacts go into the folders of what they are made from. ``again``: make anew what is there, too.
    """

    metrics: Metrics = Metrics()
    bounds: Bounds = BOUNDS
    gain: float | None = None
    perplexity_ratio: float | None = None
    prompts: Parts | None = None
    strengths: tuple[float, ...] = STRENGTHS
    sweep_strengths: tuple[float, ...] = SWEEP_STRENGTHS
    schedules: Schedules = "policy"
    controls: int = 3
    limit: int = 100
    new_tokens: int = 48
    batch_size: int = 32
    seed: int = 0
    calibrate: bool = True
    gates: bool = True
    in_place: bool = False
    again: bool = False


def check_settings(settings: Settings) -> None:
    """Return if there is something to try; ``RequestError`` with all that is wrong.

    Asked before anything is read, since a search takes longer than a mistake to see.
    """
    mistakes = []
    for name, least in _LEAST.items():
        if getattr(settings, name) < least:
            mistakes.append(f"{name}: got {getattr(settings, name)}, expected at least {least}")
    for name, given in {"sweep_strengths": settings.sweep_strengths, "strengths": settings.strengths}.items():
        if name == "sweep_strengths" and given == settings.strengths:
            continue
        if not given or given[0] <= 0 or list(given) != sorted(set(given)):
            listed = ", ".join(f"{each:g}" for each in given) or "none"
            mistakes.append(f"{name}: got {listed}, expected numbers above 0, each once, in ascending order")
    if mistakes:
        raise RequestError("\n".join(mistakes))


def measure_for(recipe: Recipe, settings: Settings) -> Measure | None:
    """Return how a recipe's vector is judged; None where it is not calibrated.

    The bounds of a recipe are in units of its own metric, and go with it alone.
    """
    given = settings.metrics.named(recipe.name)
    if not settings.calibrate:
        return None
    if given is None:
        return recipe.measure
    prompts = None if recipe.measure is None else recipe.measure.prompts
    return Measure(given, up=recipe.name not in settings.metrics.lower, prompts=prompts)


def bounds_for(measure: Measure, settings: Settings) -> Bounds:
    """Return the bounds: what is told here, else what the recipe says, else the default."""
    bounds = settings.bounds
    for name in ("gain", "perplexity_ratio"):
        value = getattr(settings, name)
        value = getattr(measure, name) if value is None else value
        bounds = bounds if value is None else replace(bounds, **{name: float(value)})
    return bounds


def prompts_for(recipe: Recipe, folder: Path, measure: Measure, settings: Settings) -> Parts:
    """Return the prompts to choose on and those to judge on. Raises ``AssetError`` for a file without any."""
    if settings.prompts is not None:
        parts = settings.prompts
    elif measure.prompts is not None:
        path = folder / measure.prompts
        if not path.is_file():
            raise AssetError(
                f"{folder / 'recipe.yaml'}: field 'measure.prompts': there is no file {path}; name one from "
                "the recipe's folder, or leave it out to take the conversations of its pairs"
            )
        parts = Parts(*split_prompts(load_prompts(path)))
    else:
        parts = Parts(*recipe_prompts(recipe))
    return Parts(few(parts.tuning, settings.limit), few(parts.test, settings.limit))
