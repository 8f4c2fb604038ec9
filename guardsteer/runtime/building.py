"""From a policy to a kit: load what it names, for one model, and compile it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from guardsteer.assets import Catalog, find_policy, resolve
from guardsteer.cases import CASES_FILE, find_cases, load_cases, run_cases
from guardsteer.classify import Probe, load_classifier, outputs_of
from guardsteer.classify.guarded import guarded
from guardsteer.core.plan import Plan
from guardsteer.core.policy import ClassifierSpec, Policy, VectorSpec
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import BindingError, PolicyError, Problem, VectorError
from guardsteer.host import Fingerprint, Layout, check_steering
from guardsteer.rules import load_policy
from guardsteer.rules.compiling import compile_policy
from guardsteer.rules.program import Program
from guardsteer.runtime.kit import Kit
from guardsteer.runtime.probing import PlacedProbe
from guardsteer.runtime.row import Reading, RowKit
from guardsteer.runtime.text import Vocabulary
from guardsteer.steer import Vector, check_binding, find_artifact, load_vector
from guardsteer.steer.deltas import Composer, Slot

__all__ = ["Builder"]


@dataclass(frozen=True, slots=True)
class Builder:
    """What it takes to build the kit of any policy for one model; no state, usable from any thread.

    ``vectors`` and ``classifiers`` stand for some of what policies name, instead of loading it.
    """

    model: Any
    tokenizer: Any
    layout: Layout
    fingerprint: Fingerprint
    catalog: Catalog
    vectors: Mapping[str, Vector]
    classifiers: Mapping[str, TextClassifier | Probe]

    def policy(self, policy: Policy | str | Path) -> Policy:
        """Return the loaded policy; a string or path is looked up first."""
        if isinstance(policy, Policy):
            return policy
        return _load(find_policy(policy, self.catalog), self.catalog, self.classifiers)

    def readers(self, policy: Policy) -> dict[str, TextClassifier | Probe]:
        """Return the policy's classifiers, by name."""
        base = Path(policy.source).parent
        return {
            spec.name: self.classifiers.get(spec.name)
            or _classifier(spec, base, self.catalog, self.fingerprint)
            for spec in policy.classifiers
        }

    def build(self, policy: Policy, *, tested: bool = False, required: bool = False) -> Kit:
        """Return the kit of ``policy``; runs the model once to see that steering takes effect.

        ``tested``: the cases beside it must pass; ``required``: there must be some. Raises what
        ``guardsteer.wrap`` raises, and ``PolicyError`` for cases.
        """
        base = Path(policy.source).parent
        readers = self.readers(policy)
        if tested:
            _run_cases(policy, readers, required=required)
        for vector in self.vectors.values():
            check_binding(vector, self.fingerprint)
        slots = [
            _slot(
                spec,
                self.vectors.get(spec.name) or _load_vector(spec, base, self.catalog, self.fingerprint),
                self.layout,
            )
            for spec in policy.vectors
        ]
        kit = _kit(policy, self.tokenizer, self.layout, self.fingerprint, readers, slots)
        check_steering(self.model, self.layout, kit.composer.blocks)
        return kit


def _run_cases(policy: Policy, readers: Mapping[str, TextClassifier | Probe], *, required: bool) -> None:
    path = find_cases(Path(policy.source))
    if path is None:
        if required:
            message = "this policy has no cases to try it by, and only tested ones are adopted"
            raise PolicyError([Problem(policy.source, 0, 0, message, f"write {CASES_FILE} beside it")])
        return
    cases = load_cases(path, policy, {name: found.outputs for name, found in readers.items()})
    report = run_cases(policy, cases, readers)
    if not report.ok:
        message = f"the policy does not pass its own cases:\n{report}"
        raise PolicyError([Problem(str(path), 0, 0, message, "mend it, or the case; policy test shows them")])


def _load(path: Path, catalog: Catalog, own: Mapping[str, TextClassifier | Probe]) -> Policy:
    base = path if path.is_dir() else path.parent

    def outputs(spec: ClassifierSpec) -> tuple[str, ...]:
        given = own.get(spec.name)
        return given.outputs if given is not None else outputs_of(spec, base, catalog)

    return load_policy(path, outputs=outputs)


def _classifier(
    spec: ClassifierSpec, base: Path, catalog: Catalog, identity: Fingerprint
) -> TextClassifier | Probe:
    found = load_classifier(spec, base, catalog)
    if isinstance(found, Probe):
        found.check(identity)
    return found


def _load_vector(spec: VectorSpec, base: Path, catalog: Catalog, identity: Fingerprint) -> Vector:
    path = resolve("vectors", spec.use, base, catalog)
    return load_vector(find_artifact(path, identity) if path.is_dir() else path, fingerprint=identity)


def _slot(spec: VectorSpec, vector: Vector, layout: Layout) -> Slot:
    recommended = vector.card.recommended
    chosen = spec.blocks if spec.blocks is not None else recommended.blocks if recommended else None
    if chosen is None:
        raise VectorError(
            f"vector {spec.name!r}: its card recommends no blocks; name some in the policy, "
            f"such as blocks: [{vector.blocks[len(vector.blocks) // 2]}]"
        )
    if vector.directions.shape[1] != layout.width or max(chosen) >= layout.n_blocks:
        raise BindingError(
            f"vector {spec.name!r}: width {vector.directions.shape[1]}, blocks {list(chosen)}, but the "
            f"model has width {layout.width} and {layout.n_blocks} blocks"
        )
    norms = {block: vector.residual_norm(block) for block in chosen}
    return Slot(
        name=spec.name,
        digest=vector.digest,
        pushes={
            block: torch.tensor(vector.direction(block), dtype=torch.float32) * norms[block]
            for block in chosen
        },
        norms=norms,
        positions=frozenset(spec.positions),
    )


def _kit(
    policy: Policy,
    tokenizer: Any,
    layout: Layout,
    identity: Fingerprint,
    classifiers: Mapping[str, TextClassifier | Probe],
    slots: Sequence[Slot],
) -> Kit:
    probes = {name: found for name, found in classifiers.items() if isinstance(found, Probe)}
    scale = {slot.name: len(slot.norms) / sum(slot.norms.values()) for slot in slots}
    program = compile_policy(
        policy,
        {name: found.outputs for name, found in classifiers.items()},
        probes={name: probe.block for name, probe in probes.items()},
        vector_blocks={slot.name: slot.blocks for slot in slots},
        alpha_to_strength=scale,
    )
    channels = program.channels
    idle = Plan((0.0,) * len(channels), (-1,) * len(channels))
    return Kit(
        policy=policy,
        program=program,
        rows=RowKit(
            program=program,
            readings=_readings(policy, classifiers, program),
            vocabulary=Vocabulary(tokenizer),
            idle=idle,
        ),
        layout=layout,
        fingerprint=identity,
        composer=Composer([slots[channel.vector] for channel in channels]),
        probes=_placed(policy, probes, program),
        fallback=tuple(tokenizer(policy.fallback, add_special_tokens=False)["input_ids"])
        if policy.fallback
        else (),
        classifier_digests={name: found.digest for name, found in classifiers.items()},
        requested=program.requested,
    )


def _placed(policy: Policy, probes: Mapping[str, Probe], program: Program) -> tuple[PlacedProbe, ...]:
    """Return the probes that some flag or rule waits for; nothing hooks the others."""
    deepest = program.decision_block
    placed: list[PlacedProbe] = []
    for spec in policy.classifiers:
        probe = probes.get(spec.name)
        if probe is None:
            continue
        if spec.deadline_ms is not None or spec.breaker is not None:
            raise PolicyError(
                f"classifier {spec.name!r}: it is a probe, which the pass itself computes, so it cannot "
                "be late nor left alone; remove deadline_ms and breaker"
            )
        if deepest is not None and probe.block <= deepest:
            slots = _signals(spec.name, probe.outputs, program)
            placed.append(PlacedProbe(probe, slots, spec.name, spec.on_error))
    return tuple(placed)


def _readings(
    policy: Policy, classifiers: Mapping[str, TextClassifier | Probe], program: Program
) -> tuple[Reading, ...]:
    readings = []
    for spec in policy.classifiers:
        found = classifiers[spec.name]
        if isinstance(found, Probe):
            continue
        slots = _signals(spec.name, found.outputs, program)
        readings.append(Reading(spec.name, spec.on, guarded(spec, found), slots[0], slots[-1] + 1))
    return tuple(readings)


def _signals(name: str, outputs: Sequence[str], program: Program) -> tuple[int, ...]:
    return tuple(program.signal_index[f"{name}.{output}"] for output in outputs)
