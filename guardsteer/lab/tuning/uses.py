"""Which uses of vectors to compare together: those that cards recommend, or those of a policy's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from guardsteer.assets import Catalog, is_path, resolve
from guardsteer.core.policy import Policy, Position, ScheduleSpec, SteerSpec
from guardsteer.errors import AssetError, VectorError
from guardsteer.host import Fingerprint, find_layout
from guardsteer.lab.measure.effects import Push
from guardsteer.lab.measure.measuring import Goal
from guardsteer.lab.measure.metrics import metric_named
from guardsteer.lab.pairs.contrast import Recipe
from guardsteer.lab.recipes.recipe import load_recipe
from guardsteer.rules.meetings import Meetings
from guardsteer.runtime.bound import Loader
from guardsteer.steer import Recommendation, Vector, find_artifact, load_vector
from guardsteer.steer.slots import Placed, place_vector

__all__ = ["Uses", "goals_of", "uses_of_policy", "uses_of_vectors"]

_RECIPE = "recipe.yaml"
_UNCALIBRATED: tuple[Position, ...] = ("last_prompt_token", "generated")


@dataclass(frozen=True, slots=True)
class Uses:
    """Pushes by name, their vectors by the pushes' vector, and their recipes, where there are some.

    ``together``: the pairs of names that may act at once. ``left_out``: uses that are no pushes, in words.
    """

    vectors: Mapping[str, Vector]
    pushes: Mapping[str, Push]
    recipes: Mapping[str, Recipe]
    together: tuple[tuple[str, str], ...]
    budget: float | None = None
    left_out: tuple[str, ...] = field(default=())


def uses_of_vectors(
    given: Sequence[str],
    identity: Fingerprint,
    catalog: Catalog,
    *,
    strengths: Mapping[str, float] | None = None,
    subtract: Sequence[str] = (),
) -> Uses:
    """Return one use of each vector, named in the catalogue or by the path of its file or folder.

    It acts as its card recommends, at the strength of ``strengths`` where there is one, and is subtracted
    where ``subtract`` names it. One that was not calibrated needs a strength, and acts at the block that
    separates best. Raises ``VectorError`` for fewer than two, for one name given twice, for names that no
    vector has and for a vector without a strength; and what ``load_vector`` raises.
    """
    strengths = strengths or {}
    found = [_found(each, identity, catalog) for each in given]
    names = [vector.name for vector, _ in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    strange = sorted({*strengths, *subtract} - set(names))
    if len(found) < 2 or twice or strange:
        wrong = f"{', '.join(twice)} given twice" if twice else f"got {len(found)}, expected two or more"
        wrong = f"no vector is named {', '.join(strange)}" if strange else wrong
        raise VectorError(f"vectors to compare: {wrong}; given are {', '.join(names) or 'none'}")
    pushes = {
        vector.name: _recommended(vector, strengths.get(vector.name), negative=vector.name in subtract)
        for vector, _ in found
    }
    return Uses(
        vectors={vector.name: vector for vector, _ in found},
        pushes=pushes,
        recipes={vector.name: recipe for vector, recipe in found if recipe is not None},
        together=tuple(combinations(pushes, 2)),
    )


def uses_of_policy(policy: Policy, model: Any, identity: Fingerprint, catalog: Catalog) -> Uses:
    """Return the uses of different vectors that rules of ``policy`` may make at once, whatever the position.

    Raises ``VectorError`` where there are no two such pushes, and what ``wrap`` raises for vectors that are
    not there.
    """
    loader = Loader(catalog, identity)
    loaded = loader.vectors(policy, {})
    loader.finish(model, policy)
    layout = find_layout(model)
    placed = {spec.name: place_vector(spec, vector, layout) for spec, vector in loaded}
    meetings = Meetings(policy)
    pushes: dict[str, Push] = {}
    pairs: dict[tuple[str, str], None] = {}
    left_out: dict[str, None] = {}
    for first, second in combinations(placed, 2):
        for each in meetings.of(first, second, anywhere=True):
            sides = ((each.first, each.first_rule), (each.second, each.second_rule))
            others = [f"{steer.operator} of {steer.vector!r}" for steer, _ in sides if not _pushes(steer)]
            if others:
                left_out |= dict.fromkeys(f"{other}, which is no push" for other in others)
                continue
            named = [f"{steer.vector} in {rule}" for steer, rule in sides]
            pushes |= {
                name: _push(steer, placed[steer.vector])
                for name, (steer, _) in zip(named, sides, strict=True)
            }
            pairs[named[0], named[1]] = None
    if not pairs:
        more = f"; left out: {'; '.join(left_out)}" if left_out else ""
        raise VectorError(f"policy {policy.name!r}: no two of its vectors may push at once{more}")
    base = Path(policy.source).parent
    recipes = {
        name: recipe
        for name, push in pushes.items()
        if (recipe := _recipe(placed[push.vector].spec.use, base, catalog)) is not None
    }
    vectors = {spec.name: vector for spec, vector in loaded}
    return Uses(vectors, pushes, recipes, tuple(pairs), policy.budget, tuple(left_out))


def goals_of(
    uses: Uses, metrics: Mapping[str, str], lower: Sequence[str], catalog: Catalog
) -> dict[str, Goal]:
    """Return what each use should do: by ``metrics`` (use or vector to metric), else by its recipe.

    A push against the vector should do the contrary. Raises ``AssetError`` for a use without a metric and
    for names that nothing has.
    """
    known = {*uses.pushes, *uses.vectors}
    strange = sorted({*metrics, *lower} - known)
    if strange:
        raise AssetError(f"no vector is named {', '.join(strange)}; there are {', '.join(sorted(known))}")
    goals = {}
    for name, push in uses.pushes.items():
        recipe = uses.recipes.get(name)
        metric = metrics.get(name) or metrics.get(push.vector)
        up = not {name, push.vector} & set(lower)
        if metric is None and recipe is not None and recipe.measure is not None:
            metric, up = recipe.measure.metric, recipe.measure.up
        if metric is None:
            raise AssetError(
                f"{name!r} has no metric: its recipe names none; give --metric {push.vector}=METRIC, such as "
                f"{push.vector}=vader"
            )
        goals[name] = Goal(metric, metric_named(metric, catalog), up=up == (push.strength > 0))
    return goals


def _pushes(steer: SteerSpec) -> bool:
    return steer.operator in ("add", "subtract")


def _push(steer: SteerSpec, placed: Placed) -> Push:
    strength = steer.strength
    if strength is None:
        strength = (steer.alpha or 0.0) * placed.strength_of_alpha
    most = placed.spec.max_strength
    strength = strength if most is None else min(strength, most)
    sign = -1.0 if steer.operator == "subtract" else 1.0
    schedule = steer.schedule
    if schedule is not None and schedule.every is not None:
        # A strength that grows is tried as it begins: what it grows to depends on how long a rule fires.
        schedule = replace(schedule, every=None, by=0.0)
        schedule = None if schedule == ScheduleSpec() else schedule
    return Push(steer.vector, placed.blocks, sign * strength, placed.spec.positions, schedule)


def _found(given: str, identity: Fingerprint, catalog: Catalog) -> tuple[Vector, Recipe | None]:
    path = Path(given)
    path = path if path.exists() or is_path(given) else catalog.find("vectors", given)
    if not path.exists():
        raise VectorError(f"{path}: no such file or folder; give a vector's file, its folder, or a name")
    file = find_artifact(path, identity) if path.is_dir() else path
    vector = load_vector(file, fingerprint=identity)
    # Beside the vector, or in the folder that the layout of an artifact leads to: no other file is its own.
    laid_out = len(file.parents) > 2 and file.parents[1].name == "artifacts"
    folders = [file.parents[0], *([file.parents[2]] if laid_out else [])]
    folder = next((each for each in folders if (each / _RECIPE).is_file()), None)
    return vector, None if folder is None else load_recipe(folder)


def _recommended(vector: Vector, strength: float | None, *, negative: bool) -> Push:
    found = vector.card.recommended
    if found is None and strength is None:
        raise VectorError(
            f"vector {vector.name!r}: its card recommends no strength, so there is no use to compare; "
            f"calibrate it first (guardsteer vectors calibrate), or give one (--strength {vector.name}=0.3)"
        )
    if found is None:
        separated = {row.block: row.cohens_d or 0.0 for row in vector.card.separation}
        best = max(vector.blocks, key=lambda block: separated.get(block, 0.0))
        found = Recommendation(blocks=(best,), positions=_UNCALIBRATED, low=1.0, recommended=1.0, high=1.0)
    strength = found.recommended if strength is None else strength
    schedule = None if found.schedule is None else ScheduleSpec(**found.schedule.model_dump())
    return Push(
        vector.name, tuple(found.blocks), -strength if negative else strength, found.positions, schedule
    )


def _recipe(use: str, base: Path, catalog: Catalog) -> Recipe | None:
    folder = resolve("vectors", use, base, catalog)
    return load_recipe(folder) if (folder / _RECIPE).is_file() else None
