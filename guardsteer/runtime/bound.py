"""What a policy names, loaded for one model; all that is not bound to it is told at once, with the remedy."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from guardsteer.assets import Catalog, homes, resolve
from guardsteer.classify import Probe, load_classifier, load_folder
from guardsteer.classify.placing import placed
from guardsteer.core.policy import ClassifierSpec, Policy, VectorSpec
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import BindingError, VectorError
from guardsteer.host import Fingerprint
from guardsteer.steer import Vector, find_artifact, load_vector

__all__ = ["PREPARED", "Loader", "prepare_command"]

T = TypeVar("T")

PREPARED = "prepared.json"
"""The file that marks a root of assets which ``prepare`` wrote."""

_OUT = "prepared"
_CARD = "classifier.json"
_OTHERS = 3
_LONG = 40


@dataclass(slots=True)
class Loader:
    """Loads what policies name for the model of ``identity``; ``finish`` raises what was missing."""

    catalog: Catalog
    identity: Fingerprint
    missing: list[tuple[str, VectorError]] = field(default_factory=list)

    def classifiers(
        self, policy: Policy, given: Mapping[str, TextClassifier | Probe]
    ) -> dict[str, TextClassifier | Probe]:
        """Return the policy's classifiers by name, without those that are missing."""
        base = Path(policy.source).parent
        found = {
            spec.name: _given(spec, given)
            or self._try(f"classifier {spec.name!r}", lambda spec=spec: self._classifier(spec, base))  # type: ignore[misc]  # the default binds it now
            for spec in policy.classifiers
            if spec.combine is None
        }
        return {name: classifier for name, classifier in found.items() if classifier is not None}

    def vectors(self, policy: Policy, given: Mapping[str, Vector]) -> list[tuple[VectorSpec, Vector]]:
        """Return the policy's vectors in their order, without those that are missing."""
        base = Path(policy.source).parent
        found = [
            (
                spec,
                given.get(spec.name)
                or self._try(f"vector {spec.name!r}", lambda spec=spec: self._vector(spec, base)),  # type: ignore[misc]  # the default binds it now
            )
            for spec in policy.vectors
        ]
        return [(spec, vector) for spec, vector in found if vector is not None]

    def finish(self, model: Any, policy: Policy) -> None:
        """Return if nothing was missing.

        Raises ``BindingError`` where something belongs to another model, else ``VectorError``; both name all
        that is missing and the command that builds it.
        """
        if not self.missing:
            return
        told = [f"policy {policy.name!r} is not prepared for this model ({self.identity.short}):"]
        told += [f"  {name}: {_indented(error)}" for name, error in self.missing]
        told += prepare_command(model, policy, self.catalog, self.identity)
        bound = any(isinstance(error, BindingError) for _, error in self.missing)
        raise (BindingError if bound else VectorError)("\n".join(told))

    def _try(self, name: str, load: Callable[[], T]) -> T | None:
        try:
            return load()
        except VectorError as error:
            self.missing.append((name, error))
            return None

    def _classifier(self, spec: ClassifierSpec, base: Path) -> TextClassifier | Probe:
        if spec.use is not None:
            folder = resolve("classifiers", spec.use, base, self.catalog)
            folder = folder if folder.is_dir() else folder.parent
            for home in homes("classifiers", spec.use, folder, self.catalog):
                prepared = home / "artifacts" / self.identity.short
                if (prepared / _CARD).is_file():
                    return self._checked(load_folder(prepared))
            if not (folder / _CARD).is_file():
                raise VectorError(f"{folder}: no probe for model {self.identity.short}; there is none yet")
        return self._checked(load_classifier(spec, base, self.catalog))

    def _checked(self, found: TextClassifier | Probe) -> TextClassifier | Probe:
        if isinstance(found, Probe):
            found.check(self.identity)
        return found

    def _vector(self, spec: VectorSpec, base: Path) -> Vector:
        path = resolve("vectors", spec.use, base, self.catalog)
        if path.is_dir():
            places = homes("vectors", spec.use, path, self.catalog)
            try:
                path = find_artifact(path, self.identity, places=places, mend=False)
            except BindingError as error:
                raise BindingError("\n".join([str(error), *self._others(path, places)])) from error
            return load_vector(path, fingerprint=self.identity, mend=False)
        try:
            return load_vector(path, fingerprint=self.identity, mend=False)
        except BindingError as error:
            more = "it is named by its file, which nothing makes anew: name the folder of its recipe instead"
            raise BindingError(f"{error}\n{more}") from error

    def _others(self, folder: Path, places: Sequence[Path]) -> Iterator[str]:
        """Yield in which parts the models of the artifacts that there are differ from this one."""
        files = [path for place in places for path in place.glob(f"artifacts/*/{folder.name}.safetensors")]
        for path in sorted(files, key=lambda each: each.stat().st_mtime)[-_OTHERS:]:
            try:
                parts = load_vector(path, fingerprint=None).card.model.model_dump()
            except VectorError:
                continue
            ours = self.identity.parts()
            told = [
                f"{name} ({value}, here {ours[name]})" if len(str(value)) < _LONG else name
                for name, value in parts.items()
                if ours[name] != str(value)
            ]
            yield f"the model of {path.parent.name} differs in {', '.join(told)}"


def _given(
    spec: ClassifierSpec, given: Mapping[str, TextClassifier | Probe]
) -> TextClassifier | Probe | None:
    found = given.get(spec.name)
    return None if found is None else placed(spec, found)


def prepare_command(model: Any, policy: Policy, catalog: Catalog, identity: Fingerprint) -> Sequence[str]:
    """Return lines with the command that prepares ``policy`` for ``model``, and what to do then."""
    name = str(getattr(getattr(model, "config", None), "_name_or_path", "") or "")
    source = policy.source if Path(policy.source).exists() else ""
    out = next((str(root) for root in catalog.given if (root / PREPARED).is_file()), _OUT)
    words = [
        "guardsteer",
        "prepare",
        "--model",
        name or "MODEL",
        "--policy",
        source or "POLICY",
        "--out",
        out,
    ]
    run = ["--assets", out]
    if "+" not in identity.dtype:
        words += ["--dtype", identity.dtype]
        run += ["--dtype", identity.dtype]
    for root in catalog.given:
        words += ["--assets", str(root)] if str(root) != out else []
    absent = [
        text
        for text, given in (
            ("MODEL is the folder that this model's save_pretrained wrote", name),
            ("POLICY is the file of this policy", source),
        )
        if not given
    ]
    return [
        "This builds what is missing:",
        f"  {shlex.join(words)}",
        *(f"  ({text})" for text in absent),
        f"then give {out!r} as one of wrap's assets, or this to guardsteer run: {shlex.join(run)}",
    ]


def _indented(error: VectorError) -> str:
    return str(error).replace("\n", "\n    ")
