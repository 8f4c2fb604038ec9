"""Policies for the tests, and short ways to load, refuse and run them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from guardsteer.core.plan import Plan
from guardsteer.core.policy import ClassifierSpec, Policy
from guardsteer.errors import PolicyError, Problem
from guardsteer.rules import Program, RowRules, compile_policy, parse_policy

NAN = math.nan
FILE = "policy.yaml"

SUPPORT = """\
guardsteer: 1
name: support
context: {tier: int, beta: bool}
classifiers:
  intent:   {use: support-intent, on: user}
  swearing: {literals: [damn], patterns: ['\\bugh+\\b'], on: all}
flags:
  billing:  {signal: intent.billing, enter: 0.60, exit: 0.5}
  rude:     {signal: swearing.match, enter: 1}
vectors:
  empathy:    {use: empathy, max_strength: 0.40}
  sycophancy: {use: sycophancy}
rules:
  - id: warm
    when: billing && !rude
    add: {vector: empathy, strength: 0.30}
  - {id: stop, when: rude, halt: true}
fallback: "No."
"""


def outputs_of(spec: ClassifierSpec) -> tuple[str, ...]:
    """The outputs of every asset in the tests' policies."""
    return ("match",) if spec.use is None else ("billing", "other")


def changed(old: str, new: str, text: str = SUPPORT) -> str:
    """Return ``text`` with its one ``old`` replaced."""
    assert text.count(old) == 1, f"{old!r} must occur once"
    return text.replace(old, new)


def refused(text: str) -> tuple[Problem, ...]:
    """Return the problems for which ``text`` is refused."""
    try:
        parse_policy(text, FILE, outputs=outputs_of)
    except PolicyError as error:
        return error.problems
    raise AssertionError("the policy was loaded")


ONE: Mapping[str, tuple[str, ...]] = {"s": ("a", "b", "c")}


def policy_of(
    rules: str,
    *,
    flags: str = "",
    classifiers: Mapping[str, tuple[str, ...]] = ONE,
    vectors: Sequence[str] = ("{use: v}",) * 3,
    context: str = "{}",
) -> Policy:
    """Return a policy with assets ``classifiers`` (name to outputs) and vectors v0, v1 and so on."""
    lines = ["guardsteer: 1", "name: test", "fallback: stop", f"context: {context}", "classifiers:"]
    lines += [f"  {name}: {{use: {name}, on: all}}" for name in classifiers]
    lines.append(f"flags:\n{flags}" if flags else "flags: {}")
    lines += ["vectors:", *(f"  v{i}: {vector}" for i, vector in enumerate(vectors))]
    lines.append(f"rules:\n{rules}")
    return parse_policy("\n".join(lines), FILE, outputs=lambda spec: classifiers[spec.name])


def program_of(
    rules: str,
    *,
    flags: str = "",
    classifiers: Mapping[str, tuple[str, ...]] = ONE,
    vectors: Sequence[str] = ("{use: v}",) * 3,
    context: str = "{}",
    probes: Mapping[str, int] | None = None,
) -> Program:
    """Return the program of such a policy."""
    policy = policy_of(rules, flags=flags, classifiers=classifiers, vectors=vectors, context=context)
    return compile_policy(policy, classifiers, probes=probes or {})


def plans(program: Program, rows: Sequence[Sequence[float]]) -> list[Plan]:
    """Return the plan of each step of a row."""
    row = program.start()
    return [step(row, signals) for signals in rows]


def step(row: RowRules, signals: Sequence[float]) -> Plan:
    """Take one whole step, through the pass if the program has anything to decide there."""
    plan = row.before(list(signals))
    return row.within(list(signals)) if row.program.has_within else plan
