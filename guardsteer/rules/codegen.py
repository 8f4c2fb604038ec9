"""Conditions and flags as Python functions over local slots.

Code objects are compiled from syntax trees that are built here. A policy contributes numbers, strings
and structure to them, never text, and the functions have no builtins.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cache
from types import CodeType, FunctionType
from typing import Any, TypeAlias, cast

from guardsteer.core.policy import FlagSpec
from guardsteer.rules.syntax import Compare, Constant, FlagRef, Member, Operand, RequestRef, SignalRef
from guardsteer.rules.temporal import constants_of, initial_values, template_of
from guardsteer.rules.truth import Atom, lower_atom

__all__ = ["Decide", "Key", "Sense", "State", "initial_state", "make_decide", "make_sense"]

Key: TypeAlias = tuple[bool, ...]
State: TypeAlias = tuple[Any, ...]
Fixed: TypeAlias = tuple[Any, ...]
Sense: TypeAlias = Callable[[Sequence[float], State, int, Fixed, int], tuple[State, Key, float]]
Decide: TypeAlias = Callable[[Key, Key, Fixed, Key], Key]


@cache
def _parsed(template: str) -> ast.Module:
    return ast.parse(template)


class _Fill(ast.NodeTransformer):
    """Gives a template's names the number of their flag, and puts in its constants."""

    def __init__(self, suffix: str, signal: str, constants: Mapping[str, float]) -> None:
        self.suffix = suffix
        self.signal = signal
        self.constants = constants

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Replace one name."""
        if node.id in self.constants:
            return ast.Constant(self.constants[node.id])
        if node.id == "N":
            return node
        return ast.Name(self.signal if node.id == "s" else node.id + self.suffix, node.ctx)


def _flag_statements(number: int, flag: FlagSpec, signal: str) -> list[ast.stmt]:
    fill = _Fill(str(number), signal, constants_of(flag))
    template, _ = template_of(flag)
    return [cast("ast.stmt", fill.visit(statement)) for statement in deepcopy(_parsed(template).body)]


def initial_state(flags: Sequence[FlagSpec]) -> State:
    """Return the state of flags that are down and have seen nothing."""
    return tuple(value for flag in flags for value in initial_values(template_of(flag)[1]))


def _load(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _item(name: str, index: int) -> ast.expr:
    return ast.Subscript(_load(name), ast.Constant(index), ast.Load())


def _tuple(items: Sequence[ast.expr]) -> ast.expr:
    return ast.Tuple(list(items), ast.Load())


def _sum(terms: list[ast.expr]) -> ast.expr:
    # By halves: the depth of a tree is bounded.
    if len(terms) < 2:
        return terms[0] if terms else ast.Constant(0.0)
    middle = len(terms) // 2
    return ast.BinOp(_sum(terms[:middle]), ast.Add(), _sum(terms[middle:]))


def _unpack(names: Sequence[str], source: str) -> list[ast.stmt]:
    if not names:
        return []
    targets: list[ast.expr] = [ast.Name(name, ast.Store()) for name in names]
    return [ast.Assign([ast.Tuple(targets, ast.Store())], _load(source))]


def _function(arguments: Sequence[str], body: list[ast.stmt]) -> Any:
    parameters = ast.arguments(
        posonlyargs=[], args=[ast.arg(name) for name in arguments], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    definition = ast.FunctionDef("step", parameters, body, [])
    module = ast.fix_missing_locations(ast.Module([definition], []))
    code = compile(module, "<policy>", "exec", dont_inherit=True)
    inner = next(constant for constant in code.co_consts if isinstance(constant, CodeType))
    return FunctionType(inner, {"__builtins__": {}})


def make_sense(
    flags: Sequence[FlagSpec],
    reads: Sequence[tuple[Atom, bool]],
    signal_index: Mapping[str, int],
    fixed_index: Mapping[RequestRef, int],
    told: Sequence[int] = (),
) -> Sense:
    """Return the function ``(signals, state, step, fixed, sentences) -> (state, key, total)`` of one stage.

    ``key`` holds whether each flag is certainly up, then the truth values ``reads``. ``total`` is the sum of
    the signals ``told``: nan where one of them is missing.
    """
    numbers = {flag.name: number for number, flag in enumerate(flags)}
    used = {signal_index[flag.signal] for flag in flags} | set(told)

    def value_of(operand: Operand) -> ast.expr:
        if isinstance(operand, Constant):
            return ast.Constant(operand.value)
        if isinstance(operand, RequestRef):
            return _item("K", fixed_index[operand])
        if isinstance(operand, SignalRef):
            used.add(signal_index[operand.name])
            return _load(f"s{signal_index[operand.name]}")
        return _load("T")

    def read(atom: Atom, must: bool) -> ast.expr:
        if isinstance(atom, FlagRef):
            return _load(f"{'m' if must else 'y'}{numbers[atom.name]}")
        if isinstance(atom, Compare | Member):
            return lower_atom(atom, must, value_of)
        raise TypeError("a request key is fixed, not sensed")

    key = [_load(f"m{number}") for number in range(len(flags))] + [read(atom, must) for atom, must in reads]
    kept = [f"{kind}{number}" for number, flag in enumerate(flags) for kind in template_of(flag)[1]]
    body = _signal_loads(sorted(used), len(signal_index)) + _unpack(kept, "U")
    for number, flag in enumerate(flags):
        body += _flag_statements(number, flag, f"s{signal_index[flag.signal]}")
    total = _sum([_load(f"s{index}") for index in told])
    body.append(ast.Return(_tuple([_tuple([_load(name) for name in kept]), _tuple(key), total])))
    return cast("Sense", _function(("S", "U", "T", "K", "N"), body))


def _signal_loads(used: Sequence[int], count: int) -> list[ast.stmt]:
    # Unpacking all of a list costs about a third a signal of what subscripting costs.
    if len(used) * 3 > count:
        return _unpack([f"s{index}" for index in range(count)], "S")
    return [ast.Assign([ast.Name(f"s{index}", ast.Store())], _item("S", index)) for index in used]


def make_decide(bits: Sequence[ast.expr], before: Sequence[str], within: Sequence[str]) -> Decide:
    """Return the function ``(before, within, fixed, bits) -> bits``.

    ``before`` and ``within`` name the two keys' places, ``P`` the bits that were decided last.
    """
    body = _unpack(before, "B") + _unpack(within, "W")
    body.append(ast.Return(_tuple(bits)))
    return cast("Decide", _function(("B", "W", "K", "P"), body))
