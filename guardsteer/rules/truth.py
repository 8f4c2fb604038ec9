"""What a condition means when something is missing: Kleene's three-valued logic (Kleene, 1952, §64).

Each condition is lowered twice. *must* is true where the condition holds whatever the missing values
are, *may* where it could hold. They are each other's mirror: ``may(!c) = !must(c)``. With nothing
missing they agree.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

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

__all__ = ["Atom", "Context", "Expression", "NameOf", "ValueOf", "fixed_truth", "lower", "lower_atom"]

Atom: TypeAlias = FlagRef | RequestRef | HasLabel | Compare | Member
Context: TypeAlias = Mapping[str, str | int | float | bool | Sequence[str]]
Expression: TypeAlias = ast.expr
NameOf: TypeAlias = Callable[[Atom, bool], ast.expr]
ValueOf: TypeAlias = Callable[[Operand], ast.expr]

_OPERATORS: Mapping[str, type[ast.cmpop]] = {
    "==": ast.Eq,
    "!=": ast.NotEq,
    "<": ast.Lt,
    "<=": ast.LtE,
    ">": ast.Gt,
    ">=": ast.GtE,
}
_CONTRARY: Mapping[syntax.Comparison, syntax.Comparison] = {
    "==": "!=",
    "!=": "==",
    "<": ">=",
    "<=": ">",
    ">": "<=",
    ">=": "<",
}


def lower(condition: Condition, must: bool, name_of: NameOf) -> ast.expr:
    """Return ``condition`` as a Python expression; ``name_of(atom, must)`` gives an atom's truth value."""
    if isinstance(condition, Constant):
        return ast.Constant(bool(condition.value))
    if isinstance(condition, syntax.Not):
        return _negated(lower(condition.item, not must, name_of))
    if isinstance(condition, syntax.AllOf | syntax.AnyOf):
        joint = ast.And() if isinstance(condition, syntax.AllOf) else ast.Or()
        return ast.BoolOp(joint, [lower(item, must, name_of) for item in condition.items])
    if isinstance(condition, syntax.SameTruth):
        return _lower_same(condition, must, name_of)
    return name_of(condition, must)


def _lower_same(condition: syntax.SameTruth, must: bool, name_of: NameOf) -> ast.expr:
    def side(which: Condition, certainly: bool) -> ast.expr:
        return lower(which, certainly, name_of)

    left, right = condition.left, condition.right
    both = ast.BoolOp(ast.And(), [side(left, must), side(right, must)])
    neither = ast.BoolOp(ast.And(), [_negated(side(left, not must)), _negated(side(right, not must))])
    return ast.BoolOp(ast.Or(), [both, neither])


def lower_atom(atom: Compare | Member, must: bool, value_of: ValueOf) -> ast.expr:
    """Return a comparison of numbers as a Python expression in which NaN stands for a missing number."""
    if isinstance(atom, Member):
        item, values = (
            value_of(atom.item),
            ast.Tuple([ast.Constant(value) for value in atom.values], ast.Load()),
        )
        found = ast.Compare(item, [ast.In()], [values])
        if must or not _can_be_missing(atom.item):
            return found
        return ast.BoolOp(
            ast.Or(), [found, ast.Compare(value_of(atom.item), [ast.NotEq()], [value_of(atom.item)])]
        )
    if not any(_can_be_missing(side) for side in (atom.left, atom.right)):
        return _compared(atom, atom.operator, value_of)
    if must:
        return _certainly(atom, atom.operator, value_of)
    return _negated(_certainly(atom, _CONTRARY[atom.operator], value_of))


def _certainly(atom: Compare, operator: syntax.Comparison, value_of: ValueOf) -> ast.expr:
    """Every comparison with NaN is false but ``!=``, which is therefore written as less or greater."""
    if operator == "!=":
        sides = [_compared(atom, "<", value_of), _compared(atom, ">", value_of)]
        return ast.BoolOp(ast.Or(), sides)
    return _compared(atom, operator, value_of)


def _compared(atom: Compare, operator: syntax.Comparison, value_of: ValueOf) -> ast.expr:
    return ast.Compare(value_of(atom.left), [_OPERATORS[operator]()], [value_of(atom.right)])


def _negated(expression: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), expression)


def _can_be_missing(operand: Operand) -> bool:
    return isinstance(operand, syntax.SignalRef | RequestRef)


def fixed_truth(atom: Atom, context: Context) -> bool | None:
    """Return whether an atom that reads the request alone holds; None where a key is missing."""
    if isinstance(atom, RequestRef):
        value = context.get(atom.key)
        return None if value is None else bool(value)
    if isinstance(atom, HasLabel):
        labels = context.get("labels")
        return None if labels is None or not isinstance(labels, Sequence) else atom.label in labels
    if isinstance(atom, Member):
        item = _fixed_value(atom.item, context)
        return None if item is None else item in atom.values
    if isinstance(atom, FlagRef):
        raise TypeError("a flag is not fixed by the request")
    left, right = _fixed_value(atom.left, context), _fixed_value(atom.right, context)
    if left is None or right is None:
        return None
    return _COMPARE[atom.operator](left, right)


def _fixed_value(operand: Operand, context: Context) -> str | int | float | None:
    if isinstance(operand, Constant):
        return operand.value
    if isinstance(operand, RequestRef):
        value = context.get(operand.key)
        if isinstance(value, float) and math.isnan(value):
            return None
        return value if isinstance(value, str | int | float) else None
    raise TypeError("an operand of a fixed condition is a request key or a constant")


def _less(left: str | int | float, right: str | int | float) -> bool:
    if isinstance(left, str) or isinstance(right, str):
        raise TypeError("strings have no order")
    return left < right


_COMPARE: Mapping[str, Callable[[str | int | float, str | int | float], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": _less,
    "<=": lambda left, right: not _less(right, left),
    ">": lambda left, right: _less(right, left),
    ">=": lambda left, right: not _less(left, right),
}
