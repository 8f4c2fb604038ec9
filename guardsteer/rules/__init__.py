"""The policy language: YAML to a checked policy, a policy to a program, a program to a plan at every step."""

from __future__ import annotations

from guardsteer.rules.binding import load_binding, parse_binding
from guardsteer.rules.compiling import compile_policy
from guardsteer.rules.lint import LintWarning, lint
from guardsteer.rules.loading import check, load_policy, parse_policy
from guardsteer.rules.policy_schema import binding_schema, policy_schema
from guardsteer.rules.program import Change, Program, RowRules

__all__ = [
    "Change",
    "LintWarning",
    "Program",
    "RowRules",
    "binding_schema",
    "check",
    "compile_policy",
    "lint",
    "load_binding",
    "load_policy",
    "parse_binding",
    "parse_policy",
    "policy_schema",
]
