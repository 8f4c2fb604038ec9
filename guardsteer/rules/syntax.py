"""Conditions as typed trees. Operands are numbers or strings, everything else is a truth value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "AllOf",
    "AnyOf",
    "Compare",
    "Comparison",
    "Condition",
    "Constant",
    "FlagRef",
    "HasLabel",
    "Member",
    "Not",
    "Operand",
    "RequestRef",
    "SameTruth",
    "SignalRef",
    "StepRef",
    "Type",
    "atoms",
    "leaves",
]

Type: TypeAlias = Literal["bool", "int", "float", "string", "labels"]
Comparison: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal."""

    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class FlagRef:
    """A flag's state."""

    name: str


@dataclass(frozen=True, slots=True)
class SignalRef:
    """A signal, as ``classifier.output``."""

    name: str


@dataclass(frozen=True, slots=True)
class RequestRef:
    """A key of the request's context."""

    key: str
    type: Type


@dataclass(frozen=True, slots=True)
class HasLabel:
    """Whether ``label`` is among the request's labels; undecided where the request brought no list."""

    label: str


@dataclass(frozen=True, slots=True)
class StepRef:
    """The number of the step, 0 for the prompt."""


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary of a condition."""

    item: Condition


@dataclass(frozen=True, slots=True)
class AllOf:
    """A conjunction of two or more."""

    items: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A disjunction of two or more."""

    items: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison of two numbers, or of two strings by ``==`` and ``!=`` alone."""

    operator: Comparison
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Member:
    """Whether a number or string is one of a list."""

    item: Operand
    values: tuple[str | int | float, ...]


@dataclass(frozen=True, slots=True)
class SameTruth:
    """Whether two flags, request keys or constants are both true or both false."""

    left: FlagRef | RequestRef | Constant
    right: FlagRef | RequestRef | Constant


Operand: TypeAlias = Constant | SignalRef | RequestRef | StepRef
Condition: TypeAlias = (
    Constant | FlagRef | RequestRef | HasLabel | Not | AllOf | AnyOf | Compare | Member | SameTruth
)
Leaf: TypeAlias = Constant | FlagRef | SignalRef | RequestRef | StepRef


def atoms(condition: Condition) -> Iterator[Constant | FlagRef | RequestRef | HasLabel | Compare | Member]:
    """Yield the parts of a condition that are not made of other conditions, left to right."""
    if isinstance(condition, Not):
        yield from atoms(condition.item)
    elif isinstance(condition, AllOf | AnyOf):
        for item in condition.items:
            yield from atoms(item)
    elif isinstance(condition, SameTruth):
        yield condition.left
        yield condition.right
    else:
        yield condition


def leaves(condition: Condition) -> Iterator[Leaf]:
    """Yield the names and constants that a condition reads, left to right."""
    for atom in atoms(condition):
        if isinstance(atom, Compare):
            yield atom.left
            yield atom.right
        elif isinstance(atom, Member):
            yield atom.item
        elif isinstance(atom, HasLabel):
            yield RequestRef("labels", "labels")
        else:
            yield atom
