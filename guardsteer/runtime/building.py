"""From a policy to a kit: load what it names, for one model, and compile it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from guardsteer.assets import Catalog, find_policy
from guardsteer.cases import CASES_FILE, find_cases, load_cases, run_cases
from guardsteer.classify import Probe, outputs_of
from guardsteer.classify.combined.signal_blend import SignalBlend, blends_of
from guardsteer.classify.pace.guarded import guarded
from guardsteer.classify.placing import placed as placed_by
from guardsteer.core.plan import Plan
from guardsteer.core.policy import Binding, ClassifierSpec, Policy
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import PolicyError, Problem, SignatureError
from guardsteer.host import Fingerprint, Layout, check_retraction, check_steering
from guardsteer.rules import load_binding, load_policy
from guardsteer.rules.compiling import compile_policy
from guardsteer.rules.program import Program
from guardsteer.rules.signing import load_binding_signed, load_policy_signed
from guardsteer.runtime.bound import Loader
from guardsteer.runtime.fights import warn_of_fights
from guardsteer.runtime.joining import join, joins
from guardsteer.runtime.kit import Kit
from guardsteer.runtime.probing import PlacedProbe
from guardsteer.runtime.row import Reading, RowKit
from guardsteer.runtime.text import Vocabulary
from guardsteer.steer import Vector, check_binding
from guardsteer.steer.composing import Composer
from guardsteer.steer.slots import Placed, make_slots, place_vector

__all__ = ["Builder"]

Found: TypeAlias = "TextClassifier | Probe | SignalBlend"


@dataclass(frozen=True, slots=True)
class Builder:
    """What it takes to build the kit of any policy for one model; no state, usable from any thread.

    ``vectors`` and ``classifiers`` stand for some of what policies name, instead of loading it.
    ``binding`` stands in the place of a policy's own. ``trusted``: a policy or binding file must be signed
    by this key, or one in this folder. ``explain``: rows tell of every comparison. ``candidates`` run beside
    whatever policy is built.
    """

    model: Any
    tokenizer: Any
    layout: Layout
    fingerprint: Fingerprint
    catalog: Catalog
    vectors: Mapping[str, Vector]
    classifiers: Mapping[str, TextClassifier | Probe]
    binding: Binding | Path | None = None
    trusted: Path | None = None
    explain: bool = False
    candidates: Mapping[str, Kit] = field(default_factory=dict)

    def policy(self, policy: Policy | str | Path) -> Policy:
        """Return the loaded policy with the binding that holds; a string or path is looked up first."""
        if not isinstance(policy, Policy):
            policy = self._load(find_policy(policy, self.catalog))
        elif self.trusted is not None and policy.approval is None:
            message = f"the policy {policy.name} was handed over unsigned; give the path of a signed one"
            raise SignatureError("unsigned", message)
        return policy if self.binding is None else replace(policy, binding=self._bound(policy, self.binding))

    def build(self, policy: Policy, *, tested: bool = False, required: bool = False) -> Kit:
        """Return the kit of ``policy``; runs the model once to see that steering takes effect.

        Warns of vectors that fight (``VectorsFightWarning``).
        ``tested``: the cases beside it must pass; ``required``: there must be some. Raises what
        ``guardsteer.wrap`` raises, and ``PolicyError`` for cases.
        """
        for vector in self.vectors.values():
            check_binding(vector, self.fingerprint)
        loader = Loader(self.catalog, self.fingerprint)
        readers = loader.classifiers(policy, self.classifiers)
        blends = blends_of(policy, {name: found.digest for name, found in readers.items()})
        vectors = loader.vectors(policy, self.vectors)
        loader.finish(self.model, policy)
        if tested:
            _run_cases(policy, {**readers, **blends}, required=required)
        placed = [place_vector(spec, vector, self.layout) for spec, vector in vectors]
        warn_of_fights(policy, {spec.name: vector for spec, vector in vectors}, placed)
        kit = _kit(policy, self.tokenizer, self.layout, self.fingerprint, {**readers, **blends}, placed)
        rows = replace(kit.rows, explain=self.explain)
        kit = replace(kit, rows=rows, candidates=self.candidates)
        check_steering(self.model, self.layout, kit.composer.points)
        if kit.revises:
            check_retraction(self.model, self.layout)
        return kit

    def _load(self, path: Path) -> Policy:
        base = path if path.is_dir() else path.parent

        def outputs(spec: ClassifierSpec) -> tuple[str, ...]:
            given = self.classifiers.get(spec.name)
            return given.outputs if given is not None else outputs_of(spec, base, self.catalog)

        if self.trusted is not None:
            return load_policy_signed(path, self.trusted, outputs)
        return load_policy(path, outputs=outputs)

    def _bound(self, policy: Policy, binding: Binding | Path) -> Binding:
        if isinstance(binding, Path):
            if self.trusted is not None:
                return load_binding_signed(binding, self.trusted, policy)
            return load_binding(binding, policy)
        rules = {rule.id for rule in policy.rules}
        strange = [name for name, _ in binding.rules if name not in rules]
        if strange:
            named = ", ".join(strange)
            raise PolicyError(f"the binding names rules that the policy {policy.name} does not have: {named}")
        return binding


def _run_cases(policy: Policy, readers: Mapping[str, Found], *, required: bool) -> None:
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


def _kit(
    policy: Policy,
    tokenizer: Any,
    layout: Layout,
    identity: Fingerprint,
    classifiers: Mapping[str, Found],
    placed: Sequence[Placed],
) -> Kit:
    classifiers = {spec.name: placed_by(spec, classifiers[spec.name]) for spec in policy.classifiers}
    probes = {name: found for name, found in classifiers.items() if isinstance(found, Probe)}
    blocks = {name: probe.block for name, probe in probes.items()}
    waiting = {
        name: block
        for name, found in classifiers.items()
        if isinstance(found, SignalBlend) and (block := found.block(blocks)) is not None
    }
    program = compile_policy(
        policy,
        {name: found.outputs for name, found in classifiers.items()},
        probes={**blocks, **waiting},
        vector_blocks={vector.spec.name: vector.blocks for vector in placed},
        vector_sites={vector.spec.name: vector.site for vector in placed},
        alpha_to_strength={vector.spec.name: vector.strength_of_alpha for vector in placed},
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
            counting=program.needs_sentences or bool(program.revises),
            joining=join(policy.classifiers, classifiers, program.signal_index, frozenset(waiting)),
            revising={
                rule: spec for rule, spec in program.revises.items() if program.modes[rule] == "enforce"
            },
        ),
        layout=layout,
        fingerprint=identity,
        composer=Composer(make_slots(placed, channels), policy.budget),
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


def _readings(policy: Policy, classifiers: Mapping[str, Found], program: Program) -> tuple[Reading, ...]:
    readings = []
    for spec in policy.classifiers:
        found = classifiers[spec.name]
        if isinstance(found, Probe | SignalBlend) or joins(spec, found):
            continue
        slots = _signals(spec.name, found.outputs, program)
        readings.append(Reading(spec.name, spec.on, guarded(spec, found), slots[0], slots[-1] + 1))
    return tuple(readings)


def _signals(name: str, outputs: Sequence[str], program: Program) -> tuple[int, ...]:
    return tuple(program.signal_index[f"{name}.{output}"] for output in outputs)
