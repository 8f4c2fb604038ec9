"""What a policy needs of a model: each vector that it names by recipe, and how it uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guardsteer.assets import Catalog, find_policy, resolve
from guardsteer.classify import outputs_of
from guardsteer.core.policy import Policy, Position, ScheduleSpec, Site, SteerSpec, VectorSpec
from guardsteer.errors import AssetError, GuardsteerError, VectorError
from guardsteer.rules import load_policy

__all__ = ["Need", "needs_of", "read_policy"]

_RECIPE = "recipe.yaml"


@dataclass(frozen=True, slots=True)
class Need:
    """One recipe, with everything that a policy does with its vector.

    ``home``: folder below which the artifact belongs, where ``wrap`` finds it. ``positions`` and
    ``schedules``: every set of positions and every schedule that the policy uses. ``strengths``: those of its
    rules, with the names of the vectors. ``subtracts``: it is only ever subtracted, so that less of the
    trait is the goal.
    """

    name: str
    recipe: Path
    home: Path
    site: Site
    blocks: tuple[int, ...] | None
    positions: tuple[tuple[Position, ...], ...]
    schedules: tuple[ScheduleSpec | None, ...]
    strengths: tuple[tuple[str, float], ...]
    subtracts: bool


def read_policy(policy: str | Path, catalog: Catalog) -> Policy:
    """Return a policy by path or name. Raises ``PolicyError`` and ``AssetError``."""
    path = find_policy(policy, catalog)
    base = path if path.is_dir() else path.parent
    return load_policy(path, outputs=lambda spec: outputs_of(spec, base, catalog))


def needs_of(policy: Policy, catalog: Catalog, out: Path) -> tuple[Need, ...]:
    """Return what ``policy`` needs, in its order, each recipe once; what it names by file is left alone.

    What is named in the catalogue gets its artifact below ``out/vectors``; what is named by a path gets it in
    the recipe's own folder, the only place where that name leads. Raises ``AssetError`` with every vector
    that is not there or has no recipe, and ``VectorError`` where one recipe is wanted at two sites.
    """
    base = Path(policy.source).parent
    found: dict[Path, list[VectorSpec]] = {}
    named: dict[Path, bool] = {}
    problems: list[str] = []
    for spec in policy.vectors:
        try:
            folder, by_name = _recipe_of(spec, base, catalog)
        except GuardsteerError as error:
            problems.append(f"{policy.source}: vector {spec.name!r}: {error}")
            continue
        if folder is not None:
            found.setdefault(folder, []).append(spec)
            named[folder] = by_name
    if problems:
        raise AssetError("\n".join(problems))
    return tuple(
        _need(policy, folder, out / "vectors" / folder.name if named[folder] else folder, specs)
        for folder, specs in found.items()
    )


def _recipe_of(spec: VectorSpec, base: Path, catalog: Catalog) -> tuple[Path | None, bool]:
    """Return the recipe's folder, None for a vector named by its file; and whether it has a name."""
    by_name = not spec.use.startswith(("./", "../", "/"))
    if by_name:
        # A root that was prepared before holds artifacts without a recipe and stands before the recipe.
        places = [root / "vectors" / spec.use for root in catalog.roots]
        holding = next((place for place in places if (place / _RECIPE).is_file()), None)
        if holding is not None:
            return holding, True
    path = resolve("vectors", spec.use, base, catalog)
    if path.is_file():
        return None, by_name
    if not (path / _RECIPE).is_file():
        raise AssetError(f"{path} holds no {_RECIPE}, so its vector cannot be made for another model")
    return path, by_name


def _need(policy: Policy, folder: Path, home: Path, specs: Sequence[VectorSpec]) -> Need:
    names = {spec.name for spec in specs}
    sites = {spec.site or "block_output" for spec in specs}
    if len(sites) > 1:
        raise VectorError(
            f"{policy.source}: {', '.join(sorted(names))} want the recipe {folder.name} at "
            f"{' and '.join(sorted(sites))}; one artifact has one site. Copy the recipe under another name"
        )
    uses = [steer for rule in policy.rules for steer in rule.steer if steer.vector in names]
    blocks = {block for spec in specs for block in spec.blocks or ()}
    chosen = tuple(sorted(blocks)) if all(spec.blocks is not None for spec in specs) else None
    return Need(
        name=folder.name,
        recipe=folder,
        home=home,
        site=next(iter(sites)),
        blocks=chosen,
        positions=tuple(dict.fromkeys(spec.positions for spec in specs)),
        schedules=_schedules(uses),
        strengths=tuple((use.vector, use.strength) for use in uses if _pushes(use) and use.strength),
        subtracts=bool(uses) and all(use.operator == "subtract" for use in uses),
    )


def _pushes(use: SteerSpec) -> bool:
    return use.operator in ("add", "subtract")


def _schedules(uses: Sequence[SteerSpec]) -> tuple[ScheduleSpec | None, ...]:
    """Return the schedules of the pushes; one that grows without end is searched as a constant one."""
    given = [use.schedule for use in uses if _pushes(use)]
    kept = [None if schedule is None or schedule.every is not None else schedule for schedule in given]
    return tuple(dict.fromkeys(kept)) or (None,)
