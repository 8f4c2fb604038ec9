"""What the documentation of the policy language shows and lists is what the code takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from guardsteer.rules import lint, parse_policy
from guardsteer.rules.binding_schema import BindingModel, OverrideModel, RolloutModel
from guardsteer.rules.lint_notes import Kind
from guardsteer.rules.rule_schema import AblateModel, ClampModel, PushModel, ReviseModel, RuleModel
from guardsteer.rules.schema import ClassifierModel, FlagModel, PolicyModel, VectorModel


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "docs" / "policy-language.md").read_text(encoding="utf-8")


def test_every_policy_shown_loads_without_a_warning(text: str) -> None:
    shown = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    assert len(shown) == 3
    for policy in shown:
        assert lint(parse_policy(policy, "policy-language.md")) == ()


def fields_of(*models: type[BaseModel]) -> set[str]:
    """Return the fields as a policy writes them."""
    return {field.alias or name for model in models for name, field in model.model_fields.items()}


@pytest.mark.parametrize(
    ("heading", "fields"),
    [
        ("### Top level", fields_of(PolicyModel)),
        ("### `classifiers`", fields_of(ClassifierModel)),
        ("### `flags`", fields_of(FlagModel)),
        ("### `vectors`", fields_of(VectorModel)),
        ("### `rules`", fields_of(RuleModel)),
        ("### Steering", fields_of(PushModel, AblateModel, ClampModel)),
        ("### Taking text back", fields_of(ReviseModel)),
        ("## What a request may choose", fields_of(OverrideModel)),
        ("## Off, shadow, enforce", fields_of(BindingModel)),
    ],
)
def test_every_field_is_in_its_table_and_no_other(text: str, heading: str, fields: set[str]) -> None:
    section = text.split(f"\n{heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    table = section.split("| field |")[1].split("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(named) == len(set(named))
    assert set(named) == fields


def test_the_fields_of_a_rollout_are_in_its_row(text: str) -> None:
    row = next(line for line in text.splitlines() if line.startswith("| `rollout` |"))
    assert fields_of(RolloutModel) | {"rollout"} == set(re.findall(r"`(\w+)`", row))


def test_every_kind_of_warning_is_in_the_table_and_no_other(text: str) -> None:
    table = text.split("\n## Warnings\n")[1].split("| kind |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", table, flags=re.MULTILINE) == list(get_args(Kind))


def test_every_yes_that_is_listed_is_refused(text: str) -> None:
    listed = text.split("\n## What is refused in the YAML")[1]
    for word in re.findall(
        r"`([a-zA-Z0-9_:]+)`",
        listed.split("capitalised")[0] + listed.split("numbers like")[1].split("which")[0],
    ):
        with pytest.raises(Exception, match="to some readers"):
            parse_policy(f"guardsteer: 1\nname: {word}\n", "p.yaml")
