"""What explains a flag, a rule or a vector at a step of a case, in lines for people."""

from __future__ import annotations

import math
from collections.abc import Iterator

from guardsteer.cases.model import Context
from guardsteer.cases.replay import Seen
from guardsteer.core.policy import Policy
from guardsteer.rules.parts import Truth, Value, compared, conditions_of, parts_of, written
from guardsteer.rules.program import Program
from guardsteer.rules.syntax import (
    Condition,
    FlagRef,
    Operand,
    RequestRef,
    SignalRef,
    leaves,
)

__all__ = ["Because", "fires_or_rests", "up_or_down"]

_TRUTH: dict[Truth, str] = {True: "true", False: "false", None: "undecided"}


def up_or_down(up: bool) -> str:
    """Return the word for a flag's state."""
    return "up" if up else "down"


def fires_or_rests(fires: bool) -> str:
    """Return the word for a rule's state."""
    return "fires" if fires else "rests"


class Because:
    """Explains the steps of one case of a policy."""

    __slots__ = ("_conditions", "_context", "_flags", "_policy", "_program")

    def __init__(self, policy: Policy, program: Program, context: Context) -> None:
        self._policy = policy
        self._program = program
        self._context = context
        self._flags = {flag.name: flag for flag in policy.flags}
        rules = (rule.id for rule in policy.rules)
        self._conditions = dict(zip(rules, conditions_of(policy), strict=True))

    def flag(self, name: str, seen: Seen) -> Iterator[str]:
        """Yield what moves a flag."""
        spec = self._flags[name]
        score = _score(seen.signals[spec.signal])
        yield f"{spec.signal} is {score}; {name} enters at {spec.enter:g} and leaves below {spec.exit:g}"

    def rule(self, name: str, seen: Seen) -> Iterator[str]:
        """Yield a rule's condition and the truth of each of its parts."""
        yield f"{name} {fires_or_rests(seen.rules[name])}, when: {written(self._conditions[name])}"
        yield from self._parts(self._conditions[name], seen)

    def vector(self, name: str, seen: Seen) -> Iterator[str]:
        """Yield what the rules that name a vector do, and why."""
        halt = seen.plan.halt
        if halt >= 0:
            yield f"{self._program.rule_ids[halt]} halts the row"
        concerned = [
            rule
            for rule in self._policy.rules
            if name in rule.disable or any(steer.vector == name for steer in rule.steer)
        ]
        if not concerned:
            yield f"no rule names {name}"
        lines: dict[str, None] = {}
        for rule in concerned:
            role = "disables" if name in rule.disable else "steers"
            state = fires_or_rests(seen.rules[rule.id])
            yield f"{rule.id}, which {role} it, {state}, when: {written(self._conditions[rule.id])}"
            lines.update(dict.fromkeys(self._parts(self._conditions[rule.id], seen)))
        yield from lines

    def _parts(self, condition: Condition, seen: Seen) -> Iterator[str]:
        for part in parts_of(condition):
            if isinstance(part, FlagRef):
                signal = self._flags[part.name].signal
                score = _score(seen.signals[signal])
                yield f"{part.name} is {up_or_down(seen.flags[part.name])} ({signal} {score})"
                continue
            truth = _TRUTH[compared(part, lambda operand: self._value(operand, seen))]
            scores = [
                f"{leaf.name} {_score(seen.signals[leaf.name])}"
                for leaf in leaves(part)
                if isinstance(leaf, SignalRef)
            ]
            yield f"{written(part)} is {truth}" + (f" ({', '.join(scores)})" if scores else "")

    def _value(self, operand: Operand, seen: Seen) -> Value:
        if isinstance(operand, SignalRef):
            score = seen.signals[operand.name]
            return None if math.isnan(score) else score
        if isinstance(operand, RequestRef):
            return self._context.get(operand.key)
        return seen.step


def _score(score: float) -> str:
    return "missing" if math.isnan(score) else f"{score:.3g}"
