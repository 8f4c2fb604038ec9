"""``audit show`` and ``audit verify`` tell what is in a log, and their status whether to worry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardsteer.audit import open_journal
from guardsteer.cli.main import main
from guardsteer.core.events import RequestEnded, RequestStarted
from guardsteer.rules.signing_keys import read_private


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log of two requests."""
    folder = tmp_path / "audit"
    with open_journal(folder) as journal:
        for request in ("r-1", "r-2"):
            journal.append(
                RequestStarted(
                    time_ns=1,
                    request=request,
                    sequence=0,
                    guard="g",
                    policy_digest="b3:0",
                    context={"tenant": "acme"},
                    prompt_digest="hk:0",
                    prompt_tokens=12,
                    settings={},
                )
            )
            journal.append(
                RequestEnded(
                    time_ns=2,
                    request=request,
                    sequence=0,
                    generated_tokens=5,
                    steered_tokens=3,
                    output_digest="hk:1",
                    reason="stop",
                )
            )
    return folder


def segment(log: Path) -> Path:
    (path,) = log.glob("*.jsonl")
    return path


def alter(log: Path, old: bytes, new: bytes) -> None:
    data = segment(log).read_bytes()
    assert old in data
    segment(log).write_bytes(data.replace(old, new, 1))


def test_a_whole_log_verifies(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", str(log)]) == 0
    assert "whole" in capsys.readouterr().out
    assert main(["audit", "verify", str(log), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"]
    assert answer["records"] >= 4
    assert answer["segments"] == len(answer["streams"]) == 1


def test_a_changed_log_is_a_finding(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alter(log, b'"steered_tokens":3', b'"steered_tokens":0')
    assert main(["audit", "verify", str(log)]) == 1
    assert f"FINDING {segment(log).name}:" in capsys.readouterr().out
    assert main(["audit", "verify", str(log), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert not answer["ok"]
    assert answer["findings"][0]["kind"] == "changed"


def test_a_checkpoint_that_was_kept_elsewhere_must_still_be_in_the_log(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anchor = tmp_path / "anchor"
    assert main(["audit", "checkpoint", str(log)]) == 0
    printed = capsys.readouterr().out
    assert main(["audit", "checkpoint", str(log), "--out", str(anchor)]) == 0
    assert anchor.read_text() == printed
    assert main(["audit", "verify", str(log), "--anchor", str(anchor)]) == 0
    anchor.write_text(anchor.read_text().replace("\n6\n", "\n5\n"))
    assert main(["audit", "verify", str(log), "--anchor", str(anchor)]) == 1
    assert "the first 5 lines are not those" in capsys.readouterr().out
    anchor.write_text("nonsense")
    assert main(["audit", "verify", str(log), "--anchor", str(anchor)]) == 2
    assert main(["audit", "verify", str(log), "--anchor", str(tmp_path / "absent")]) == 2


def test_no_anchor_is_made_of_a_changed_log_and_none_is_overwritten(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anchor = tmp_path / "anchor"
    anchor.write_text("an older one")
    assert main(["audit", "checkpoint", str(log), "--out", str(anchor)]) == 2
    assert anchor.read_text() == "an older one"
    alter(log, b'"steered_tokens":3', b'"steered_tokens":0')
    assert main(["audit", "checkpoint", str(log)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"1 finding, the first: {segment(log).name}:" in said.err


def test_a_log_must_have_been_begun_with_a_trusted_key_where_one_is_named(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, strangers = tmp_path / "operator", tmp_path / "stranger"
    for base in (keys, strangers):
        assert main(["policy", "keygen", str(base)]) == 0
    signed = tmp_path / "signed"
    with open_journal(signed, signing_key=read_private(keys.with_suffix(".key"))):
        pass
    trusted = ["--trusted", str(keys.with_suffix(".pub"))]
    assert main(["audit", "verify", str(signed), *trusted]) == 0
    assert main(["audit", "verify", str(log), *trusted]) == 1
    assert "no trusted key vouches" in capsys.readouterr().out
    assert main(["audit", "verify", str(signed), "--trusted", str(strangers.with_suffix(".pub"))]) == 1
    assert main(["audit", "verify", str(signed), "--trusted", str(tmp_path / "absent.pub")]) == 2


def test_show_tells_every_request_or_one(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "show", str(log), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    requests = [row["event"]["request"] for row in rows if "request" in row["event"]]
    assert requests == ["r-1", "r-1", "r-2", "r-2"]
    assert main(["audit", "show", str(log), "--request", "r-2", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["event"]["kind"] for row in rows] == ["request_started", "request_ended"]
    assert main(["audit", "show", str(log), "--request", "r-2"]) == 0
    assert "5 tokens, 3 steered" in capsys.readouterr().out


def test_show_says_when_lines_were_altered_or_lost(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alter(log, b'"generated_tokens":5', b'"generated_tokens":6')
    assert main(["audit", "show", str(log)]) == 1
    assert "1 record altered" in capsys.readouterr().err
    alter(log, b'"kind":"request_ended"', b'"kind":"request_ENDED"')
    assert main(["audit", "show", str(log)]) == 1
    assert "1 line left out" in capsys.readouterr().err


def test_show_of_an_unknown_request_says_so(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "show", str(log), "--request", "r-9"]) == 1
    assert "no record of request 'r-9'" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["show", "verify"])
def test_a_folder_that_is_absent_is_misuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    assert main(["audit", action, str(tmp_path / "absent")]) == 2
    err = capsys.readouterr().err
    assert "no such folder" in err
    assert err.count("\n") == 1
