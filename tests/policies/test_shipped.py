"""The policies that ship: sound, tested in every part, documented, and bound to no model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from guardsteer.assets import Catalog
from guardsteer.cases import Case, CaseFile, Report, load_cases, read_classifiers, run_cases
from guardsteer.cases.replay import Seen, replay
from guardsteer.core.policy import Policy
from guardsteer.rules import compile_policy, load_policy
from guardsteer.rules.routing import base_of

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("support", "safety", "concise", "formal", "faithful", "reasoning", "demo")
FOR_ANY_MODEL = tuple(name for name in SHIPPED if name != "demo")


@cache
def policy(name: str) -> Policy:
    return load_policy(ROOT / "policies" / name)


@cache
def cases(name: str) -> CaseFile:
    return load_cases(ROOT / "policies" / name / "tests.yaml", policy(name))


@cache
def report(name: str) -> Report:
    return run_cases(policy(name), cases(name), read_classifiers(policy(name), Catalog()))


def steps(name: str) -> Iterator[tuple[Case, Seen]]:
    """Yield all that happens in all cases of a policy."""
    classifiers = read_classifiers(policy(name), Catalog())
    outputs = {key: tuple(found.outputs) for key, found in classifiers.items()}
    program = compile_policy(policy(name), outputs, probes={}, alpha_to_strength={})
    for case in cases(name).cases:
        for seen in replay(policy(name), program, case, classifiers):
            yield case, seen


def test_every_folder_of_policies_is_looked_at_here() -> None:
    assert {path.parent.name for path in ROOT.glob("policies/*/policy.yaml")} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_policy_passes_its_own_cases(name: str) -> None:
    assert report(name).ok, str(report(name))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_cases_of_a_policy_see_every_flag_up_and_down_and_every_rule_fire_and_rest(name: str) -> None:
    flags = {(flag, up) for _, seen in steps(name) for flag, up in seen.flags.items()}
    rules = {(rule, fires) for _, seen in steps(name) for rule, fires in seen.rules.items()}
    assert flags == {(flag.name, up) for flag in policy(name).flags for up in (True, False)}
    always = {rule.id for rule in policy(name).rules if rule.when == "true"}
    wanted = {(rule.id, fires) for rule in policy(name).rules for fires in (True, False)}
    assert wanted - rules <= {(rule, False) for rule in always}


@pytest.mark.parametrize("name", SHIPPED)
def test_no_rule_of_a_policy_can_be_taken_out_without_a_case_that_misses_it(name: str) -> None:
    named = {
        base_of(str(rule))
        for case in cases(name).cases
        for expectation in case.expect
        for rule in (*expectation.rules, expectation.halt, expectation.revise)
    }
    classifiers = read_classifiers(policy(name), Catalog())
    for rule in {base_of(rule.id) for rule in policy(name).rules} - named:
        left = tuple(spec for spec in policy(name).rules if base_of(spec.id) != rule)
        assert not run_cases(replace(policy(name), rules=left), cases(name), classifiers).ok, rule


@pytest.mark.parametrize("name", FOR_ANY_MODEL)
def test_a_policy_names_vectors_by_recipe_and_no_block_of_any_model(name: str) -> None:
    for vector in policy(name).vectors:
        assert (ROOT / "vectors" / vector.use / "recipe.yaml").exists()
        assert vector.blocks is None
        assert vector.max_strength is not None
        assert all(steer.alpha is None for rule in policy(name).rules for steer in rule.steer)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_page_of_a_policy_names_its_rules_and_the_recipes_that_it_needs(name: str) -> None:
    page = (ROOT / "policies" / name / "README.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {name}\n")
    assert [rule.id for rule in policy(name).rules if f"`{base_of(rule.id)}`" not in page] == []
    assert [vector.use for vector in policy(name).vectors if vector.use not in page] == []
    table = (ROOT / "policies" / "README.md").read_text(encoding="utf-8")
    assert f"[{name}]({name}/README.md)" in table
