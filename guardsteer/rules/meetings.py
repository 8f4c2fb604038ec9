"""Which uses of two vectors may be in force at once.

Decided over worlds (``worlds.py``) like the warnings of ``lint``, the other way round: what is not shown to
be impossible counts as possible.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from guardsteer.core.policy import Mode, Policy, Position, RuleSpec, SteerSpec, VectorSpec
from guardsteer.rules.lint_beaten import may_act, surely_acts
from guardsteer.rules.lint_fields import MODES
from guardsteer.rules.parts import conditions_of
from guardsteer.rules.readings import FALSE, TRUE, UNDECIDED, Reading, read
from guardsteer.rules.syntax import Compare, Constant, StepRef
from guardsteer.rules.worlds import Goal, Worlds

__all__ = ["Meeting", "Meetings"]

_ANY = TRUE | FALSE | UNDECIDED
_MOST_SEARCHES = 20_000
"""So many searches are made for one policy, seconds of work; after them nothing is ruled out any more."""

_EVERYWHERE: frozenset[Position] = frozenset(("generated", "last_prompt_token", "assistant", "all"))


@dataclass(frozen=True, slots=True)
class Meeting:
    """Uses of two vectors that may be in force at once, with the rules that they are of."""

    first: SteerSpec
    second: SteerSpec
    first_rule: str
    second_rule: str


@dataclass(frozen=True, slots=True)
class _Rule:
    spec: RuleSpec
    reading: Reading
    mode: Mode
    rank: tuple[int, int]


class Meetings:
    """Finds the meetings of a policy's vectors; two rules of one route never meet, nor what is beaten."""

    def __init__(self, policy: Policy) -> None:
        modes = dict(policy.binding.rules)
        self._searches = 0
        self._worlds = Worlds(policy)
        self._vectors = {vector.name: vector for vector in policy.vectors}
        self._rules = [
            _Rule(spec, read(condition), modes.get(spec.id, "enforce"), (-spec.priority, index))
            for index, (spec, condition) in enumerate(zip(policy.rules, conditions_of(policy), strict=True))
        ]

    def of(self, first: str, second: str, *, anywhere: bool = False) -> Iterator[Meeting]:
        """Yield each pair of uses of these two vectors that are not known to exclude each other.

        Rules that are off are left out, and so are pairs of which one rule is enforced and the other is not.
        With ``anywhere`` they need not act on one position, only in one row at one step.
        """
        when = [] if anywhere else _steps(self._vectors[first], self._vectors[second])
        if when is None:
            return
        for one in self._rules:
            for other in self._rules:
                if one.mode != other.mode or one.mode == "off":
                    continue
                for mine in one.spec.steer:
                    for theirs in other.spec.steer:
                        if (mine.vector, theirs.vector) != (first, second):
                            continue
                        if self._may_meet(one, first, other, second, when):
                            yield Meeting(mine, theirs, one.spec.id, other.spec.id)

    def _may_meet(self, one: _Rule, first: str, other: _Rule, second: str, when: list[Goal]) -> bool:
        # After a revision a rule's steering goes on whether its condition holds or not.
        goals = when + [
            (rule.reading, may_act(rule.spec, steering=True))
            for rule in ([one] if one is other else [one, other])
            if rule.spec.revise is None
        ]
        if self._excluded(goals):
            return False
        if self._searches > _MOST_SEARCHES:
            return True
        beaters = [*self._beaters(one, first), *self._beaters(other, second)]
        tried = [*([*goals, beater] for beater in beaters), [*goals, *beaters]]
        return not any(self._excluded(each) for each in tried)

    def _excluded(self, goals: list[Goal]) -> bool:
        self._searches += 1
        return self._searches <= _MOST_SEARCHES and self._worlds.impossible(*goals)

    def _beaters(self, rule: _Rule, vector: str) -> Iterator[Goal]:
        """Yield that those do not act which would take the place of ``rule`` in steering with ``vector``."""
        for other in self._rules:
            if other is rule or MODES.index(other.mode) < MODES.index(rule.mode):
                continue
            if other.spec.halt or vector in other.spec.disable:
                yield other.reading, _ANY & ~surely_acts(other.spec, steering=False)
            elif other.rank < rule.rank and any(steer.vector == vector for steer in other.spec.steer):
                yield other.reading, _ANY & ~surely_acts(other.spec, steering=True)


def _steps(first: VectorSpec, second: VectorSpec) -> list[Goal] | None:
    """Return at which steps both may act on one position, None for never."""
    shared = _covered(first) & _covered(second)
    if not shared:
        return None
    written = "generated" in shared
    if written and len(shared) > 1:
        return []
    # Prompt tokens get what step 0 decided, and the first written token is there from step 1 on.
    return [(read(Compare(">=" if written else "<", StepRef(), Constant(1))), TRUE)]


def _covered(vector: VectorSpec) -> frozenset[Position]:
    return _EVERYWHERE if "all" in vector.positions else frozenset(vector.positions)
