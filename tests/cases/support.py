"""A policy with a bit of everything, and short ways to write, run and refuse cases."""

from __future__ import annotations

from dataclasses import replace

from guardsteer.assets import Catalog
from guardsteer.cases import CaseFile, Report, parse_cases, read_classifiers, run_cases
from guardsteer.cases.replay import Classifiers
from guardsteer.cases.running import ProbeOutputs
from guardsteer.core.policy import Policy
from guardsteer.errors import PolicyError, Problem
from guardsteer.rules import parse_policy

POLICY = """\
guardsteer: 1
name: calm
context: {tier: int}
classifiers:
  swearing: {literals: [damn], on: generation}
  asking: {literals: [refund, invoice], on: user}
  mood: {use: ./mood, on: generation}
flags:
  rude: {signal: swearing.match, enter: 0.5}
  billing: {signal: asking.match, enter: 0.5}
  low: {signal: mood.sad, enter: 0.6, exit: 0.4, after: 2, hold: 3}
vectors:
  empathy: {use: ./v, max_strength: 0.4}
  praise: {use: ./v}
rules:
  - id: warm
    when: billing && request.tier >= 1
    add: {vector: empathy, strength: 0.3}
  - id: cheer
    when: low
    priority: 5
    add: {vector: empathy, strength: 0.2}
    subtract: {vector: praise, strength: 0.1}
  - {id: hush, when: mood.happy > 0.8, disable: praise}
  - {id: stop, when: rude, halt: true}
fallback: "Let us stop here."
"""
OUTPUTS = {"swearing": ("match",), "asking": ("match",), "mood": ("sad", "happy")}


def policy_of(text: str = POLICY) -> Policy:
    """Return the policy in ``text``; ``mood`` is a probe of block 2."""
    return parse_policy(text, "policy.yaml", outputs=lambda spec: OUTPUTS.get(spec.name, ("match",)))


def classifiers_of(policy: Policy) -> Classifiers:
    """Return the policy's classifiers, of ``mood`` what its card says."""
    written = tuple(spec for spec in policy.classifiers if spec.use is None)
    found = read_classifiers(replace(policy, classifiers=written), Catalog())
    return {
        spec.name: found[spec.name] if spec.use is None else ProbeOutputs(OUTPUTS[spec.name], 2)
        for spec in policy.classifiers
    }


def cases_of(cases: str, policy: Policy) -> CaseFile:
    """Return the cases in the YAML below ``cases:``."""
    outputs = {name: OUTPUTS.get(name, ("match",)) for name in (spec.name for spec in policy.classifiers)}
    return parse_cases(f"guardsteer: 1\ncases:\n{cases}", "tests.yaml", policy, outputs)


def report_of(cases: str, text: str = POLICY) -> Report:
    """Return what came of the cases below ``cases:``."""
    policy = policy_of(text)
    return run_cases(policy, cases_of(cases, policy), classifiers_of(policy))


def refused(text: str) -> tuple[Problem, ...]:
    """Return the mistakes for which a test file is refused."""
    try:
        parse_cases(text, "tests.yaml", policy_of(), OUTPUTS)
    except PolicyError as error:
        return error.problems
    raise AssertionError("the cases were read")
