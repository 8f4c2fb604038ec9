"""Put a guard on a model: find its parts, load what the policy names, check that steering works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from guardsteer import __version__
from guardsteer.assets import Catalog, find_policy, resolve
from guardsteer.audit import Journal, open_journal
from guardsteer.classify import Probe, load_classifier, outputs_of
from guardsteer.core.plan import Plan
from guardsteer.core.policy import ClassifierSpec, Policy, VectorSpec
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import BindingError, VectorError
from guardsteer.host import Fingerprint, Layout, check_model, check_steering, find_layout, fingerprint
from guardsteer.rules import load_policy
from guardsteer.rules.compiling import compile_policy
from guardsteer.rules.program import Program
from guardsteer.runtime.auditing import Auditor
from guardsteer.runtime.guard import Guard
from guardsteer.runtime.kit import Kit
from guardsteer.runtime.probing import PlacedProbe
from guardsteer.runtime.row import Reading, RowKit
from guardsteer.runtime.text import Vocabulary
from guardsteer.steer import Vector, check_binding, find_artifact, load_vector
from guardsteer.steer.deltas import Composer, Slot

__all__ = ["wrap"]


def wrap(
    model: Any,
    tokenizer: Any,
    *,
    policy: Policy | str | Path,
    audit: Journal | str | Path | None = None,
    blocks: str | None = None,
    assets: Sequence[Path | str] = (),
    vectors: Mapping[str, Vector] | None = None,
    classifiers: Mapping[str, TextClassifier | Probe] | None = None,
) -> Guard:
    """Put ``model`` under ``policy`` and return the guard; the weights are never touched.

    ``policy`` is a YAML file, a folder that holds ``policy.yaml``, the name of one that ships, or a
    loaded policy. ``audit`` is the
    folder of the log, or an open journal to share; None keeps no log. ``blocks`` names the list of decoder
    blocks (``"model.layers"``) where it is not found by itself. ``assets`` are folders to look for
    classifiers and vectors in before those that ship. ``vectors`` and ``classifiers`` give
    some of what the policy names as objects, instead of loading it.

    Raises ``PolicyError``, ``AssetError``, ``BindingError`` (a vector of another model), ``LayoutError``,
    ``UnsupportedError`` and ``HostError`` (a hook without effect downstream); the model is then as it was.
    """
    check_model(model)
    layout = find_layout(model, blocks=blocks)
    identity = fingerprint(model, tokenizer, blocks=blocks)
    catalog = Catalog([Path(root) for root in assets])
    own = classifiers or {}
    loaded = policy if isinstance(policy, Policy) else _load(find_policy(policy, catalog), catalog, own)
    base = Path(loaded.source).parent
    readers: dict[str, TextClassifier | Probe] = {
        spec.name: own.get(spec.name) or _classifier(spec, base, catalog, identity)
        for spec in loaded.classifiers
    }
    given = vectors or {}
    for vector in given.values():
        check_binding(vector, identity)
    slots = [
        _slot(spec, given.get(spec.name) or _load_vector(spec, base, catalog, identity), layout)
        for spec in loaded.vectors
    ]
    kit = _kit(loaded, tokenizer, layout, identity, readers, slots)
    check_steering(model, layout, kit.composer.blocks)
    journal = audit if isinstance(audit, Journal) or audit is None else open_journal(Path(audit))
    auditor = Auditor(journal, kit, owned=journal is not audit, library=__version__)
    return Guard(model, tokenizer, kit, auditor)


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
        probes=_placed(probes, program),
        fallback=tuple(tokenizer(policy.fallback, add_special_tokens=False)["input_ids"])
        if policy.fallback
        else (),
        classifier_digests={name: found.digest for name, found in classifiers.items()},
        requested=program.requested,
    )


def _placed(probes: Mapping[str, Probe], program: Program) -> tuple[PlacedProbe, ...]:
    """Return the probes that some flag or rule waits for; nothing hooks the others."""
    deepest = program.decision_block
    return tuple(
        PlacedProbe(probe, _signals(name, probe.outputs, program))
        for name, probe in probes.items()
        if deepest is not None and probe.block <= deepest
    )


def _readings(
    policy: Policy, classifiers: Mapping[str, TextClassifier | Probe], program: Program
) -> tuple[Reading, ...]:
    readings = []
    for spec in policy.classifiers:
        found = classifiers[spec.name]
        if isinstance(found, Probe):
            continue
        slots = _signals(spec.name, found.outputs, program)
        readings.append(Reading(spec.name, spec.on, found, slots[0], slots[-1] + 1))
    return tuple(readings)


def _signals(name: str, outputs: Sequence[str], program: Program) -> tuple[int, ...]:
    return tuple(program.signal_index[f"{name}.{output}"] for output in outputs)
