"""What a policy needs of a model: each vector and probe that can be made for one, and how it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from guardsteer.assets import Catalog, Kind, find_policy, home_key, is_path, resolve
from guardsteer.assets.homes import SOURCES
from guardsteer.classify import outputs_of
from guardsteer.classify.files.card import CARD_FILE, ProbeCard, read_card
from guardsteer.core.policy import ClassifierSpec, Policy, Position, ScheduleSpec, Site, VectorSpec
from guardsteer.errors import AssetError, GuardsteerError, VectorError
from guardsteer.lab.prepare.windows import Use, uses_of
from guardsteer.rules import load_policy

__all__ = ["Need", "ProbeNeed", "needs_of", "probe_needs_of", "read_policy"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Need:
    """One recipe, with everything that a policy does with its vector.

    ``home``: folder below which the artifact belongs, where ``wrap`` finds it. ``positions`` and
    ``schedules``: every set of positions and every schedule that the policy uses. ``subtracts``: it is only
    ever subtracted, so that less of the trait is the goal.
    """

    name: str
    recipe: Path
    home: Path
    site: Site
    blocks: tuple[int, ...] | None
    positions: tuple[tuple[Position, ...], ...]
    schedules: tuple[ScheduleSpec | None, ...]
    uses: tuple[Use, ...]
    subtracts: bool


@dataclass(frozen=True, slots=True)
class ProbeNeed:
    """One probe. ``made_from``: it says in a ``probe.yaml`` how it is made for a model."""

    name: str
    folder: Path
    home: Path
    made_from: bool


def read_policy(policy: str | Path, catalog: Catalog) -> Policy:
    """Return a policy by path or name. Raises ``PolicyError`` and ``AssetError``."""
    path = find_policy(policy, catalog)
    base = path if path.is_dir() else path.parent
    return load_policy(path, outputs=lambda spec: outputs_of(spec, base, catalog))


def needs_of(policy: Policy, catalog: Catalog, out: Path | None) -> tuple[Need, ...]:
    """Return what ``policy`` needs, in its order, each recipe once; what it names by file is left alone.

    Artifacts belong below ``out/vectors``, or into the recipes' own folders where it is None. Raises
    ``AssetError`` with every vector that is not there or has no recipe, and ``VectorError`` where one recipe
    is wanted at two sites.
    """
    base = Path(policy.source).parent
    found: dict[tuple[Path, Path], list[VectorSpec]] = {}

    def look(spec: VectorSpec) -> None:
        folder = _folder("vectors", spec.use, base, catalog)
        if folder.is_file():
            return
        if not (folder / SOURCES["vectors"][0]).is_file():
            raise AssetError(f"{folder} holds no recipe.yaml, so its vector cannot be made for another model")
        found.setdefault((folder, _home("vectors", spec.use, folder, out)), []).append(spec)

    _each(policy, "vector", [(spec.name, spec) for spec in policy.vectors], look)
    return tuple(_need(policy, folder, home, specs) for (folder, home), specs in found.items())


def probe_needs_of(policy: Policy, catalog: Catalog, out: Path | None) -> tuple[ProbeNeed, ...]:
    """Return the probes of ``policy``, in its order, each once.

    Raises ``AssetError`` with every classifier that is not there or whose card is damaged.
    """
    base = Path(policy.source).parent
    found: dict[Path, ProbeNeed] = {}

    def look(spec: ClassifierSpec) -> None:
        if spec.use is None:
            return
        folder = _folder("classifiers", spec.use, base, catalog)
        folder = folder.parent if folder.is_file() else folder
        made_from = (folder / SOURCES["classifiers"][0]).is_file()
        if not made_from and not isinstance(read_card(folder), ProbeCard):
            return
        if made_from and (folder / CARD_FILE).is_file():
            read_card(folder)
        home = _home("classifiers", spec.use, folder, out)
        found.setdefault(home, ProbeNeed(folder.name, folder, home, made_from))

    _each(policy, "classifier", [(spec.name, spec) for spec in policy.classifiers], look)
    return tuple(found.values())


def _each(policy: Policy, kind: str, specs: Sequence[tuple[str, T]], look: Callable[[T], None]) -> None:
    problems = []
    for name, spec in specs:
        try:
            look(spec)
        except GuardsteerError as error:
            problems.append(f"{policy.source}: {kind} {name!r}: {error}")
    if problems:
        raise AssetError("\n".join(problems))


def _folder(kind: Kind, use: str, base: Path, catalog: Catalog) -> Path:
    """Return the folder that an asset is made from, or the path that names it."""
    if not is_path(use):
        # A root that was prepared before holds artifacts without a recipe and stands before the recipe.
        places = [root / kind / use for root in catalog.roots]
        holding = next((place for place in places if (place / SOURCES[kind][0]).is_file()), None)
        if holding is not None:
            return holding
    return resolve(kind, use, base, catalog)


def _home(kind: Kind, use: str, folder: Path, out: Path | None) -> Path:
    key = home_key(kind, use, folder)
    return folder if out is None else out / kind / (key or folder.name)


def _need(policy: Policy, folder: Path, home: Path, specs: Sequence[VectorSpec]) -> Need:
    names = {spec.name for spec in specs}
    sites = {spec.site or "block_output" for spec in specs}
    if len(sites) > 1:
        raise VectorError(
            f"{policy.source}: {', '.join(sorted(names))} want the recipe {folder.name} at "
            f"{' and '.join(sorted(sites))}; one artifact has one site. Copy the recipe under another name"
        )
    operators = {steer.operator for rule in policy.rules for steer in rule.steer if steer.vector in names}
    blocks = {block for spec in specs for block in spec.blocks or ()}
    chosen = tuple(sorted(blocks)) if all(spec.blocks is not None for spec in specs) else None
    uses = uses_of(policy, specs)
    return Need(
        name=folder.name,
        recipe=folder,
        home=home,
        site=next(iter(sites)),
        blocks=chosen,
        positions=tuple(dict.fromkeys(spec.positions for spec in specs)),
        schedules=_schedules(uses),
        uses=uses,
        subtracts=operators == {"subtract"},
    )


def _schedules(uses: Sequence[Use]) -> tuple[ScheduleSpec | None, ...]:
    """Return the schedules of the pushes; one that grows without end is searched as a constant one."""
    given = [use.schedule for use in uses]
    kept = [None if schedule is None or schedule.every is not None else schedule for schedule in given]
    return tuple(dict.fromkeys(kept)) or (None,)
