"""Build, calibrate and bind every vector that a policy needs for a model, so that it runs there.

What is there, bound to this model, and made from this recipe in this way is not made again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from guardsteer.assets import Catalog
from guardsteer.classify import Probe, load_classifier
from guardsteer.core.policy import Policy
from guardsteer.errors import AssetError, BindingError, GuardsteerError, VectorError
from guardsteer.host import Fingerprint, fingerprint
from guardsteer.lab.calibrate import STRENGTHS, Place, Search, calibrate
from guardsteer.lab.calibration import Calibration
from guardsteer.lab.contrast import Recipe, pairs_digest
from guardsteer.lab.extract import extract
from guardsteer.lab.measuring import BOUNDS, Bounds, Goal, Parts, Study
from guardsteer.lab.metrics import metric_named
from guardsteer.lab.needs import Need, needs_of, read_policy
from guardsteer.lab.prepared import SEPARATION, Made, Old, Report, read_made, write_made
from guardsteer.lab.prompts import Prompt, few, recipe_prompts
from guardsteer.lab.recipe import load_recipe
from guardsteer.lab.report import calibration_page, save_page
from guardsteer.lab.sweep import STRENGTHS as SWEEP_STRENGTHS
from guardsteer.lab.sweep import sweep
from guardsteer.steer import Recommendation, Vector, load_vector, make_vector, recommend, save_vector
from guardsteer.steer.artifact import VectorCard

__all__ = ["Metrics", "Settings", "prepare"]

_PLACES = 2
_UNCALIBRATED = (0.1, 0.2, 0.3)
_NOTE = "NOT CALIBRATED on its model: the block is the one that separates best, the strengths are a guess."


@dataclass(frozen=True, slots=True)
class Metrics:
    """Which metric judges which recipe's vector; ``every``: all that have none of their own.

    A vector without a metric is not calibrated: its block is chosen by separation, and its report says so.
    ``python:`` metrics are the caller's code.
    """

    of: Mapping[str, str] = field(default_factory=dict)
    every: str | None = None

    def named(self, recipe: str) -> str | None:
        """Return the name of the metric for a recipe's vector."""
        return self.of.get(recipe, self.every)


@dataclass(frozen=True, slots=True)
class Settings:
    """How to prepare. ``prompts``: in place of the recipe's own. ``limit``: prompts of a part, at most.

    ``again``: make anew what is there, too.
    """

    metrics: Metrics = Metrics()
    bounds: Bounds = BOUNDS
    prompts: Parts | None = None
    strengths: tuple[float, ...] = STRENGTHS
    sweep_strengths: tuple[float, ...] = SWEEP_STRENGTHS
    controls: int = 3
    limit: int = 100
    new_tokens: int = 48
    batch_size: int = 32
    seed: int = 0
    again: bool = False


def prepare(
    model: Any,
    tokenizer: Any,
    policy: Policy | str | Path,
    out: Path,
    settings: Settings | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Build below ``out`` what ``policy`` needs for ``model`` and return what was done, vector by vector.

    Afterwards ``guardsteer.wrap(model, tokenizer, policy=policy, assets=[out])`` finds everything, if
    ``report.ok``. One vector's failure does not stop the others. Raises ``PolicyError`` and ``AssetError``
    for a policy or recipe that cannot be read, and ``HostError`` for a model.
    """
    chosen = settings or Settings()
    out.mkdir(parents=True, exist_ok=True)
    catalog = Catalog([out])
    read = policy if isinstance(policy, Policy) else read_policy(policy, catalog)
    needs = needs_of(read, catalog, out)
    recipes = {need.name: load_recipe(need.recipe) for need in needs}
    strange = set(chosen.metrics.of) - set(recipes)
    if strange:
        known = ", ".join(recipes) or "none"
        raise AssetError(f"metric for {', '.join(sorted(strange))}: the policy's recipes are {known}")
    identity = fingerprint(model, tokenizer)
    maker = _Maker(model, tokenizer, identity, chosen, progress)
    made = tuple(maker.make(need, recipes[need.name]) for need in needs)
    return Report(read.name, identity.short, out, made, _unbound(read, catalog, identity))


@dataclass(slots=True)
class _Maker:
    model: Any
    tokenizer: Any
    identity: Fingerprint
    settings: Settings
    progress: Callable[[str], None]

    def make(self, need: Need, recipe: Recipe) -> Made:
        """Return what became of one vector; a failure is told, not raised."""
        folder = need.home / "artifacts" / self.identity.short
        path = folder / f"{need.name}.safetensors"
        metric = self.settings.metrics.named(need.name)
        plan = self._plan(need, recipe, metric)
        if not self.settings.again and (there := self._there(need, path, recipe, plan)) is not None:
            self.progress(f"{need.name}: {there.state}")
            return there
        self.progress(f"{need.name}: extracting from {len(recipe.part('extraction'))} pairs")
        try:
            found = self._build(need, recipe, metric, folder)
        except (VectorError, BindingError, AssetError) as error:
            found = Made(need.name, "failed", path, reasons=tuple(str(error).splitlines()))
        if found.state == "failed":
            _remove(path)
        done = replace(found, old=self._old(need), notes=(*found.notes, *_outside(need, found)), plan=plan)
        write_made(folder, done)
        self.progress(f"{need.name}: {done.state}")
        return done

    def _plan(self, need: Need, recipe: Recipe, metric: str | None) -> dict[str, Any]:
        """Return all that decides what is made; what was made by another plan is made anew."""
        chosen = self.settings
        uses = [need.site, need.blocks, need.positions, repr(need.schedules), need.subtracts]
        prompts = None if chosen.prompts is None else repr(chosen.prompts)
        how = [chosen.bounds, chosen.strengths, chosen.sweep_strengths, chosen.controls, chosen.limit]
        sizes = [chosen.new_tokens, chosen.seed]
        study = None if metric is None else [repr(uses), repr(how), sizes, prompts]
        return {
            "data": pairs_digest(recipe.pairs),
            "read": recipe.read,
            "site": need.site,
            "chosen_by": metric or SEPARATION,
            "study": None if study is None else _digest(study),
        }

    def _there(self, need: Need, path: Path, recipe: Recipe, plan: dict[str, Any]) -> Made | None:
        before = read_made(path.parent)
        if before is not None and before.plan == plan:
            if before.state == "failed":
                return replace(before, path=path, notes=("as found before; --again tries once more",))
            if (vector := self._bound(path)) is not None and vector.digest == before.digest:
                return replace(before, path=path, state="there")
        shipped = need.recipe / "artifacts" / self.identity.short / path.name
        vector = self._bound(shipped) if before is None else None
        if vector is None or vector.card.recommended is None:
            return None
        if vector.card.data_digest != pairs_digest(recipe.part("extraction")):
            return None
        if shipped != path:
            path.parent.mkdir(parents=True, exist_ok=True)
            for file in (shipped, shipped.with_suffix(".json")):
                shutil.copyfile(file, path.parent / file.name)
        chosen_by = "the one who published it"
        made = Made(need.name, "shipped", path, vector.digest, chosen_by, vector.card.recommended)
        return replace(made, notes=_outside(need, made))

    def _bound(self, path: Path) -> Vector | None:
        """Return the vector at ``path``, None where there is none that is whole and of this model."""
        try:
            return load_vector(path, fingerprint=self.identity) if path.is_file() else None
        except (VectorError, BindingError):
            return None

    def _old(self, need: Need) -> Old | None:
        """Return the newest vector of another model in the same place."""
        others = [
            path
            for path in need.home.glob(f"artifacts/*/{need.name}.safetensors")
            if path.parent.name != self.identity.short
        ]
        for path in sorted(others, key=lambda each: each.stat().st_mtime, reverse=True):
            try:
                card = load_vector(path, fingerprint=None).card
            except GuardsteerError:
                continue
            parts = self.identity.parts()
            differs = [
                name for name, value in card.model.model_dump().items() if parts.get(name) != str(value)
            ]
            return Old(path.parent.name, card.recommended, tuple(differs))
        return None

    def _build(self, need: Need, recipe: Recipe, metric: str | None, folder: Path) -> Made:
        vector = extract(
            self.model,
            self.tokenizer,
            recipe,
            site=need.site,
            batch_size=self.settings.batch_size,
            blocks=None,
        )
        path = folder / f"{need.name}.safetensors"
        if metric is None:
            marked = _by_separation(vector, need)
            save_vector(marked, path)
            return Made(need.name, "built", path, marked.digest, SEPARATION, marked.card.recommended)
        found = self._calibrated(need, recipe, metric, vector)
        folder.mkdir(parents=True, exist_ok=True)
        found.save(folder)
        save_page(folder / "calibration.html", calibration_page(found))
        if not found.verdict.publish:
            return Made(need.name, "failed", path, chosen_by=metric, reasons=found.verdict.reasons)
        published = found.publish(vector)
        save_vector(published, path)
        gain = None if found.held_out is None else found.held_out.measured.gain
        card = published.card.recommended
        return Made(need.name, "built", path, published.digest, metric, card, gain=gain)

    def _calibrated(self, need: Need, recipe: Recipe, metric: str, vector: Vector) -> Calibration:
        """Return where, how strongly and how well the vector steers, in the way that the policy uses it."""
        chosen = self.settings
        prompts = chosen.prompts or Parts(*recipe_prompts(recipe))
        prompts = Parts(self._few(prompts.tuning), self._few(prompts.test))
        study = Study(Goal(metric, metric_named(metric), up=not need.subtracts), prompts)
        sizes = {"new_tokens": chosen.new_tokens, "batch_size": chosen.batch_size}
        swept = sweep(
            self.model,
            self.tokenizer,
            [vector],
            study,
            chosen.bounds,
            blocks=need.blocks,
            positions=need.positions,
            strengths=chosen.sweep_strengths,
            subtract=need.subtracts,
            seed=chosen.seed,
            progress=self.progress,
            **sizes,
        )
        places: tuple[Place, ...] = swept.places(vector.card.site, _PLACES)
        search = Search(
            places=places,
            strengths=chosen.strengths,
            schedules=need.schedules,
            subtract=need.subtracts,
            controls=chosen.controls,
            seed=chosen.seed,
        )
        return calibrate(
            self.model,
            self.tokenizer,
            vector,
            study,
            search,
            chosen.bounds,
            progress=self.progress,
            **sizes,
        )

    def _few(self, prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
        return few(prompts, self.settings.limit)


def _by_separation(vector: Vector, need: Need) -> Vector:
    """Return ``vector`` with the best separated block of the middle half on a card that says what it is."""
    n_blocks = vector.card.model.n_blocks
    separated = {row.block: row.cohens_d or 0.0 for row in vector.card.separation}
    # Early blocks separate words, late ones choose tokens: neither steers a trait reliably.
    middle = [block for block in vector.blocks if n_blocks // 4 <= block < n_blocks - n_blocks // 4]
    block = max(middle or vector.blocks, key=lambda each: separated.get(each, 0.0))
    blocks = need.blocks if need.blocks is not None else (block,)
    low, middle_strength, high = _UNCALIBRATED
    description = f"{vector.card.description} {_NOTE}".strip()
    fields = vector.card.model_dump(exclude={"tensors_digest", "digest"})
    card = VectorCard.model_validate({**fields, "description": description})
    marked = make_vector(card, directions=vector.directions, residual_norms=vector.residual_norms)
    guess = Recommendation(
        blocks=blocks, positions=need.positions[0], low=low, recommended=middle_strength, high=high
    )
    return recommend(marked, guess)


def _outside(need: Need, made: Made) -> tuple[str, ...]:
    """Return which strengths of the policy are beyond the window that was found."""
    window = made.window
    if window is None or made.chosen_by == SEPARATION:
        return ()
    return tuple(
        f"the policy pushes {name} by {strength:g}, outside its window {window.low:g} to {window.high:g}"
        for name, strength in need.strengths
        if not window.low <= strength <= window.high
    )


def _unbound(policy: Policy, catalog: Catalog, identity: Fingerprint) -> tuple[str, ...]:
    """Return which probes of the policy belong to another model; they are trained, not prepared."""
    found = []
    for spec in policy.classifiers:
        reader = load_classifier(spec, Path(policy.source).parent, catalog)
        if isinstance(reader, Probe):
            try:
                reader.check(identity)
            except BindingError as error:
                found.append(str(error))
    return tuple(found)


def _remove(path: Path) -> None:
    for file in (path, path.with_suffix(".json")):
        file.unlink(missing_ok=True)


def _digest(value: Any) -> str:
    from guardsteer.core.digests import digest_json

    return digest_json(value)
