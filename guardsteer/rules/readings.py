"""Conditions over sets of truth values: what a condition can still be when only some names are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from guardsteer.rules import syntax
from guardsteer.rules.syntax import (
    Compare,
    Condition,
    Constant,
    FlagRef,
    HasLabel,
    Member,
    Operand,
    RequestRef,
)

__all__ = ["FALSE", "TRUE", "UNDECIDED", "Name", "Question", "Reading", "Truths", "World", "at_least", "read"]

TRUE, FALSE, UNDECIDED = 1, 2, 4
_ANY = TRUE | FALSE | UNDECIDED

Name: TypeAlias = tuple[str, ...]
"""A signal, flag, request key, label, the step, or a pair of these that is compared."""

World: TypeAlias = Mapping[Name, Any]
"""What each name is worth; None: missing. Of a pair: which is greater."""

Truths: TypeAlias = Callable[[World], int]


def _table(combined: Callable[[int, int], int]) -> tuple[tuple[int, ...], ...]:
    """Return for two sets of truth values the set of what they can combine to."""

    def both(left: int, right: int) -> int:
        found = 0
        for a in (TRUE, FALSE, UNDECIDED):
            for b in (TRUE, FALSE, UNDECIDED):
                if left & a and right & b:
                    found |= combined(a, b)
        return found

    return tuple(tuple(both(left, right) for right in range(8)) for left in range(8))


_AND = _table(lambda a, b: FALSE if FALSE in (a, b) else UNDECIDED if UNDECIDED in (a, b) else TRUE)
_OR = _table(lambda a, b: TRUE if TRUE in (a, b) else UNDECIDED if UNDECIDED in (a, b) else FALSE)
_SAME = _table(lambda a, b: UNDECIDED if UNDECIDED in (a, b) else TRUE if a == b else FALSE)
_NOT = tuple((m & UNDECIDED) | (FALSE if m & TRUE else 0) | (TRUE if m & FALSE else 0) for m in range(8))
_HOLDS: Mapping[str, str] = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_MIRRORED = str.maketrans("<>", "><")


@dataclass(frozen=True, slots=True)
class Question:
    """What a condition asks of one name."""

    name: Name
    truth: Callable[[Any], int]
    constants: tuple[Any, ...] = ()
    kind: syntax.Type = "bool"


@dataclass(frozen=True, slots=True)
class Reading:
    """A condition made ready for the search; ``truths`` gives the truth values that a world leaves open."""

    truths: Truths
    tests: tuple[Question, ...]

    @property
    def names(self) -> frozenset[Name]:
        """What the condition reads."""
        return frozenset(test.name for test in self.tests)


def read(condition: Condition) -> Reading:
    """Return a condition made ready for the search."""
    tests: list[Question] = []
    return Reading(_truths(condition, tests), tuple(tests))


def at_least(name: Name, bound: float) -> Question:
    """Return the question whether a signal is at least ``bound``."""
    return _number_test(name, ">=", bound, "float")


def _truths(condition: Condition, tests: list[Question]) -> Truths:
    if isinstance(condition, Constant):
        fixed = TRUE if condition.value else FALSE
        return lambda _: fixed
    if isinstance(condition, syntax.Not):
        inner = _truths(condition.item, tests)
        return lambda world: _NOT[inner(world)]
    if isinstance(condition, syntax.AllOf | syntax.AnyOf):
        return _joined(
            [_truths(item, tests) for item in condition.items], isinstance(condition, syntax.AllOf)
        )
    if isinstance(condition, syntax.SameTruth):
        left, right = _truths(condition.left, tests), _truths(condition.right, tests)
        return lambda world: _SAME[left(world)][right(world)]
    test = _test_of(condition)
    if isinstance(test, bool):
        return _truths(Constant(test), tests)
    tests.append(test)
    name, truth, start = test.name, test.truth, TRUE | FALSE if test.name == ("step",) else _ANY
    return lambda world: truth(world[name]) if name in world else start


def _joined(items: Sequence[Truths], every: bool) -> Truths:
    table, start = (_AND, TRUE) if every else (_OR, FALSE)

    def truths(world: World) -> int:
        found = start
        for item in items:
            found = table[found][item(world)]
        return found

    return truths


def _test_of(atom: FlagRef | RequestRef | HasLabel | Compare | Member) -> Question | bool:
    if isinstance(atom, FlagRef):
        return Question(("flag", atom.name), _as_truth)
    if isinstance(atom, RequestRef):
        return Question(("request", atom.key), _as_truth)
    if isinstance(atom, HasLabel):
        return Question(("label", atom.label), _as_truth)
    if isinstance(atom, Member):
        values = atom.values
        if isinstance(atom.item, Constant):
            return atom.item.value in values
        return Question(
            _name_of(atom.item),
            lambda v: _as_truth(None if v is None else v in values),
            values,
            _kind_of(atom.item),
        )
    return _compare_test(atom)


def _compare_test(atom: Compare) -> Question | bool:
    left, right, operator = atom.left, atom.right, str(atom.operator)
    if isinstance(left, Constant) and not isinstance(right, Constant):
        left, right, operator = right, left, operator.translate(_MIRRORED)
    if isinstance(right, Constant):
        if isinstance(left, Constant):
            return _holds(operator, left.value, right.value)
        return _number_test(_name_of(left), operator, right.value, _kind_of(left))
    first, second = _name_of(left), _name_of(right)
    if first == second:
        same = "=" in _HOLDS[operator]
        return Question(first, lambda v: _as_truth(None if v is None else same), (), _kind_of(left))
    if second < first:
        first, second, operator = second, first, operator.translate(_MIRRORED)
    wanted = _HOLDS[operator]
    return Question(("pair", *first, "?", *second), lambda v: _as_truth(None if v is None else v in wanted))


def _number_test(name: Name, operator: str, constant: Any, kind: syntax.Type) -> Question:
    return Question(
        name, lambda v: _as_truth(None if v is None else _holds(operator, v, constant)), (constant,), kind
    )


def _holds(operator: str, left: Any, right: Any) -> bool:
    relation = "=" if left == right else "<" if not isinstance(left, str) and left < right else ">"
    return relation in _HOLDS[operator]


def _as_truth(value: bool | None) -> int:
    return UNDECIDED if value is None else TRUE if value else FALSE


def _name_of(operand: Operand) -> Name:
    if isinstance(operand, syntax.SignalRef):
        return ("signal", operand.name)
    if isinstance(operand, RequestRef):
        return ("request", operand.key)
    return ("step",)


def _kind_of(operand: Operand) -> syntax.Type:
    return (
        operand.type
        if isinstance(operand, RequestRef)
        else "int"
        if isinstance(operand, syntax.StepRef)
        else "float"
    )
