"""``policy explain`` answers from a log on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardsteer.audit import open_journal
from guardsteer.cli.main import main
from guardsteer.core.events import RuleFired
from tests.evaluate.stories import UP, adopted, policy_of, story


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log of two requests; of the second, a record of a rule is missing."""
    policy = policy_of()
    whole = story(policy, [UP, {}], request="r-1", context={"tier": 1})
    broken = story(policy, [UP, {}], request="r-2", context={"tier": 1})
    with open_journal(tmp_path / "audit") as journal:
        for event in [adopted(policy), *whole, *(e for e in broken if not isinstance(e, RuleFired))]:
            journal.append(event)
    return tmp_path / "audit"


def test_a_request_is_explained(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "explain", "r-1", "--audit", str(log)]) == 0
    out = capsys.readouterr().out
    assert "warm, when billing && request.tier >= 1" in out
    assert "added empathy at 0.3, steps 0 to 1" in out
    assert (
        main(["policy", "explain", "r-1", "--audit", str(log), "--rule", "hush", "--step", "1", "--json"])
        == 0
    )
    answer = json.loads(capsys.readouterr().out)
    assert [rule["rule"] for rule in answer["rows"][0]["rules"]] == ["hush"]


def test_a_log_that_contradicts_itself_is_a_finding(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "explain", "r-2", "--audit", str(log)]) == 1
    shown = capsys.readouterr()
    assert "the parts of warm come to true, but the log says that it rested" in shown.out
    assert "audit verify" in shown.err


def test_what_is_not_in_the_log_is_misuse(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for given, said in (
        (["r-3", "--audit", str(log)], "no record of request 'r-3'"),
        (["r-1", "--audit", str(log), "--rule", "warn"], "no rule 'warn'; its policy has hush, lift"),
        (["r-1", "--audit", str(log / "absent")], "no such folder"),
    ):
        assert main(["policy", "explain", *given]) == 2
        assert said in capsys.readouterr().err
