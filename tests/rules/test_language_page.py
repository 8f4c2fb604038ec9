"""What the documentation of the policy language shows and lists is what the code takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from guardsteer.rules import parse_policy
from guardsteer.rules.schema import ClassifierModel, FlagModel, PolicyModel, RuleModel, VectorModel


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "docs" / "policy-language.md").read_text(encoding="utf-8")


def test_every_policy_shown_loads(text: str) -> None:
    shown = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    assert len(shown) == 2
    for policy in shown:
        parse_policy(policy, "policy-language.md")


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("Top level", PolicyModel),
        ("`classifiers`", ClassifierModel),
        ("`flags`", FlagModel),
        ("`vectors`", VectorModel),
        ("`rules`", RuleModel),
    ],
)
def test_every_field_is_in_its_table_and_no_other(text: str, heading: str, model: type[BaseModel]) -> None:
    section = text.split(f"### {heading}\n")[1].split("\n#")[0]
    table = section.split("| field |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == sorted(
        model.model_fields, key=table.index
    )
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == set(model.model_fields)


def test_every_yes_that_is_listed_is_refused(text: str) -> None:
    listed = text.split("## What is refused in the YAML")[1]
    for word in re.findall(
        r"`([a-zA-Z0-9_:]+)`",
        listed.split("capitalised")[0] + listed.split("numbers like")[1].split("which")[0],
    ):
        with pytest.raises(Exception, match="to some readers"):
            parse_policy(f"guardsteer: 1\nname: {word}\n", "p.yaml")
