"""A preparation that was killed goes on where it stopped and ends as if it had not been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from guardsteer.lab.measure.effects import Bench
from guardsteer.lab.pairs.prompts import Prompt
from guardsteer.lab.prepare.prepare import Metrics, Settings, prepare
from tests.lab.chats import chat_model, chat_tokenizer
from tests.lab.preparing import write_recipe_folder
from tests.lab.studies import LOOSE, letters

REPOSITORY = Path(__file__).resolve().parents[3]
ONE = """\
guardsteer: 1
name: one
vectors: {warm: {use: ./warmth, blocks: [2], max_strength: 9.0}}
rules: [{id: push, when: step >= 0, add: {vector: warm, strength: 2.0}}]
"""
_RUN = """
import sys, pathlib
from tests.lab.prepare.test_prepare_resumed import run
run(*map(pathlib.Path, sys.argv[1:]))
"""
_calls = [0]


def deadly(prompts: Sequence[Prompt], replies: Sequence[str]) -> Sequence[float]:
    """Return what ``letters`` does; kill the process, as a person may, when it was asked often enough."""
    _calls[0] += 1
    if _calls[0] == int(os.environ.get("GUARDSTEER_TEST_DIES_AT", "0")):
        os.kill(os.getpid(), signal.SIGKILL)
    return letters(prompts, replies)


def run(policy: Path, out: Path) -> Any:
    """Prepare the policy of this module."""
    settings = Settings(
        metrics=Metrics(every="python:tests.lab.prepare.test_prepare_resumed:deadly"),
        bounds=LOOSE,
        strengths=(2.0, 4.0),
        sweep_strengths=(4.0,),
        controls=1,
        new_tokens=6,
        gates=False,
    )
    return prepare(chat_model(), chat_tokenizer(), policy, out, settings)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    write_recipe_folder(tmp_path / "warmth")
    path = tmp_path / "policy.yaml"
    path.write_text(ONE)
    return path


def _calibration(out: Path) -> Any:
    (path,) = out.glob("vectors/*/artifacts/*/calibration.json")
    return json.loads(path.read_text())


def test_what_was_written_before_the_kill_is_not_written_again_and_the_end_is_the_same(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    died = subprocess.run(
        [sys.executable, "-c", _RUN, str(policy), str(out)],
        cwd=REPOSITORY,
        env={**os.environ, "GUARDSTEER_TEST_DIES_AT": "5"},
        capture_output=True,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    kept = {path.suffix for path in out.glob("vectors/*/artifacts/*/.unfinished-*")}
    assert kept == {".jsonl", ".part"}
    written: list[int] = []
    real = Bench._replies

    def counted(*args: Any, **settings: Any) -> Any:
        written.append(1)
        return real(*args, **settings)

    monkeypatch.setattr(Bench, "_replies", counted)
    resumed = run(policy, out)
    after_kill = len(written)
    whole = run(policy, tmp_path / "whole")
    assert 0 < after_kill < len(written) - after_kill
    assert resumed.made[0].digest == whole.made[0].digest
    assert resumed.made[0].state == whole.made[0].state
    assert _calibration(out) == _calibration(tmp_path / "whole")
    assert list(out.rglob(".unfinished-*")) == []


def test_what_was_kept_of_another_search_is_not_used(policy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(policy, out)
    folder = next(out.glob("vectors/*/artifacts/*"))
    (folder / ".unfinished-000000000000.jsonl").write_text("[1, 2]\n")
    (folder / "prepared.json").unlink()
    assert run(policy, out).made[0].digest == first.made[0].digest
    assert list(out.rglob(".unfinished-*")) == []
