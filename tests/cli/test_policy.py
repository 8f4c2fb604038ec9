"""``policy check`` reports every mistake with its place, and its status says whether there is one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardsteer.cli.main import main

GOOD = """\
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


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """Return a policy without mistakes."""
    folder = tmp_path / "policies" / "calm-for-tests"
    folder.mkdir(parents=True)
    (folder / "policy.yaml").write_text(GOOD)
    return folder


def test_a_good_policy_passes_as_folder_file_and_name(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GUARDSTEER_ASSETS", str(policy.parent.parent))
    for given in (str(policy), str(policy / "policy.yaml"), "calm-for-tests"):
        assert main(["policy", "check", given]) == 0
        assert capsys.readouterr().out.endswith("ok\n")
    assert main(["policy", "check", str(policy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []


def test_every_mistake_is_reported_with_its_place(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD.replace("swearing.match", "swaering.match").replace("when: rude", "when: rudee")
    (policy / "policy.yaml").write_text(text)
    assert main(["policy", "check", str(policy)]) == 1
    out = capsys.readouterr().out
    assert f"{policy / 'policy.yaml'}:6:" in out
    assert f"{policy / 'policy.yaml'}:8:" in out
    assert "2 mistakes" in out
    assert main(["policy", "check", str(policy), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert [problem["line"] for problem in answer["problems"]] == [6, 8]


def test_a_classifier_that_is_not_there_is_a_mistake_of_the_policy(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = GOOD.replace("{literals: [damn], on: all}", "{use: no-such-classifier, on: all}")
    (policy / "policy.yaml").write_text(text)
    assert main(["policy", "check", str(policy)]) == 1
    out = capsys.readouterr().out
    assert "no-such-classifier" in out
    assert ":4:" in out


def test_a_name_that_is_neither_file_nor_policy_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", "no-such-policy"]) == 2
    assert "no policy named 'no-such-policy'" in capsys.readouterr().err


def test_a_path_to_nothing_is_misuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(tmp_path / "absent.yaml")]) == 2
    assert "absent.yaml" in capsys.readouterr().err


def test_warnings_are_told_apart_from_mistakes_and_matter_only_when_strict(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = GOOD.replace("rules:\n", "  calm: {signal: swearing.match, enter: 0.5}\nrules:\n")
    (policy / "policy.yaml").write_text(text)
    assert main(["policy", "check", str(policy)]) == 0
    out = capsys.readouterr().out
    assert f"{policy / 'policy.yaml'}:7:3: warning: no rule reads the flag 'calm'" in out
    assert out.endswith(": 1 warning\n")
    assert main(["policy", "check", str(policy), "--strict"]) == 1
    capsys.readouterr()
    assert main(["policy", "check", str(policy), "--strict", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["problems"] == []
    assert [(w["kind"], w["line"], w["column"]) for w in answer["warnings"]] == [("unused", 7, 3)]


def test_the_schema_is_printed_as_json_for_policies_and_for_bindings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["policy", "schema"]) == 0
    assert "rules" in json.loads(capsys.readouterr().out)["properties"]
    assert main(["policy", "schema", "--binding", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["properties"]) == {"mode", "rules", "rollout", "arms"}
