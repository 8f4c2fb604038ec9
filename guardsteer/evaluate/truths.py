"""What was true at a step of an audited row: flags, comparisons, request keys, rules."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from guardsteer.core.policy import FlagSpec, Policy
from guardsteer.evaluate.timeline import RowRecord, Turn
from guardsteer.rules.conditions import parse_condition
from guardsteer.rules.names import Names
from guardsteer.rules.parts import Truth, Value, compared
from guardsteer.rules.syntax import (
    Compare,
    Condition,
    Constant,
    FlagRef,
    Member,
    Operand,
    RequestRef,
    StepRef,
)

__all__ = ["Truths"]

_WORDS: Mapping[Truth, str] = {True: "true", False: "false", None: "undecided"}


class Truths:
    """Answers from one row's record, under the policy that it ran under."""

    def __init__(self, policy: Policy, row: RowRecord) -> None:
        self._row = row
        self._context = row.started.context if row.started is not None else {}
        self._flags = row.flags
        self._moves = {flag.name: _moves(flag) for flag in policy.flags}
        self._told: dict[Condition, Sequence[Turn]] = {}
        names = Names(
            {flag.name for flag in policy.flags},
            dict.fromkeys((spec.name for spec in policy.classifiers), None),
            dict(policy.context),
        )
        for text, turns in row.conditions.items():
            condition, _ = parse_condition(text, names)
            if condition is not None:
                self._told[condition] = turns

    def moves(self, part: Condition) -> str:
        """Return what moves a flag; empty for any other part."""
        return self._moves.get(part.name, "") if isinstance(part, FlagRef) else ""

    @staticmethod
    def name(truth: Truth) -> str:
        """Return the word for a truth value."""
        return _WORDS[truth]

    def of(self, part: Condition, step: int) -> Truth:
        """Return a part's truth at a step; None where it is undecided or the log does not tell."""
        if isinstance(part, FlagRef):
            newest = self._newest(part, step)
            return newest.state if newest is not None else False
        if part in self._told:
            told = _at(self._told[part], step)
            return told.state if told is not None else None
        return compared(part, lambda operand: self._value(operand, step)) if _computable(part) else None

    def word(self, part: Condition, step: int) -> str:
        """Return the word for a part's truth; "unknown" where the log does not tell."""
        if isinstance(part, FlagRef) or _computable(part) or _at(self._told.get(part, ()), step) is not None:
            return _WORDS[self.of(part, step)]
        return "unknown"

    def cuts(self, part: Condition) -> Iterable[int]:
        """Return the steps at which a part's truth may change."""
        found = [turn.step for turn in self._told.get(part, ())]
        if isinstance(part, FlagRef):
            found += [turn.step for turn in self._flags.get(part.name, ())]
        elif part not in self._told and _computable(part):
            truths = [self.of(part, step) for step in range(self._row.steps + 1)]
            found += [step for step in range(1, len(truths)) if truths[step] is not truths[step - 1]]
        return found

    def since(self, part: Condition, step: int) -> tuple[int, Mapping[str, float | None]]:
        """Return the step from which on a part is as it is at ``step``, and the scores told then."""
        first = max((cut for cut in self.cuts(part) if cut <= step), default=0)
        newest = self._newest(part, step)
        return first, newest.scores if newest is not None else {}

    def _newest(self, part: Condition, step: int) -> Turn | None:
        """Return what was told last of a part.

        A flag is told as a flag where it goes up or down, as a comparison where it becomes or ceases to be
        undecided.
        """
        told = _at(self._told.get(part, ()), step)
        turn = _at(self._flags.get(part.name, ()), step) if isinstance(part, FlagRef) else None
        if told is None or turn is None or told.step != turn.step:
            return max((t for t in (told, turn) if t is not None), key=lambda t: t.step, default=None)
        # At one step, also where a revision put both back: undecided counts as told, up and down as a flag.
        return told if told.state is None or turn.state is None else turn

    def fires(self, rule: str, step: int) -> bool:
        """Return whether the log says that a rule's condition held at a step."""
        turn = _at(self._row.rules.get(rule, ()), step)
        return turn is not None and turn.state is True

    def _value(self, operand: Operand, step: int) -> Value:
        return self._context.get(operand.key) if isinstance(operand, RequestRef) else step


def _moves(flag: FlagSpec) -> str:
    """Return a flag's thresholds in words."""
    of_last = f" of {flag.of_last}" if flag.of_last is not None else ""
    times = f" {flag.after}{of_last} times" if flag.after > 1 else ""
    smoothed = "smoothed " if flag.smooth is not None else ""
    stays = "" if flag.exit == flag.enter else f", down below {flag.exit:g}"
    stays = ", stays up" if flag.latch else stays
    return f"up at {smoothed}{flag.signal} >= {flag.enter:g}{times}{stays}"


def _computable(part: Condition) -> bool:
    """Tell whether a part hangs on the request and the step alone."""
    if isinstance(part, Compare):
        return all(isinstance(side, Constant | RequestRef | StepRef) for side in (part.left, part.right))
    if isinstance(part, Member):
        return isinstance(part.item, Constant | RequestRef | StepRef)
    return not isinstance(part, FlagRef)


def _at(turns: Sequence[Turn], step: int) -> Turn | None:
    """Return the last turn up to ``step``."""
    place = bisect_right(turns, step, key=lambda turn: turn.step)
    return turns[place - 1] if place else None
