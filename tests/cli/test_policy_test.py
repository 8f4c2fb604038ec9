"""``policy test`` runs the cases beside policies, and its status says whether all passed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardsteer.cli.main import main

POLICY = """\
guardsteer: 1
name: calm
classifiers:
  swearing: {literals: [damn], on: all}
flags:
  rude: {signal: swearing.match, enter: 0.5}
rules:
  - {id: stop, when: rude, halt: true}
fallback: "Let us stop here."
"""
CASES = """\
guardsteer: 1
cases:
  - {name: polite, user: hello, expect: [{at: end, halt: false}]}
  - {name: rude, user: "damn!", expect: [{at: 0, flags: {rude: up}, halt: stop}]}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """Return the folder of a policy with two good cases."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "tests.yaml").write_text(CASES)
    return tmp_path


def test_good_cases_pass(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "test", str(policy), str(policy / "policy.yaml")]) == 0
    out = capsys.readouterr().out
    assert out.count("2 of 2 cases of policy calm passed") == 2
    assert main(["policy", "test", str(policy), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"]
    assert answer["policies"][0]["passed"] == 2


def test_a_case_that_fails_is_shown_as_a_difference(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (policy / "tests.yaml").write_text(CASES.replace("halt: stop", "halt: false"))
    assert main(["policy", "test", str(policy)]) == 1
    out = capsys.readouterr().out
    assert f"{policy / 'tests.yaml'}:4: FAILED rude" in out
    assert "- expected none" in out
    assert "+ got      by stop" in out
    assert "rude is up (swearing.match 1)" in out
    assert main(["policy", "test", str(policy), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["policies"][0]["cases"][1]["mismatches"]


@pytest.mark.parametrize("cases", [None, "guardsteer: 1\ncases: []\n"])
def test_no_case_is_a_failure(policy: Path, cases: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    (policy / "tests.yaml").unlink()
    if cases is not None:
        (policy / "tests.yaml").write_text(cases)
    assert main(["policy", "test", str(policy)]) == 1
    assert "no cases" in capsys.readouterr().out


def test_a_policy_or_a_test_file_with_mistakes_is_misuse(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (policy / "tests.yaml").write_text(CASES.replace("{rude: up}", "{rud: up}"))
    assert main(["policy", "test", str(policy)]) == 2
    assert "tests.yaml:4:" in capsys.readouterr().err
    (policy / "policy.yaml").write_text(POLICY.replace("when: rude", "when: rud"))
    assert main(["policy", "test", str(policy)]) == 2
    assert "policy.yaml:8:" in capsys.readouterr().err
