"""``guardsteer run``: streams an answer under a policy, reads prompts strictly, and leaves an audit."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from guardsteer.audit import read, verify
from guardsteer.cli.main import main
from guardsteer.core.events import RequestStarted, RowHalted
from tests.runtime.harness import chat_folder

POLICY = """
guardsteer: 1
name: stop
classifiers: {bad: {literals: [bad], on: prompt}}
context: {tier: int}
rules: [{id: stop, when: bad.match > 0.5, halt: true}]
fallback: "No."
"""
Run = Callable[..., int]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return chat_folder(tmp_path / "model")


@pytest.fixture
def run(model: Path, tmp_path: Path) -> Run:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)

    def start(*words: str) -> int:
        common = ["--model", str(model), "--policy", str(policy), "--max-new-tokens", "8"]
        return main(["run", *common, "--audit", str(tmp_path / "audit"), *words])

    return start


def test_a_prompt_is_answered_and_the_audit_verifies(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--prompt", "a bad word") == 0
    assert capsys.readouterr().out == "No.\n"
    assert verify(tmp_path / "audit").ok
    assert any(isinstance(stored.event, RowHalted) for stored in read(tmp_path / "audit"))


def test_json_gives_a_line_for_each_prompt_of_a_file(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prompts.jsonl"
    rows = [
        {"prompt": "bad", "request": "r-1", "context": {"tenant": "acme", "tier": 2}},
        {"messages": [{"role": "user", "content": "good"}], "request": "r-2"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert run("--prompts", str(file), "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["request"] for line in lines] == ["r-1", "r-2"]
    assert lines[0]["answer"] == "No."
    started = [s.event for s in read(tmp_path / "audit") if isinstance(s.event, RequestStarted)]
    assert [event.context for event in started] == [{"tenant": "acme", "tier": 2}, {}]


def test_a_seed_samples_and_repeats(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    answers = []
    for seed in ("1", "1", "2"):
        assert run("--prompt", "good", "--seed", seed, "--json") == 0
        answers.append(json.loads(capsys.readouterr().out)["answer"])
    assert answers[0] == answers[1] != answers[2]


def test_a_chat_remembers_what_was_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a bad word\n\nand then\n/exit\nnever read\n"))
    assert run() == 0
    # The second answer is halted as well, since the first message is still part of its prompt.
    assert capsys.readouterr().out == "No.\nNo.\n"
    started = [s.event for s in read(tmp_path / "audit") if isinstance(s.event, RequestStarted)]
    assert len(started) == 2
    assert started[1].prompt_tokens > started[0].prompt_tokens


def test_every_bad_line_of_a_file_is_named(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(
        '{"prompt": "x"}\n{"prompt": 3}\nnot json\n{"promt": "x"}\n[]\n{"prompt": "x", "context": 1}\n'
    )
    assert run("--prompts", str(file)) == 2
    said = capsys.readouterr().err
    assert [f":{number}:" in said for number in range(1, 7)] == [False, True, True, True, True, True]


def test_a_model_that_cannot_be_loaded_is_misuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    words = ["run", "--model", str(tmp_path / "nothing"), "--policy", str(tmp_path / "policy.yaml")]
    assert main([*words, "--prompt", "x"]) == 2
    assert "no such folder" in capsys.readouterr().err
