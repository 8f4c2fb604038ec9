"""A policy to a program: conditions resolved against the outputs at hand, and what must wait for probes."""

from __future__ import annotations

from collections.abc import Mapping

from guardsteer.core.policy import Mode, Policy, Site, VectorSpec
from guardsteer.rules.assembling import assemble
from guardsteer.rules.blame import Blame
from guardsteer.rules.channels import find_channels, steer_loc, uses_of
from guardsteer.rules.checks import PATTERN_OUTPUTS
from guardsteer.rules.combine_checks import COMBINED_OUTPUTS
from guardsteer.rules.conditions import parse_condition
from guardsteer.rules.draft import Draft
from guardsteer.rules.names import Names, signal_mistake
from guardsteer.rules.places import listed, shown
from guardsteer.rules.program import Program
from guardsteer.rules.syntax import Condition, Constant

__all__ = ["compile_policy"]

_NO_BLOCKS: Mapping[str, int] = {}
_NO_VECTORS: Mapping[str, tuple[int, ...]] = {}
_NO_SITES: Mapping[str, Site] = {}
_NO_SCALES: Mapping[str, float] = {}


def compile_policy(
    policy: Policy,
    outputs: Mapping[str, tuple[str, ...]],
    *,
    probes: Mapping[str, int] = _NO_BLOCKS,
    vector_blocks: Mapping[str, tuple[int, ...]] = _NO_VECTORS,
    vector_sites: Mapping[str, Site] = _NO_SITES,
    alpha_to_strength: Mapping[str, float] = _NO_SCALES,
) -> Program:
    """Return the program of ``policy``.

    ``outputs`` names each classifier's scores, ``probes`` gives the block that a probe classifier
    reads, ``vector_blocks`` the blocks on which a vector acts and ``vector_sites`` where in
    them (the block's output where it is not named), ``alpha_to_strength`` a vector's
    strength per unit of alpha (one over its blocks' mean norm). Raises ``PolicyError`` for a score
    that no classifier gives, and for a rule that would be decided too late for its vectors.
    """
    draft = _draft(policy, outputs, probes)
    channels = find_channels(policy)
    used = uses_of(policy, channels, alpha_to_strength, draft.blame)
    _refuse_late_rules(draft, vector_blocks, vector_sites)
    draft.blame.raise_if_any()
    return assemble(draft, channels, used)


def _draft(policy: Policy, outputs: Mapping[str, tuple[str, ...]], probes: Mapping[str, int]) -> Draft:
    blame = Blame(policy)
    known: dict[str, tuple[str, ...]] = {}
    for spec in policy.classifiers:
        own = PATTERN_OUTPUTS if spec.combine is None else COMBINED_OUTPUTS
        found = outputs.get(spec.name, own if spec.use is None else None)
        if found is None:
            blame.add(("classifiers", spec.name), f"the classifier {shown(spec.name)} was not loaded")
        known[spec.name] = found or ()
    signals = [f"{name}.{output}" for name, found in known.items() for output in found]
    flag_signals = {flag.name: flag.signal for flag in policy.flags}
    for flag in policy.flags:
        classifier, _, output = flag.signal.partition(".")
        mistake = signal_mistake(classifier, output, known)
        if mistake is not None:
            blame.add(("flags", flag.name, "signal"), *mistake)
    names = Names(flag_signals, dict(known), dict(policy.context))
    conditions: list[Condition] = []
    for index, rule in enumerate(policy.rules):
        condition, mistakes = parse_condition(rule.when, names)
        for offset, message, hint in mistakes:
            blame.add(("rules", index, "when"), message, hint, line=rule.line, offset=offset)
        conditions.append(condition if condition is not None else Constant(False))
    blame.raise_if_any()
    used = {name: block for name, block in probes.items() if name in known}
    held: dict[str, Mode] = dict(policy.binding.rules)
    modes = tuple(held.get(rule.id, "enforce") for rule in policy.rules)
    places = {name: place for place, name in enumerate(signals)}
    draft = Draft(policy, blame, places, known, used, conditions, modes, flag_signals)
    _find_late(draft)
    return draft


def _find_late(draft: Draft) -> None:
    """Note which rules, and so which vectors, must wait for probes."""
    needed = {signal for signal in draft.flag_signals.values() if draft.of_probe(signal)}
    for index, condition in enumerate(draft.conditions):
        if draft.modes[index] == "off":
            continue
        late = [signal for signal in draft.signals_of(condition) if draft.of_probe(signal)]
        if late:
            needed.update(late)
            draft.within_rules.add(index)
            rule = draft.policy.rules[index]
            draft.within_vectors.update(steer.vector for steer in rule.steer)
            draft.within_vectors.update(rule.disable)
    names = {signal.partition(".")[0] for signal in needed}
    if names:
        draft.decision = max((draft.probes[name], name) for name in names)


def _refuse_late_rules(
    draft: Draft, vector_blocks: Mapping[str, tuple[int, ...]], vector_sites: Mapping[str, Site]
) -> None:
    if draft.decision is None:
        return
    block, probe = draft.decision
    when = (
        f"rules that depend on probes are decided within the pass, after block {block}, "
        f"which the probe {shown(probe)} reads"
    )
    for spec in draft.policy.vectors:
        if spec.name not in draft.within_vectors:
            continue
        blocks = spec.blocks or vector_blocks.get(spec.name, ())
        site = vector_sites.get(spec.name, "block_output")
        first = block if site == "block_output" else block + 1
        early = [str(b) for b in sorted(blocks) if b < first]
        if early:
            at = "" if site == "block_output" else f" at {site}"
            message = f"{when}; the vector {shown(spec.name)} acts{at} on earlier blocks ({listed(early)})"
            _blame_late(
                draft, spec, message, f"choose blocks from {first} on, or a probe of an earlier block"
            )
        wide = [position for position in spec.positions if position in ("all", "assistant")]
        if wide:
            acts = f"the vector {shown(spec.name)} acts on positions processed before ({listed(wide)})"
            message = f"{when} of the last prompt token; {acts}"
            _blame_late(draft, spec, message, "use the positions generated and last_prompt_token")


def _blame_late(draft: Draft, spec: VectorSpec, message: str, hint: str) -> None:
    for index in sorted(draft.within_rules):
        rule = draft.policy.rules[index]
        if spec.name in rule.disable or any(steer.vector == spec.name for steer in rule.steer):
            draft.blame.add(steer_loc(rule, index, spec.name), message, hint, line=rule.line)
