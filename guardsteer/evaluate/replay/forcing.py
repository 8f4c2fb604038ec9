"""Doing again what the log says was done, step by step, whatever classifiers and rules would say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from guardsteer.core.plan import Channel, Plan
from guardsteer.core.policy import Policy
from guardsteer.errors import ReplayError
from guardsteer.evaluate.timeline import Act, RowRecord

__all__ = ["Timetable", "timetable", "unconditional"]


def unconditional(policy: Policy) -> Policy:
    """Return ``policy`` without what it decides by: the same vectors, uses and rules, no classifiers."""
    rules = tuple(replace(rule, when="true") for rule in policy.rules)
    return replace(policy, classifiers=(), flags=(), rules=rules)


@dataclass(frozen=True, slots=True)
class Timetable:
    """Stands for a compiled policy: ``plans`` by the step from which on they hold, the first at 0.

    Rows are told these plans and nothing is read for them.
    """

    plans: Mapping[int, Plan]
    idle: Plan
    context: Mapping[str, Any]
    n_signals: int = 0
    has_within: bool = False

    def start(self, *_: Any, **__: Any) -> Player:
        """Return what tells a row its plans."""
        return Player(self)


class Player:
    """The rules of a row whose plans are known: tells them one step after the other."""

    __slots__ = ("_now", "_step", "_table")

    changes: tuple[()] = ()

    def __init__(self, table: Timetable) -> None:
        self._table = table
        self._step = 0
        self._now = table.idle

    def before(self, *_: Any) -> Plan:
        """Return the plan of the next step; the same object while nothing changes."""
        self._now = self._table.plans.get(self._step, self._now)
        self._step += 1
        return self._now

    def calm(self, *_: Any) -> None:
        """Return None: plans change with the step alone."""

    def skip(self) -> None:
        """Pass over a step at which nothing was decided."""
        self.before()

    def take_revisions(self, old: Player) -> None:
        """Go on counting where ``old`` was: text is taken back, steps are not."""
        self._step, self._now = old._step, old._now

    def revised(self, _: int) -> None:
        """Do nothing: the timetable knows."""

    def fork(self) -> Player:
        """Return an independent copy."""
        copy = Player(self._table)
        copy._step, copy._now = self._step, self._now
        return copy


def timetable(row: RowRecord, policy: Policy, program: Any) -> Timetable:
    """Return the plans that the log tells of ``row``; ``program`` is that of ``policy``.

    Raises ``ReplayError`` where the log tells of a use that the policy does not have.
    """
    channels: Sequence[Channel] = program.channels
    rules = {rule.id: index for index, rule in enumerate(policy.rules)}
    spans = [_span(row, act, policy, channels, rules) for act in row.acts if act.began.mode == "enforce"]
    halts = {halt.step: rules[halt.rule] for halt in row.halts if halt.mode == "enforce"}
    revised = {each.step: rules[each.rule] for each in row.revisions if each.mode == "enforce"}
    last = row.steps + 1
    cuts = {0, *(span.first for span in spans), *(span.last + 1 for span in spans)}
    cuts |= {*halts, *revised, *(step + 1 for step in revised)}
    holding = _Holding(row, policy)
    cuts |= holding.cuts
    plans: dict[int, Plan] = {}
    for step in sorted(cut for cut in cuts if cut <= last):
        strengths, by = [0.0] * len(channels), [-1] * len(channels)
        for span in spans:
            if span.first <= step <= span.last:
                strengths[span.channel], by[span.channel] = span.strength, span.rule
        plans[step] = Plan(
            tuple(strengths), tuple(by), halts.get(step, -1), revised.get(step, -1), holding.at(step)
        )
    return Timetable(plans, program.idle, program.context)


@dataclass(frozen=True, slots=True)
class _Span:
    channel: int
    rule: int
    first: int
    last: int
    strength: float


def _span(
    row: RowRecord, act: Act, policy: Policy, channels: Sequence[Channel], rules: Mapping[str, int]
) -> _Span:
    began = act.began
    names = [spec.name for spec in policy.vectors]
    operator = "add" if began.operator == "subtract" else began.operator
    fitting = [
        index
        for index, channel in enumerate(channels)
        if (names[channel.vector], channel.operator, channel.keep_norm)
        == (began.vector, operator, began.keep_norm)
        and (operator != "clamp" or began.bounds == (channel.low, channel.high))
    ]
    if not fitting:
        raise ReplayError(
            f"the log tells of {began.operator} {began.vector!r}, which policy {policy.name} does not have: "
            "it contradicts itself, see guardsteer audit verify"
        )
    first = row.step_at(act.first, act.revised)
    last = row.steps + 1 if act.last is None else row.step_at(act.last, act.revised)
    return _Span(fitting[0], rules.get(began.rule, -1), first, last, began.planned or began.applied)


class _Holding:
    """How far text was held back at each step, told from the rules that fired."""

    def __init__(self, row: RowRecord, policy: Policy) -> None:
        self._turns = [
            (rule.hold_back, row.rules.get(rule.id, []))
            for rule in policy.rules
            if rule.hold_back is not None
        ]
        self.cuts = {turn.step for _, turns in self._turns for turn in turns}

    def at(self, step: int) -> int:
        held = -1
        for tokens, turns in self._turns:
            before = [turn for turn in turns if turn.step <= step and turn.mode == "enforce"]
            if before and before[-1].state:
                held = max(held, tokens)
        return held
