"""A condition taken apart: the text of each part, and the whole's truth from the truths of its parts.

For explanations after the fact; the engine's own evaluation is compiled. The logic is the same:
Kleene's, with None for undecided.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from guardsteer.core.policy import Policy
from guardsteer.rules import syntax
from guardsteer.rules.conditions import parse_condition
from guardsteer.rules.names import Names
from guardsteer.rules.syntax import Condition, Constant, Operand

__all__ = ["Truth", "Value", "compared", "conditions_of", "parts_of", "truth_of", "written"]

Truth: TypeAlias = bool | None
"""True, False, or None: undecided."""

Value: TypeAlias = "str | int | float | bool | Sequence[str] | None"
"""What a name is worth; None: missing."""

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def truth_of(condition: Condition, told: Callable[[Condition], Truth]) -> Truth:
    """Return whether a condition holds, where ``told`` gives the truth of each of its ``parts_of``."""
    if isinstance(condition, Constant):
        return bool(condition.value)
    if isinstance(condition, syntax.Not):
        truth = truth_of(condition.item, told)
        return None if truth is None else not truth
    if isinstance(condition, syntax.AllOf | syntax.AnyOf):
        decisive = isinstance(condition, syntax.AnyOf)
        truths = [truth_of(item, told) for item in condition.items]
        if decisive in truths:
            return decisive
        return None if None in truths else not decisive
    if isinstance(condition, syntax.SameTruth):
        left, right = truth_of(condition.left, told), truth_of(condition.right, told)
        return None if left is None or right is None else left == right
    return told(condition)


def compared(part: Condition, value_of: Callable[[Operand], Value]) -> Truth:
    """Return the truth of a comparison, membership or request key; ``value_of`` tells what a name is worth.

    Raises ``TypeError`` for a flag, whose state is no value of the moment.
    """
    if isinstance(part, syntax.Compare):
        left, right = _value(part.left, value_of), _value(part.right, value_of)
        return None if left is None or right is None else _COMPARE[part.operator](left, right)
    if isinstance(part, syntax.Member):
        value = _value(part.item, value_of)
        return None if value is None else value in part.values
    if isinstance(part, syntax.HasLabel):
        labels = value_of(syntax.RequestRef("labels", "labels"))
        return part.label in labels if isinstance(labels, Sequence) else None
    if isinstance(part, syntax.RequestRef):
        value = value_of(part)
        return None if value is None else bool(value)
    raise TypeError(f"{type(part).__name__} is no comparison")


def _value(operand: Operand, value_of: Callable[[Operand], Value]) -> Value:
    return operand.value if isinstance(operand, Constant) else value_of(operand)


def conditions_of(policy: Policy) -> tuple[Condition, ...]:
    """Return the condition of each rule of a checked policy, in the policy's order."""
    names = Names(
        {flag.name for flag in policy.flags},
        dict.fromkeys((spec.name for spec in policy.classifiers), None),
        dict(policy.context),
    )
    parsed = [parse_condition(rule.when, names)[0] for rule in policy.rules]
    # A checked policy has none that cannot be read; one that was not checked never fires.
    return tuple(Constant(False) if condition is None else condition for condition in parsed)


def parts_of(condition: Condition) -> tuple[Condition, ...]:
    """Return the flags, request keys and comparisons of a condition, each once, left to right."""
    return tuple(dict.fromkeys(part for part in syntax.atoms(condition) if not isinstance(part, Constant)))


def written(condition: Condition, within: int = 0) -> str:
    """Return a condition in the policy language; reading it again gives an equal one.

    ``within``: how tightly what stands around it binds (0 nothing, 1 ``||``, 2 ``&&``, 3 ``!``).
    """
    if isinstance(condition, syntax.Not):
        if isinstance(condition.item, syntax.SameTruth):
            return _enclosed(_same(condition.item, "!="), within > 2)
        return "!" + written(condition.item, 3)
    if isinstance(condition, syntax.AllOf):
        return _enclosed(" && ".join(written(item, 2) for item in condition.items), within > 1)
    if isinstance(condition, syntax.AnyOf):
        return _enclosed(" || ".join(written(item, 1) for item in condition.items), within > 0)
    if isinstance(condition, syntax.SameTruth):
        return _enclosed(_same(condition, "=="), within > 2)
    if isinstance(condition, syntax.Compare):
        return _enclosed(
            f"{_operand(condition.left)} {condition.operator} {_operand(condition.right)}", within > 2
        )
    if isinstance(condition, syntax.HasLabel):
        return _enclosed(f"{_operand(Constant(condition.label))} in request.labels", within > 2)
    if isinstance(condition, syntax.Member):
        values = ", ".join(_operand(Constant(value)) for value in condition.values)
        return _enclosed(f"{_operand(condition.item)} in [{values}]", within > 2)
    return _operand(condition) if not isinstance(condition, syntax.FlagRef) else condition.name


def _same(condition: syntax.SameTruth, operator: str) -> str:
    return f"{written(condition.left, 3)} {operator} {written(condition.right, 3)}"


def _enclosed(text: str, needed: bool) -> str:
    return f"({text})" if needed else text


def _operand(operand: Operand) -> str:
    if isinstance(operand, syntax.SignalRef):
        return operand.name
    if isinstance(operand, syntax.RequestRef):
        return f"request.{operand.key}"
    if isinstance(operand, syntax.StepRef):
        return "step"
    value = operand.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(_ESCAPES.get(character, character) for character in value) + '"'
    return repr(value)


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
