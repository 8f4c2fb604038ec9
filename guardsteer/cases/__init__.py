"""A policy's own tests: texts or scripted signals, step by step, and what the policy is to make of them.

No torch, no model.
"""

from __future__ import annotations

from guardsteer.cases.model import Case, CaseFile, Expectation, Script, Span
from guardsteer.cases.reading import CASES_FILE, find_cases, load_cases, parse_cases
from guardsteer.cases.running import Report, Result, read_classifiers, run_cases

__all__ = [
    "CASES_FILE",
    "Case",
    "CaseFile",
    "Expectation",
    "Report",
    "Result",
    "Script",
    "Span",
    "find_cases",
    "load_cases",
    "parse_cases",
    "read_classifiers",
    "run_cases",
]
