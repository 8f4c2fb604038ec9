"""What the page about the policy tools shows is what they do."""

from __future__ import annotations

import re
from pathlib import Path

from guardsteer.assets import Catalog
from guardsteer.cases import find_cases, load_cases, parse_cases, read_classifiers, run_cases
from guardsteer.cases.expecting import _FIELDS, _OPERATORS
from guardsteer.cases.reading import _CASE
from guardsteer.rules import load_policy

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs/policy-tools.md").read_text(encoding="utf-8")


def test_the_cases_on_the_page_pass_over_the_demos_policy() -> None:
    policy = load_policy(ROOT / "policies/demo")
    classifiers = read_classifiers(policy, Catalog())
    outputs = {name: tuple(found.outputs) for name, found in classifiers.items()}
    (text,) = re.findall(r"```yaml\n# tests.yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    report = run_cases(policy, parse_cases(text, "page", policy, outputs), classifiers)
    assert report.ok, str(report)


def test_the_program_on_the_page_runs() -> None:
    policy = load_policy(ROOT / "policies/demo")
    path = find_cases(Path(policy.source))
    assert path is not None
    report = run_cases(policy, load_cases(path, policy), read_classifiers(policy, Catalog()))
    assert report.ok, str(report)


def test_the_page_names_every_field() -> None:
    for name in (*_CASE, *_FIELDS, *_OPERATORS):
        assert re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", PAGE), name
