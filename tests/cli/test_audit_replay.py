"""``audit replay`` generates a request again from a log on the disk, and says what it cannot do and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import guardsteer
from guardsteer.cli.main import main
from tests.runtime.harness import chat_folder

POLICY = """\
guardsteer: 1
name: stop
classifiers: {bad: {literals: [bad], on: prompt}}
rules: [{id: stop, when: bad.match > 0.5, halt: true}]
fallback: "No."
"""
Replay = Callable[..., int]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return chat_folder(tmp_path / "model")


@pytest.fixture
def answers(model: Path, tmp_path: Path) -> list[list[int]]:
    """Return two answers of one call, of which the second was halted; the log has it all."""
    from guardsteer.cli.models import load_model

    (tmp_path / "policy.yaml").write_text(POLICY)
    loaded, tokenizer = load_model(model)
    with guardsteer.wrap(
        loaded,
        tokenizer,
        policy=tmp_path / "policy.yaml",
        audit=tmp_path / "audit",
        audit_text=tmp_path / "keys",
    ) as guard:
        inputs = guard.chat([[{"role": "user", "content": text}] for text in ("hello", "a bad one")])
        for entry, name in zip(inputs["guard"], ("r-1", "r-2"), strict=True):
            entry["request"] = name
        torch.manual_seed(3)
        ids = guard.generate(**inputs, max_new_tokens=8, do_sample=True, suppress_tokens=[0, 1])
    written: list[list[int]] = ids[:, inputs["input_ids"].shape[1] :].tolist()
    return written


@pytest.fixture
def replay(model: Path, answers: list[list[int]], tmp_path: Path) -> Replay:
    assert len(answers) == 2

    def start(request: str, *words: str) -> int:
        given = ["--request", request, "--model", str(model), "--threads", str(torch.get_num_threads())]
        return main(["audit", "replay", str(tmp_path / "audit"), *given, *words])

    return start


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_request_is_replayed_from_what_was_kept_encrypted(
    replay: Replay, answers: list[list[int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for request, written in zip(("r-1", "r-2"), answers, strict=True):
        assert replay(request, "--keys", str(tmp_path / "keys"), "--json") == 0
        found = told(capsys)
        assert found["ok"]
        assert found["company"] == "whole"
        tokens = found["replayed"]["tokens"]
        assert tokens == written[: len(tokens)]
    assert replay("r-1", "--keys", str(tmp_path / "keys")) == 0
    shown = capsys.readouterr().out
    assert "decided anew, with all rows of its call" in shown
    assert "tokens      the same, all 8" in shown


def test_a_request_is_replayed_from_a_prompt_or_a_file_of_them(
    replay: Replay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay("r-1", "--prompt", "hello") == 0
    assert "stand-ins" in capsys.readouterr().out
    file = tmp_path / "asked.jsonl"
    lines = [{"prompt": "a bad one"}, {"messages": [{"role": "user", "content": "hello"}], "request": "x"}]
    file.write_text("\n\n".join(map(json.dumps, lines)))
    assert replay("r-2", "--prompts", str(file), "--json") == 0
    assert told(capsys)["company"] == "whole"


def test_what_would_have_been_is_shown_beside_what_was_said(
    replay: Replay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(POLICY.replace("[bad]", "[worse]"))
    words = ["--keys", str(tmp_path / "keys"), "--without", "stop", "--bare", "--policy", str(other)]
    assert replay("r-2", *words) == 0
    shown = capsys.readouterr().out
    assert "without stop: another from token 0 on" in shown
    assert "said      No." in shown
    assert "bare: another from token 0 on" in shown
    assert "on the same text: NOT THE SAME from step 0 on" in shown
    assert "rule stop: from step 0 on" in shown
    assert "step 0: recorded halts, it does nothing" in shown


def test_where_tokens_part_is_told_with_the_reason_and_is_a_finding(
    replay: Replay, answers: list[list[int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "answer.json"
    file.write_text(json.dumps(answers[0]))
    words = ("--prompt", "hello", "--output", str(file), "--alone")
    assert replay("r-1", *words, "--json") == 1
    found = told(capsys)
    assert not found["same"]
    assert found["company"] == "alone"
    place = found["parting"]["token"]
    assert found["replayed"]["tokens"][:place] == answers[0][:place]
    assert found["replayed"]["tokens"][place] != answers[0][place]
    assert replay("r-1", *words) == 1
    shown = capsys.readouterr().out
    assert f"NOT THE SAME from token {place} on" in shown
    assert "and what is drawn for a row depends on its place" in shown
    # What a halted row says is not drawn.
    assert replay("r-2", "--prompt", "a bad one", "--alone", "--as-recorded") == 0
    assert "strengths   the same at steps 0 to 0" in capsys.readouterr().out


def test_misuse_is_told_with_what_to_do(
    replay: Replay, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GUARDSTEER_AUDIT_KEY_FILE", raising=False)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": 3}\n{"messages": [], "prompt": "x"}\nnothing\n')
    for words, said in (
        ((), "no prompt is given, of "),
        (("--prompt", "hullo"), "none of the 1 prompts given is the recorded one"),
        (("--prompts", str(tmp_path / "absent")), "cannot be read: No such file"),
        (("--prompts", str(bad)), "bad.jsonl:3: expected a JSON object with one of prompt, messages, tokens"),
        (("--keys", str(tmp_path / "absent")), "no such folder; give the folder of the subjects' keys"),
        (("--prompt", "hello", "--without", "go"), "has no such rule; it has stop"),
        (("--prompt", "hello", "--sequence", "2"), "has no row 2; it has 0"),
        (("--prompt", "hello", "--strength", "warm"), "expected VECTOR=X such as empathy=0"),
        (("--prompt", "hello", "--dtype", "bfloat16"), "dtype was float32, is bfloat16"),
        (("--prompt", "hello", "--policy", "absent/policy"), "no such file"),
        (("--prompt", "hello", "--output", str(bad)), "the output given is not the recorded one"),
    ):
        assert replay("r-1", *words) == 2
        assert said in capsys.readouterr().err
    assert replay("r-9", "--prompt", "hello") == 2
    assert "no record of request 'r-9'" in capsys.readouterr().err
    key = tmp_path / "audit" / "digest.key"
    key.rename(tmp_path / "kept.key")
    assert replay("r-1", "--prompt", "hello") == 2
    assert "the key of the log's digests is not there" in capsys.readouterr().err
    assert not key.exists(), "none may be made up"
    assert replay("r-1", "--prompt", "hello", "--key", str(tmp_path / "kept.key")) == 0


def test_accepted_differences_are_listed(
    replay: Replay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--keys", str(tmp_path / "keys"), "--accept-differences", "--dtype", "bfloat16", "--json")
    status = replay("r-1", *words)
    found = told(capsys)
    assert status == (0 if found["ok"] else 1)
    assert [line.split()[:2] for line in found["accepted"]] == [["model:", "weights"], ["model:", "dtype"]]


def test_what_was_forgotten_is_told(
    replay: Replay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = str(tmp_path / "keys")
    assert main(["audit", "forget", str(tmp_path / "audit"), "r-2", "--keys", keys]) == 0
    assert replay("r-2", "--keys", keys) == 2
    assert "the prompt of 'r-2' cannot be read: its key" in capsys.readouterr().err
    assert replay("r-1", "--keys", keys, "--json") == 0
    assert told(capsys)["company"] == "stand-ins"
