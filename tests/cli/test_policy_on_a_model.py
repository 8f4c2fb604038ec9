"""``policy check --model`` tells what a policy lacks for a model, and which of its vectors fight there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardsteer.cli.main import main
from guardsteer.demo import model_path

STACKED = """\
guardsteer: 1
name: stacked
classifiers:
  intent: {use: demo-intent, on: user}
flags:
  billing: {signal: intent.billing, enter: 0.50}
vectors:
  warm: {use: demo-empathy, blocks: [3], positions: [last_prompt_token]}
  cold: {use: demo-empathy, blocks: [3], positions: [last_prompt_token]}
budget: 1.0
rules:
  - {id: warm, when: billing, add: {vector: warm, strength: 0.8}}
  - {id: cold, when: intent.billing > 0.2, subtract: {vector: cold, strength: 0.3}}
"""


def check(*words: str) -> int:
    return main(["policy", "check", *words, "--model", str(model_path()), "--dtype", "float32"])


def test_vectors_that_fight_are_warned_of_and_matter_only_when_strict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(STACKED)
    assert main(["policy", "check", str(path), "--strict"]) == 0
    assert capsys.readouterr().out.endswith("ok\n")
    assert check(str(path)) == 0
    found = capsys.readouterr().out
    assert "warning: policy 'stacked': vectors 'warm' and 'cold' may act at once at block 3" in found
    assert "push against each other (cosine -1.00)" in found
    assert check(str(path), "--strict", "--json") == 1
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert (warning["kind"], warning["file"]) == ("vectors-fight", str(path))


def test_no_shipped_policy_of_the_demo_stacks_vectors_that_fight(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("demo", "--json") == 0
    assert {row["kind"] for row in json.loads(capsys.readouterr().out)["warnings"]} <= {
        "no-budget",
        "no-effect",
    }


def test_what_the_policy_lacks_for_the_model_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("support", "--json") == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert "not prepared for this model" in problem["message"]
    assert "guardsteer prepare" in problem["message"]


def test_a_model_that_is_not_there_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", "demo", "--model", "/nowhere"]) == 2
    assert "no such folder" in capsys.readouterr().err
