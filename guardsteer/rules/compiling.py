"""A policy to a program: conditions resolved against the outputs at hand, flags and rules put into stages."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from guardsteer.core.policy import Policy, VectorSpec
from guardsteer.rules.blame import Blame
from guardsteer.rules.channels import Channels, find_channels, steer_loc, uses_of
from guardsteer.rules.checks import PATTERN_OUTPUTS
from guardsteer.rules.codegen import initial_state, make_decide, make_sense
from guardsteer.rules.conditions import parse_condition
from guardsteer.rules.names import REQUEST_KEYS, Names, signal_mistake
from guardsteer.rules.places import listed, shown
from guardsteer.rules.planning import Action, claims_of
from guardsteer.rules.program import FixedRead, Program, Stage
from guardsteer.rules.schedules import Use
from guardsteer.rules.syntax import (
    Condition,
    Constant,
    FlagRef,
    RequestRef,
    SignalRef,
    Type,
    leaves,
)
from guardsteer.rules.truth import Atom, lower

__all__ = ["compile_policy"]

_NO_BLOCKS: Mapping[str, int] = {}
_NO_VECTORS: Mapping[str, tuple[int, ...]] = {}
_NO_SCALES: Mapping[str, float] = {}


def compile_policy(
    policy: Policy,
    outputs: Mapping[str, tuple[str, ...]],
    *,
    probes: Mapping[str, int] = _NO_BLOCKS,
    vector_blocks: Mapping[str, tuple[int, ...]] = _NO_VECTORS,
    alpha_to_strength: Mapping[str, float] = _NO_SCALES,
) -> Program:
    """Return the program of ``policy``.

    ``outputs`` names each classifier's scores, ``probes`` gives the block that a probe classifier
    reads, ``vector_blocks`` the blocks on which a vector acts, ``alpha_to_strength`` a vector's
    strength per unit of alpha (one over its blocks' mean norm). Raises ``PolicyError`` for a score
    that no classifier gives, and for a rule that would be decided too late for its vectors.
    """
    draft = _draft(policy, outputs, probes)
    channels = find_channels(policy)
    used = uses_of(policy, channels, alpha_to_strength, draft.blame)
    _refuse_late_rules(draft, vector_blocks)
    draft.blame.raise_if_any()
    return _assemble(draft, channels, used)


@dataclass(slots=True)
class _Draft:
    """A policy on its way to a program."""

    policy: Policy
    blame: Blame
    signal_index: dict[str, int]
    outputs: dict[str, tuple[str, ...]]
    probes: dict[str, int]
    conditions: list[Condition]
    flag_signals: dict[str, str]
    decision: tuple[int, str] | None = None
    within_rules: set[int] = field(default_factory=set)
    within_vectors: set[str] = field(default_factory=set)

    def of_probe(self, signal: str) -> bool:
        return signal.partition(".")[0] in self.probes

    def signals_of(self, condition: Condition) -> list[str]:
        """Return the signals on which a condition depends, through flags too, in the order of signals."""
        found = set()
        for leaf in leaves(condition):
            if isinstance(leaf, SignalRef):
                found.add(leaf.name)
            elif isinstance(leaf, FlagRef):
                found.add(self.flag_signals[leaf.name])
        return sorted(found, key=self.signal_index.__getitem__)


def _draft(policy: Policy, outputs: Mapping[str, tuple[str, ...]], probes: Mapping[str, int]) -> _Draft:
    blame = Blame(policy)
    known: dict[str, tuple[str, ...]] = {}
    for spec in policy.classifiers:
        found = outputs.get(spec.name, PATTERN_OUTPUTS if spec.use is None else None)
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
    draft = _Draft(
        policy, blame, {name: i for i, name in enumerate(signals)}, known, used, conditions, flag_signals
    )
    _find_late(draft)
    return draft


def _find_late(draft: _Draft) -> None:
    """Note which rules, and so which vectors, must wait for probes."""
    needed = {signal for signal in draft.flag_signals.values() if draft.of_probe(signal)}
    for index, condition in enumerate(draft.conditions):
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


def _refuse_late_rules(draft: _Draft, vector_blocks: Mapping[str, tuple[int, ...]]) -> None:
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
        early = [str(b) for b in sorted(blocks) if b < block]
        if early:
            message = f"{when}; the vector {shown(spec.name)} acts on earlier blocks ({listed(early)})"
            _blame_late(
                draft, spec, message, f"choose blocks from {block} on, or a probe of an earlier block"
            )
        wide = [position for position in spec.positions if position in ("all", "assistant")]
        if wide:
            acts = f"the vector {shown(spec.name)} acts on positions processed before ({listed(wide)})"
            message = f"{when} of the last prompt token; {acts}"
            _blame_late(draft, spec, message, "use the positions generated and last_prompt_token")


def _blame_late(draft: _Draft, spec: VectorSpec, message: str, hint: str) -> None:
    for index in sorted(draft.within_rules):
        rule = draft.policy.rules[index]
        if spec.name in rule.disable or any(steer.vector == spec.name for steer in rule.steer):
            draft.blame.add(steer_loc(rule, index, spec.name), message, hint, line=rule.line)


class _Reads:
    """Which truth values the rules read, in which stage each is computed, and what it is called there."""

    def __init__(self, draft: _Draft) -> None:
        self.draft = draft
        self.late_flags = {name for name, signal in draft.flag_signals.items() if draft.of_probe(signal)}
        self.before: dict[tuple[Atom, bool], str] = {}
        self.within: dict[tuple[Atom, bool], str] = {}
        self.fixed: dict[FixedRead, int] = {}
        self.numbers: dict[RequestRef, int] = {}
        for flag in draft.policy.flags:
            stage = self.within if flag.name in self.late_flags else self.before
            stage[FlagRef(flag.name), True] = f"{'w' if flag.name in self.late_flags else 'b'}{len(stage)}"

    def name_of(self, atom: Atom, must: bool) -> ast.expr:
        parts = list(leaves(atom))
        if all(isinstance(part, Constant | RequestRef) for part in parts):
            index = self._fix(FixedRead(atom, "must" if must else "may"))
            return ast.Subscript(ast.Name("K", ast.Load()), ast.Constant(index), ast.Load())
        for part in parts:
            if isinstance(part, RequestRef):
                self.numbers[part] = self._fix(FixedRead(part, "number"))
        late = any(self._is_late(part) for part in parts)
        stage, prefix = (self.within, "w") if late else (self.before, "b")
        return ast.Name(stage.setdefault((atom, must), f"{prefix}{len(stage)}"), ast.Load())

    def _is_late(self, part: object) -> bool:
        if isinstance(part, SignalRef):
            return self.draft.of_probe(part.name)
        return isinstance(part, FlagRef) and part.name in self.late_flags

    def _fix(self, read: FixedRead) -> int:
        return self.fixed.setdefault(read, len(self.fixed))


def _assemble(draft: _Draft, channels: Channels, used: list[tuple[Use, ...]]) -> Program:
    policy, reads = draft.policy, _Reads(draft)
    order = sorted(range(len(policy.rules)), key=lambda index: (-policy.rules[index].priority, index))
    early = [(rank, index) for rank, index in enumerate(order) if index not in draft.within_rules]
    late = [(rank, index) for rank, index in enumerate(order) if index in draft.within_rules]
    before, within = (_Bits(draft, channels, used, reads, ranked) for ranked in (early, late))
    types: dict[str, Type] = {**REQUEST_KEYS, **dict(policy.context)}
    return Program(
        rule_ids=tuple(rule.id for rule in policy.rules),
        signal_index=draft.signal_index,
        decision_block=draft.decision[0] if draft.decision is not None else None,
        within_vectors=tuple(vector.name in draft.within_vectors for vector in policy.vectors),
        channels=channels.channels,
        within_channels=tuple(
            policy.vectors[channel.vector].name in draft.within_vectors for channel in channels.channels
        ),
        requested={(rule, use.channel): use.requested for rule, uses in enumerate(used) for use in uses},
        before=_stage(draft, reads, before, late=False),
        within=_stage(draft, reads, within, late=True) if draft.decision is not None else None,
        fixed=tuple(reads.fixed),
        rule_signals=tuple(
            tuple((name, draft.signal_index[name]) for name in draft.signals_of(condition))
            for condition in draft.conditions
        ),
        context=types,
    )


class _Bits:
    """The truth values that a stage's rules come down to, each with the action that it sets off."""

    def __init__(
        self,
        draft: _Draft,
        channels: Channels,
        used: list[tuple[Use, ...]],
        reads: _Reads,
        ranked: list[tuple[int, int]],
    ) -> None:
        self.expressions: list[ast.expr] = []
        self.actions: list[Action] = []
        self.rules: list[int] = []
        for rank, index in ranked:
            rule, condition = draft.policy.rules[index], draft.conditions[index]
            lenient = bool(rule.disable) or rule.halt
            if used[index]:
                self.expressions.append(lower(condition, True, reads.name_of))
                claims = claims_of(used[index], channels.of_vector)
                self.actions.append(Action(rank, index, claims=claims, uses=used[index]))
                self.rules.append(-1 if lenient else index)
            if lenient:
                self.expressions.append(lower(condition, False, reads.name_of))
                disables = tuple(
                    channel for name in rule.disable for channel in channels.of_vector[channels.vectors[name]]
                )
                self.actions.append(Action(rank, index, disables=disables, halts=rule.halt))
                self.rules.append(index)


def _stage(draft: _Draft, reads: _Reads, bits: _Bits, *, late: bool) -> Stage:
    flags = [flag for flag in draft.policy.flags if (flag.name in reads.late_flags) is late]
    mine = reads.within if late else reads.before
    return Stage(
        sense=make_sense(flags, list(mine)[len(flags) :], draft.signal_index, reads.numbers),
        decide=make_decide(
            bits.expressions, list(reads.before.values()), list(reads.within.values()) if late else ()
        ),
        initial=initial_state(flags),
        flags=tuple((draft.signal_index[flag.signal], flag.name) for flag in flags),
        rules=tuple(bits.rules),
        actions=tuple(bits.actions),
    )
