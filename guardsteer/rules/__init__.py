"""The policy language: YAML to a checked policy, a policy to a program, a program to a plan at every step."""

from __future__ import annotations

from guardsteer.rules.binding import load_binding, parse_binding
from guardsteer.rules.compiling import compile_policy
from guardsteer.rules.loading import check, load_policy, parse_policy
from guardsteer.rules.program import Change, Program, RowRules

__all__ = [
    "Change",
    "Program",
    "RowRules",
    "check",
    "compile_policy",
    "load_binding",
    "load_policy",
    "parse_binding",
    "parse_policy",
]
