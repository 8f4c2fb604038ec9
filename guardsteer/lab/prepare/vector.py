"""One vector for one model: extracted, calibrated in the way that a policy uses it, published or refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from guardsteer.core.digests import digest_json
from guardsteer.errors import AssetError, GuardsteerError, VectorError
from guardsteer.host import Fingerprint
from guardsteer.lab.capture.captured import capture_pairs
from guardsteer.lab.capture.capturing import Capture
from guardsteer.lab.extraction.extract import extract, find_place_to_read
from guardsteer.lab.measure.measuring import Parts
from guardsteer.lab.measure.memory import Memory
from guardsteer.lab.pairs.contrast import Measure, Recipe, pairs_digest
from guardsteer.lab.pairs.prompts import prompts_digest
from guardsteer.lab.prepare.needs import Need
from guardsteer.lab.prepare.prepared import SEPARATION, Figures, Made, Old, read_made, write_made
from guardsteer.lab.prepare.search import Found, WindowFinder
from guardsteer.lab.prepare.settings import Settings, bounds_for, measure_for, prompts_for
from guardsteer.lab.prepare.windows import findings, inside
from guardsteer.lab.reports.report import calibration_page, save_page
from guardsteer.steer import Recommendation, Vector, load_vector, make_vector, recommend, save_vector
from guardsteer.steer.artifact import VectorCard

__all__ = ["VectorMaker"]

_UNCALIBRATED = (0.1, 0.2, 0.3)
_NOTE = "NOT CALIBRATED on its model: the block is the one that separates best, the strengths are a guess."
_RECORD = "calibration.json"


@dataclass(frozen=True, slots=True)
class _Job:
    """One vector to make: how it is judged, on what, and all that decides it."""

    need: Need
    recipe: Recipe
    measure: Measure | None
    parts: Parts | None
    plan: dict[str, Any]
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / f"{self.need.name}.safetensors"

    def unfinished(self, suffix: str) -> Path:
        return self.folder / f".unfinished-{digest_json(self.plan)[3:15]}.{suffix}"


@dataclass(slots=True)
class VectorMaker:
    """Makes the vectors of policies for one model; ``progress`` is told of every step."""

    model: Any
    tokenizer: Any
    identity: Fingerprint
    settings: Settings
    progress: Callable[[str], None]

    def make(self, need: Need, recipe: Recipe) -> Made:
        """Return what became of one vector; a failure is told, not raised."""
        folder = need.home / "artifacts" / self.identity.short
        try:
            job = self._job(need, recipe, folder)
        except AssetError as error:
            return Made(need.name, "failed", folder, reasons=tuple(str(error).splitlines()))
        if not self.settings.again and (there := self._there(job)) is not None:
            self.progress(f"{need.name}: {there.state}")
            return self._judged(job, there)
        try:
            found = self._build(job)
        except (VectorError, AssetError) as error:
            found = Made(need.name, "failed", job.path, reasons=tuple(str(error).splitlines()))
        if found.state == "failed":
            _remove(job.path)
        done = replace(found, old=self._old(need), plan=job.plan)
        write_made(folder, done)
        for left in folder.glob(".unfinished-*"):
            left.unlink()
        self.progress(f"{need.name}: {done.state}")
        return self._judged(job, done)

    def _job(self, need: Need, recipe: Recipe, folder: Path) -> _Job:
        measure = measure_for(recipe, self.settings)
        parts = None if measure is None else prompts_for(recipe, need.recipe, measure, self.settings)
        return _Job(need, recipe, measure, parts, self._plan(need, recipe, measure, parts), folder)

    def _plan(
        self, need: Need, recipe: Recipe, measure: Measure | None, parts: Parts | None
    ) -> dict[str, Any]:
        """Return all that decides what is made; what was made by another plan is made anew."""
        plan = {
            "data": pairs_digest(recipe.pairs),
            "read": recipe.read,
            "site": need.site,
            "chosen_by": SEPARATION if measure is None else measure.metric,
        }
        if measure is None or parts is None:
            return {**plan, "study": None}
        chosen = self.settings
        uses = [need.blocks, need.positions, repr(need.schedules), need.subtracts, measure.up]
        how = [repr(bounds_for(measure, chosen)), chosen.strengths, chosen.sweep_strengths, chosen.schedules]
        sizes = [chosen.controls, chosen.new_tokens, chosen.seed, chosen.gates]
        prompts = [prompts_digest(parts.tuning), prompts_digest(parts.test)]
        return {**plan, "study": digest_json([uses, how, sizes, prompts])}

    # --- what is there ------------------------------------------------------------------------

    def _there(self, job: _Job) -> Made | None:
        before = read_made(job.folder)
        if before is not None and before.plan == job.plan:
            if before.state == "failed":
                return replace(before, path=job.path, notes=("as found before; --again tries once more",))
            if (vector := self._bound(job.path)) is not None and vector.digest == before.digest:
                return replace(before, path=job.path, state="there")
        return self._shipped(job) if before is None else None

    def _shipped(self, job: _Job) -> Made | None:
        """Return the vector that came with its recipe, if it came with the record of its calibration."""
        shipped = job.need.recipe / "artifacts" / self.identity.short / job.path.name
        vector = self._bound(shipped)
        recorded = any((place / _RECORD).is_file() for place in (shipped.parent, job.need.recipe))
        if vector is None or vector.card.recommended is None or not recorded:
            return None
        if vector.card.data_digest != pairs_digest(job.recipe.part("extraction")):
            return None
        if shipped != job.path:
            job.folder.mkdir(parents=True, exist_ok=True)
            for file in (shipped, shipped.with_suffix(".json")):
                shutil.copyfile(file, job.folder / file.name)
        by = "the one who published it"
        return Made(job.need.name, "shipped", job.path, "vector", vector.digest, by, vector.card.recommended)

    def _bound(self, path: Path) -> Vector | None:
        """Return the vector at ``path``, None where there is none that is whole and of this model."""
        try:
            return load_vector(path, fingerprint=self.identity) if path.is_file() else None
        except VectorError:
            return None

    def _judged(self, job: _Job, made: Made) -> Made:
        """Return ``made`` with what of the policy is outside its window."""
        if made.window is None or made.chosen_by == SEPARATION:
            return made
        vector = self._bound(made.path)
        norms = [] if vector is None else [vector.residual_norm(block) for block in made.window.blocks]
        beyond, unmeasured = findings(job.need.uses, made.window, norms)
        within = inside(job.need.uses, made.window, norms)
        return replace(made, outside=beyond, inside=within, notes=(*made.notes, *unmeasured))

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
            record = read_made(path.parent)
            figures = record.figures if record is not None else None
            return Old(path.parent.name, card.recommended, tuple(differs), figures)
        return None

    # --- what is built ------------------------------------------------------------------------

    def _build(self, job: _Job) -> Made:
        self.progress(f"{job.need.name}: extracting from {len(job.recipe.part('extraction'))} pairs")
        vector = self._extracted(job)
        if job.measure is None:
            marked = _by_separation(vector, job.need)
            save_vector(marked, job.path)
            found = Made(job.need.name, "built", job.path, digest=marked.digest, chosen_by=SEPARATION)
            return replace(found, window=marked.card.recommended)
        if job.parts is None:
            raise VectorError(f"recipe {job.recipe.name!r} has no prompts to calibrate on")
        with Memory(job.unfinished("jsonl")) as memory:
            finder = WindowFinder(self.model, self.tokenizer, self.settings, memory, self.progress)
            window = finder.find(job.need, vector, job.measure, job.parts)
        return self._published(job, vector, window)

    def _published(self, job: _Job, vector: Vector, found: Found) -> Made:
        calibration = found.calibration
        calibration.save(job.folder)
        save_page(job.folder / "calibration.html", calibration_page(calibration))
        made = Made(job.need.name, "failed", job.path, chosen_by=calibration.goal, notes=found.notes)
        if calibration.held_out is not None:
            held_out = calibration.held_out.measured
            random = tuple(each.value for each in calibration.held_out.controls)
            made = replace(made, figures=Figures(held_out.gain, held_out.perplexity_ratio, random))
        if not calibration.verdict.publish:
            return replace(made, reasons=calibration.verdict.reasons)
        published = calibration.publish(vector)
        save_vector(published, job.path)
        return replace(made, state="built", digest=published.digest, window=published.card.recommended)

    def _extracted(self, job: _Job) -> Vector:
        """Return the vector; what a stopped run has read of the pairs is not read again."""
        recipe, size = job.recipe, self.settings.batch_size
        place = find_place_to_read(self.model, recipe, site=job.need.site)
        capture = Capture(self.model, self.tokenizer, place.layout, place.points, (place.rule,), size)
        path = job.unfinished("part")
        path.parent.mkdir(parents=True, exist_ok=True)
        pairs = recipe.part("extraction")
        if not pairs:
            raise VectorError(f"recipe {recipe.name!r} has no pairs in the extraction part of its split")
        read = capture_pairs(capture, pairs, model=self.identity.digest, path=path)
        return extract(self.model, self.tokenizer, recipe, site=job.need.site, batch_size=size, captured=read)


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


def _remove(path: Path) -> None:
    for file in (path, path.with_suffix(".json")):
        file.unlink(missing_ok=True)
