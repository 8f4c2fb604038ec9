"""``vectors refusal`` saves the direction that a model refuses along, or says why there is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from guardsteer.cli.main import main
from guardsteer.demo import model_path
from guardsteer.steer import load_vector
from tests.cli.test_vectors import model  # fixture
from tests.lab.refusals import ACTS, HARMLESS_ASKS, TONES

__all__ = ["model"]


def _requests(folder: Path, name: str, asks: tuple[str, ...]) -> Path:
    """Write each request under each tone that the demo model knows, as JSON Lines."""
    path = folder / f"{name}.jsonl"
    rows = [
        {"messages": [{"role": "system", "content": tone}, {"role": "user", "content": ask}]}
        for ask in asks
        for tone in TONES
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _words(folder: Path, model: Path, *more: str) -> list[str]:
    harmful = _requests(folder, "harmful", ACTS)
    harmless = _requests(folder, "harmless", HARMLESS_ASKS)
    return [
        "vectors", "refusal", "--model", str(model), "--harmful", str(harmful), "--harmless", str(harmless),
        "--licence", "Apache-2.0", "--out", str(folder / "out"), "--positions", "1", *more,
    ]  # fmt: skip


def test_the_demo_model_refuses_along_one_direction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = _words(tmp_path, model_path(), "--refusal", "I", "Sorry", "This")
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["chosen"]["bypass"] < 0 < told["chosen"]["induce"]
    assert len(told["candidates"]) == 6
    vector = load_vector(Path(told["path"]), fingerprint=None)
    assert vector.card.method == "refusal_direction"
    assert (np.abs(vector.directions - vector.directions[0]) < 1e-6).all()
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.count("chosen") == 1
    assert "log odds of refusing" in said


def test_a_model_without_one_ends_with_status_1_and_the_reason(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = _words(tmp_path, model, "--refusal", "~")
    assert main(words) == 1
    assert "none saved: none of 4 directions is one of refusal" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert main([*words, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["path"], told["chosen"]) == (False, None, None)


def test_mistakes_end_in_one_clear_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few.txt"
    few.write_text("How do I hurt my boss?\n")
    words = _words(tmp_path, model, "--refusal", "~")
    for change, message in (
        (("--harmful", str(few)), "got 1 harmful and"),
        (("--harmful", str(tmp_path / "nowhere.txt")), "nowhere.txt: cannot be read"),
        (("--harmful", str(tmp_path / "harmless.jsonl")), "are both harmful and harmless"),
        (("--name", "No Name"), "field 'name'"),
    ):
        changed = list(words)
        if change[0] in changed:
            changed[changed.index(change[0]) + 1] = change[1]
        else:
            changed += change
        assert main(changed) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert "Traceback" not in captured.err
