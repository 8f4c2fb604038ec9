"""One probe for one model: made anew from its ``probe.yaml``, or told how it could be."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from guardsteer.assets import Catalog, resolve
from guardsteer.classify import Probe, load_folder
from guardsteer.classify.files.card import CARD_FILE
from guardsteer.core.digests import digest_json
from guardsteer.errors import AssetError, ClassifierError, GuardsteerError
from guardsteer.host import Fingerprint
from guardsteer.lab.classifiers.data import Example, digest_examples, read_examples
from guardsteer.lab.classifiers.fitting import About, Training
from guardsteer.lab.extraction.extract import extract
from guardsteer.lab.pairs.contrast import Recipe, pairs_digest
from guardsteer.lab.prepare.needs import ProbeNeed
from guardsteer.lab.prepare.prepared import Made, read_made, write_made
from guardsteer.lab.prepare.settings import Settings
from guardsteer.lab.probes.of_text import train_text_probe
from guardsteer.lab.probes.of_vector import probe_of
from guardsteer.lab.probes.recipe import (
    PROBE_FILE,
    TEXTS_FILE,
    OfTexts,
    OfVector,
    ProbeRecipe,
    load_probe_recipe,
)
from guardsteer.lab.recipes.recipe import load_recipe

__all__ = ["ProbeMaker"]


@dataclass(slots=True)
class ProbeMaker:
    """Makes the probes of policies for one model; ``progress`` is told of every step."""

    model: Any
    tokenizer: Any
    identity: Fingerprint
    settings: Settings
    catalog: Catalog
    progress: Callable[[str], None]

    def make(self, need: ProbeNeed) -> Made:
        """Return what became of one probe; a failure is told, not raised."""
        if (given := self._fits(need.folder)) is not None:
            return Made(need.name, "shipped", need.folder, kind="probe", digest=given.digest)
        out = need.home / "artifacts" / self.identity.short
        try:
            if not need.made_from:
                raise ClassifierError(_unmakable(need.folder, load_folder(need.folder)))
            recipe = load_probe_recipe(need.folder)
            plan = self._plan(need.folder, recipe)
            before = read_made(out)
            there = self._fits(out)
            if before is not None and before.plan == plan and there is not None and not self.settings.again:
                self.progress(f"{need.name}: there")
                return replace(before, path=out, state="there")
            self.progress(f"{need.name}: making a probe")
            figures = self._build(need.folder, recipe, out)
        except AssetError as error:
            return Made(need.name, "failed", out, kind="probe", reasons=tuple(str(error).splitlines()))
        made = self._fits(out)
        done = Made(need.name, "built", out, kind="probe", digest=made.digest if made else "", plan=plan)
        done = replace(done, notes=(_told(figures), *self._replaced(need)))
        write_made(out, done)
        self.progress(f"{need.name}: built")
        return done

    def _fits(self, folder: Path) -> Probe | None:
        """Return the probe in ``folder``, None where there is none that is whole and of this model."""
        try:
            found = load_folder(folder) if (folder / CARD_FILE).is_file() else None
            if not isinstance(found, Probe):
                return None
            found.check(self.identity)
        except GuardsteerError:
            return None
        return found

    def _plan(self, folder: Path, recipe: ProbeRecipe) -> dict[str, Any]:
        """Return all that decides what is made."""
        if recipe.vector is not None:
            data = pairs_digest(self._recipe(folder, recipe.vector).pairs)
        else:
            data = digest_examples(_examples(folder))
        return {"data": data, "recipe": digest_json(recipe.model_dump(mode="json"))}

    def _recipe(self, folder: Path, of: OfVector) -> Recipe:
        return load_recipe(resolve("vectors", of.recipe, folder, self.catalog))

    def _build(self, folder: Path, recipe: ProbeRecipe, out: Path) -> Training:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Beside its place, so that a probe that could not be made replaces none.
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".unfinished-") as name:
            made = Path(name) / "probe"
            if recipe.vector is not None:
                found = self._of_vector(folder, recipe, recipe.vector, made)
            else:
                found = self._of_texts(folder, recipe, recipe.texts or OfTexts(positive=""), made)
            shutil.rmtree(out, ignore_errors=True)
            made.rename(out)
        return found

    def _of_vector(self, folder: Path, recipe: ProbeRecipe, of: OfVector, out: Path) -> Training:
        pairs = self._recipe(folder, of)
        size = self.settings.batch_size
        vector = extract(self.model, self.tokenizer, pairs, batch_size=size)
        return probe_of(
            self.model,
            self.tokenizer,
            pairs,
            vector,
            out,
            name=recipe.name,
            block=of.block,
            measure=of.measure,
            batch_size=size,
        )

    def _of_texts(self, folder: Path, recipe: ProbeRecipe, of: OfTexts, out: Path) -> Training:
        found = train_text_probe(
            self.model,
            self.tokenizer,
            _examples(folder),
            of,
            About(recipe.name, description=recipe.description, licence=recipe.licence),
            out,
            blocks=None if of.block is None else [of.block],
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
        )
        return found.training

    def _replaced(self, need: ProbeNeed) -> tuple[str, ...]:
        others = sorted(
            path.parent.name
            for path in need.home.glob(f"artifacts/*/{CARD_FILE}")
            if path.parent.name != self.identity.short
        )
        return (f"made for other models before: {', '.join(others)}",) if others else ()


def _examples(folder: Path) -> list[Example]:
    return read_examples(folder / TEXTS_FILE, text_column="text", label_column="label")


def _unmakable(folder: Path, found: Any) -> str:
    name = found.name if isinstance(found, Probe) else folder.name
    return (
        f"the probe {name} was trained on another model, and {folder} holds no {PROBE_FILE} that says how it "
        "is made\nput one there: of a vector, that names its recipe, or of labelled texts in texts.jsonl "
        "(docs/prepare.md); or make the probe with guardsteer vectors to-probe and name its folder"
    )


def _told(found: Training) -> str:
    figures = [_figure(name, figure) for name, figure in found.metrics.items() if name.endswith("auroc")]
    return f"on test data: {', '.join(figures)}" if figures else "made; its card has the figures"


def _figure(name: str, figure: Mapping[str, Any]) -> str:
    return f"{name} {figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
