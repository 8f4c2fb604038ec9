"""The rule engine as its definitions read: all from the whole history, nothing remembered, nothing fast."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from guardsteer.core.plan import Channel, Plan
from guardsteer.core.policy import FlagSpec, Mode, Policy, SteerSpec
from guardsteer.rules import syntax
from guardsteer.rules.conditions import parse_condition
from guardsteer.rules.names import Names

COMPARE: Mapping[str, Any] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Seen:
    """What a row was shown at one step: its number, the scores, and how many sentences had ended."""

    step: int
    signals: tuple[float, ...]
    sentences: int = 0


def smoothed(flag: FlagSpec, scores: Sequence[float]) -> list[float]:
    """Return the scores after smoothing; an average stays between what it is made of."""
    if flag.smooth is None:
        return list(scores)
    if flag.smooth.kind == "max":
        return [max(scores[max(0, i + 1 - int(flag.smooth.value)) : i + 1]) for i in range(len(scores))]
    found: list[float] = []
    for score in scores:
        if found:
            mixed = flag.smooth.value * score + (1.0 - flag.smooth.value) * found[-1]
            found.append(min(max(mixed, min(score, found[-1])), max(score, found[-1])))
        else:
            found.append(score)
    return found


def updates(flag: FlagSpec, index: int, history: Sequence[Seen]) -> list[float]:
    """Return the scores that moved the flag: all that are there, or the first of each sentence."""
    found, last = [], -1
    for seen in history:
        if math.isnan(seen.signals[index]) or (flag.per == "sentence" and seen.sentences <= last):
            continue
        found.append(seen.signals[index])
        last = seen.sentences
    return found


def ups(flag: FlagSpec, scores: Sequence[float]) -> list[bool]:
    """Return after each update whether the flag is up."""
    values = smoothed(flag, scores)
    holds = [value >= flag.enter for value in values]
    width = flag.of_last if flag.of_last is not None else flag.after
    found: list[bool] = []
    turned = None  # the update at which it went up or down last
    for i, value in enumerate(values):
        up = bool(found) and found[-1]
        since = math.inf if turned is None else i - turned
        if up and not flag.latch and since >= flag.hold and value < flag.exit:
            up, turned = False, i
        elif not up and since >= flag.cooldown and holds[i]:
            up = sum(holds[max(0, i + 1 - width) : i + 1]) >= flag.after
            turned = i if up else turned
        found.append(up)
    return found


def flag_truth(flag: FlagSpec, index: int, history: Sequence[Seen]) -> bool | None:
    """Return whether the flag is up; None: undecided, since its score is missing."""
    states = ups(flag, updates(flag, index, history))
    up = bool(states) and states[-1]
    if math.isnan(history[-1].signals[index]):
        return True if up and flag.latch else None
    return up


@dataclass(frozen=True)
class Reference:
    """One policy, run for one request."""

    policy: Policy
    index: Mapping[str, int]
    channels: tuple[Channel, ...]
    context: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, float] = field(default_factory=dict)
    mode: Mode = "enforce"

    def mode_of(self, rule: int) -> Mode:
        own = dict(self.policy.binding.rules).get(self.policy.rules[rule].id, "enforce")
        return "shadow" if self.mode == "shadow" and own == "enforce" else own

    def condition(self, rule: int) -> syntax.Condition:
        outputs: dict[str, tuple[str, ...]] = {}
        for name in self.index:
            classifier, _, output = name.partition(".")
            outputs[classifier] = (*outputs.get(classifier, ()), output)
        names = Names({f.name for f in self.policy.flags}, outputs, dict(self.policy.context))
        parsed, mistakes = parse_condition(self.policy.rules[rule].when, names)
        assert parsed is not None, mistakes
        return parsed

    def truth(self, condition: Any, history: Sequence[Seen]) -> bool | None:
        """Return a condition's truth at the newest step: Kleene's logic, None for undecided."""
        if isinstance(condition, syntax.Constant):
            return bool(condition.value)
        if isinstance(condition, syntax.FlagRef):
            flag = next(f for f in self.policy.flags if f.name == condition.name)
            return flag_truth(flag, self.index[flag.signal], history)
        if isinstance(condition, syntax.Not):
            value = self.truth(condition.item, history)
            return None if value is None else not value
        if isinstance(condition, syntax.AllOf | syntax.AnyOf):
            values = [self.truth(item, history) for item in condition.items]
            decisive = isinstance(condition, syntax.AnyOf)
            return decisive if decisive in values else None if None in values else not decisive
        if isinstance(condition, syntax.Compare):
            left, right = self.value(condition.left, history), self.value(condition.right, history)
            return None if left is None or right is None else COMPARE[condition.operator](left, right)
        value = self.context.get(condition.key)
        return None if value is None else bool(value)

    def value(self, operand: syntax.Operand, history: Sequence[Seen]) -> Any:
        if isinstance(operand, syntax.Constant):
            return operand.value
        if isinstance(operand, syntax.RequestRef):
            return self.context.get(operand.key)
        if isinstance(operand, syntax.StepRef):
            return history[-1].step
        score = history[-1].signals[self.index[operand.name]]
        return None if math.isnan(score) else score

    def acts(self, rule: int, history: Sequence[Seen], *, guards: bool) -> bool:
        """Return whether a rule's steering acts, or what it does beside that."""
        spec = self.policy.rules[rule]
        condition = self.condition(rule)
        truth = self.truth(condition, history)
        if truth is None and spec.on_error == "last_state":
            decided = [self.truth(condition, history[: i + 1]) for i in range(len(history))]
            truth = next((value for value in reversed(decided) if value is not None), False)
        if truth is None:
            return guards and spec.on_error == "closed"
        return truth

    def fires(self, rule: int, history: Sequence[Seen]) -> bool:
        spec = self.policy.rules[rule]
        guards = bool(spec.disable or spec.halt or spec.revise or spec.hold_back is not None)
        return self.mode_of(rule) != "off" and self.acts(rule, history, guards=guards)

    def steers(self, rule: int, history: Sequence[Seen], revisions: Sequence[tuple[int, int]]) -> bool:
        """Return whether a rule's steering acts, of itself or since it took text back.

        ``revisions`` are pairs of a rule and the step at which it took text back.
        """
        if self.acts(rule, history, guards=False):
            return True
        spec, step = self.policy.rules[rule].revise, history[-1].step
        if spec is None:
            return False
        most = math.inf if spec.steps is None else spec.steps
        return any(which == rule and at < step <= at + most for which, at in revisions)

    def strength(
        self, rule: int, steer: SteerSpec, history: Sequence[Seen], revisions: Sequence[tuple[int, int]]
    ) -> float:
        """Return the signed strength of one use, as its schedule has it after this unbroken run of steps."""
        first = len(history) - 1
        while first > 0 and self.steers(rule, history[:first], revisions):
            first -= 1
        age = len(history) - 1 - first
        ended = history[-1].sentences > history[first].sentences
        vector = next(v for v in self.policy.vectors if v.name == steer.vector)
        most = math.inf if vector.max_strength is None else vector.max_strength
        value = steer.strength if steer.strength is not None else 1.0
        schedule = steer.schedule
        if steer.operator in ("ablate", "clamp"):
            most = 1.0
        elif steer.vector in self.overrides:
            value = self.overrides[steer.vector]
            schedule = schedule if value else None
        if schedule is not None:
            if schedule.every is not None:
                value += schedule.by * (age // schedule.every)
            value = min(value, most)
            if schedule.ramp is not None:
                value *= min(1.0, (age + 1) / schedule.ramp)
            if schedule.half_life is not None:
                left = math.exp2(-age / schedule.half_life)
                value *= left if left > 0.01 else 0.0
            if schedule.until_sentence_end and ended:
                value = 0.0
        value = min(value, most)
        if steer.operator == "clamp":
            value = 1.0 if value > 0 else 0.0
        return -value if steer.operator == "subtract" else value

    def plan(self, history: Sequence[Seen], revisions: Sequence[tuple[int, int]] = ()) -> Plan:
        """Return the plan of the newest step."""
        rules = [rule for rule in range(len(self.policy.rules)) if self.mode_of(rule) != "off"]
        rules.sort(key=lambda rule: (-self.policy.rules[rule].priority, rule))
        real = self._plan([r for r in rules if self.mode_of(r) == "enforce"], history, revisions)
        full = self._plan(rules, history, revisions)
        return real if full == real else replace(real, shadow=full)

    def _plan(self, rules: list[int], history: Sequence[Seen], revisions: Sequence[tuple[int, int]]) -> Plan:
        guarding = [(r, self.policy.rules[r]) for r in rules if self.acts(r, history, guards=True)]
        hold_back = max((s.hold_back for _, s in guarding if s.hold_back is not None), default=-1)
        for rule, spec in guarding:
            if spec.halt or (self.spent(rule, revisions) and spec.revise and spec.revise.then == "halt"):
                return self._stopped(rule, halt=rule, hold_back=hold_back)
        for rule, spec in guarding:
            if spec.revise and not self.spent(rule, revisions):
                return self._stopped(rule, revise=rule, hold_back=hold_back)
        strengths, decided = [0.0] * len(self.channels), [-1] * len(self.channels)
        for number, vector in enumerate(self.policy.vectors):
            mine = [i for i, channel in enumerate(self.channels) if channel.vector == number]
            off = [rule for rule, spec in guarding if vector.name in spec.disable]
            on = [
                rule
                for rule in rules
                if any(s.vector == vector.name for s in self.policy.rules[rule].steer)
                and self.steers(rule, history, revisions)
            ]
            chosen = (off or on or [-1])[0]
            for channel in mine:
                decided[channel] = chosen
            for steer in reversed(self.policy.rules[chosen].steer) if on and not off else ():
                if steer.vector == vector.name:
                    channel = next(i for i in mine if same_way(self.channels[i], steer))
                    strengths[channel] = self.strength(chosen, steer, history, revisions)
        return Plan(tuple(strengths), tuple(decided), hold_back=hold_back)

    def spent(self, rule: int, revisions: Sequence[tuple[int, int]]) -> bool:
        spec = self.policy.rules[rule].revise
        return spec is not None and sum(which == rule for which, _ in revisions) >= spec.most

    def _stopped(self, rule: int, *, halt: int = -1, revise: int = -1, hold_back: int) -> Plan:
        count = len(self.channels)
        return Plan((0.0,) * count, (rule,) * count, halt, revise, hold_back)

    def flags(self, history: Sequence[Seen]) -> dict[str, bool | None]:
        return {f.name: flag_truth(f, self.index[f.signal], history) for f in self.policy.flags}


def same_way(channel: Channel, steer: SteerSpec) -> bool:
    """Return whether a use of the channel's vector goes through this channel."""
    operators = ("add", "subtract") if channel.operator == "add" else (channel.operator,)
    bounds = (channel.low, channel.high) if channel.operator == "clamp" else (steer.low, steer.high)
    return (
        steer.operator in operators
        and (steer.low, steer.high) == bounds
        and steer.keep_norm == channel.keep_norm
    )
