"""Flags and rules put into stages: which truth values each rule comes down to, and what they set off."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from guardsteer.core.plan import Plan
from guardsteer.core.policy import RuleSpec
from guardsteer.rules.cells import grid_of
from guardsteer.rules.channels import Channels
from guardsteer.rules.codegen import initial_state, make_decide, make_sense
from guardsteer.rules.draft import Draft
from guardsteer.rules.names import REQUEST_KEYS
from guardsteer.rules.parts import written
from guardsteer.rules.planning import Action, Actions, claims_of
from guardsteer.rules.program import FixedRead, Program
from guardsteer.rules.schedules import Use
from guardsteer.rules.syntax import Condition, Constant, FlagRef, RequestRef, SignalRef, Type, leaves
from guardsteer.rules.telling import Scores, Told
from guardsteer.rules.truth import Atom, lower
from guardsteer.rules.turning import Stage

__all__ = ["assemble"]


def assemble(draft: Draft, channels: Channels, used: list[tuple[Use, ...]]) -> Program:
    """Return the program of a policy without mistakes; ``used`` is what each rule steers."""
    policy, reads = draft.policy, _Reads(draft)
    order = sorted(range(len(policy.rules)), key=lambda index: (-policy.rules[index].priority, index))
    ranked = [(rank, index) for rank, index in enumerate(order) if draft.modes[index] != "off"]
    late = draft.within_rules
    before = _Bits(draft, channels, used, reads, [entry for entry in ranked if entry[1] not in late])
    within = _Bits(draft, channels, used, reads, [entry for entry in ranked if entry[1] in late])
    types: dict[str, Type] = {**REQUEST_KEYS, **dict(policy.context)}
    active = [rule for _, rule in ranked]
    return Program(
        rule_ids=tuple(rule.id for rule in policy.rules),
        signal_index=draft.signal_index,
        decision_block=draft.decision[0] if draft.decision is not None else None,
        vectors=tuple(vector.name for vector in policy.vectors),
        channels=channels.channels,
        of_vector=channels.of_vector,
        within_vectors=tuple(vector.name in draft.within_vectors for vector in policy.vectors),
        within_channels=tuple(
            policy.vectors[channel.vector].name in draft.within_vectors for channel in channels.channels
        ),
        before_channels=tuple(
            policy.vectors[channel.vector].name not in draft.within_vectors for channel in channels.channels
        ),
        idle=Plan((0.0,) * len(channels.channels), (-1,) * len(channels.channels)),
        requested={(rule, use.channel): use.requested for rule, uses in enumerate(used) for use in uses},
        modes=draft.modes,
        revises={rule: spec for rule in active if (spec := policy.rules[rule].revise) is not None},
        needs_sentences=_needs_sentences(draft, active),
        before=_stage(draft, reads, before, late=False),
        within=_stage(draft, reads, within, late=True) if draft.decision is not None else None,
        fixed=tuple(reads.fixed),
        rule_signals=tuple(_places(draft, draft.signals_of(condition)) for condition in draft.conditions),
        context=types,
    )


def _needs_sentences(draft: Draft, active: Iterable[int]) -> bool:
    rules = [draft.policy.rules[rule] for rule in active]
    schedules = [steer.schedule for rule in rules for steer in rule.steer if steer.schedule is not None]
    return (
        any(flag.per == "sentence" for flag in draft.policy.flags)
        or any(schedule.until_sentence_end for schedule in schedules)
        or any(rule.revise is not None and rule.revise.tokens is None for rule in rules)
    )


def _places(draft: Draft, signals: Iterable[str]) -> Scores:
    return tuple((name, draft.signal_index[name]) for name in signals)


class _Reads:
    """Which truth values the rules read, in which stage each is computed, and what it is called there."""

    def __init__(self, draft: Draft) -> None:
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

    def told(self, late: bool) -> tuple[Told, ...]:
        """Return what to tell of the truth values of a stage: comparisons, and the flags that rules read."""
        found: dict[Atom, Told] = {}
        read = {leaf for condition in self.draft.conditions for leaf in leaves(condition)}
        for place, (atom, _) in enumerate(self.within if late else self.before):
            is_flag = isinstance(atom, FlagRef)
            if atom in found or (is_flag and atom not in read):
                continue
            numbers = [self.numbers[leaf] for leaf in leaves(atom) if isinstance(leaf, RequestRef)]
            signals = _places(self.draft, self.draft.signals_of(atom))
            found[atom] = Told(written(atom), place, signals, tuple(numbers), is_flag)
        return tuple(found.values())


class _Bits:
    """The truth values that a stage's rules come down to, each with the action that it sets off."""

    def __init__(
        self,
        draft: Draft,
        channels: Channels,
        used: list[tuple[Use, ...]],
        reads: _Reads,
        ranked: list[tuple[int, int]],
    ) -> None:
        self.expressions: list[ast.expr] = []
        self.rules: list[tuple[int, str, Scores] | None] = []
        self.steers: dict[int, int] = {}
        self.clocks: list[int] = []
        self._draft, self._reads = draft, reads
        rules = draft.policy.rules
        guarding = {index: _guarding(rules[index], rank, index, channels) for rank, index in ranked}
        steering = []
        for rank, index in ranked:
            uses = used[index]
            if not uses and guarding[index] is not None:
                continue
            steering.append(Action(rank, index, claims_of(uses, channels.of_vector), uses))
            if uses:
                self.steers[index] = len(self.rules)
            if any(use.schedule is not None for use in uses):
                self.clocks.append(len(self.rules))
            self._add(index, must=True, tells=guarding[index] is None)
        guards = [action for action in guarding.values() if action is not None]
        for action in guards:
            self._add(action.rule, must=False, tells=True)
        self.actions = Actions(tuple(steering), tuple(guards))

    def _add(self, index: int, *, must: bool, tells: bool) -> None:
        rule, condition = self._draft.policy.rules[index], self._draft.conditions[index]
        self.expressions.append(self._acts(rule, condition, len(self.rules), must))
        signals = _places(self._draft, self._draft.signals_of(condition))
        self.rules.append((index, rule.id, signals) if tells else None)

    def _acts(self, rule: RuleSpec, condition: Condition, bit: int, must: bool) -> ast.expr:
        """Return when a rule acts; ``must``: where nothing else is said, only if its condition is certain."""
        name_of = self._reads.name_of
        if rule.on_error == "closed":
            return lower(condition, must, name_of)
        certain = lower(condition, True, name_of)
        if rule.on_error == "open":
            return certain
        last = ast.Subscript(ast.Name("P", ast.Load()), ast.Constant(bit), ast.Load())
        goes_on = ast.BoolOp(ast.And(), [last, lower(condition, False, name_of)])
        return ast.BoolOp(ast.Or(), [certain, goes_on])


def _guarding(rule: RuleSpec, rank: int, index: int, channels: Channels) -> Action | None:
    """Return what a rule does beside steering, None for nothing."""
    if not (rule.disable or rule.halt or rule.revise is not None or rule.hold_back is not None):
        return None
    off = tuple(channel for name in rule.disable for channel in channels.of_vector[channels.vectors[name]])
    return Action(
        rank,
        index,
        disables=off,
        halts=rule.halt,
        revises=rule.revise is not None,
        hold_back=-1 if rule.hold_back is None else rule.hold_back,
    )


def _stage(draft: Draft, reads: _Reads, bits: _Bits, *, late: bool) -> Stage:
    flags = [flag for flag in draft.policy.flags if (flag.name in reads.late_flags) is late]
    mine = reads.within if late else reads.before
    told = reads.told(late)
    used = {draft.signal_index[flag.signal] for flag in flags}
    used.update(index for entry in told for _, index in entry.signals)
    read = list(mine)[len(flags) :]
    return Stage(
        sense=make_sense(flags, read, draft.signal_index, reads.numbers, sorted(used)),
        decide=make_decide(
            bits.expressions, list(reads.before.values()), list(reads.within.values()) if late else ()
        ),
        initial=initial_state(flags),
        width=len(mine),
        late=late,
        flags=tuple((draft.signal_index[flag.signal], flag.name) for flag in flags),
        rules=tuple(bits.rules),
        actions=bits.actions,
        steers=bits.steers,
        clocks=tuple(bits.clocks),
        told=told,
        used=tuple(sorted(used)),
        grid=grid_of(flags, [atom for atom, _ in read], draft.signal_index),
    )
