"""From the shell, batches and shards do not show in what was captured, and a killed run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from guardsteer.cli.main import main
from guardsteer.lab.capture.captured import Captured, load_parts
from guardsteer.steer import load_vector
from tests.cli.test_vectors import model, recipe  # fixtures

__all__ = ["model", "recipe"]

FLOAT32 = 1e-5
"""Relative to the largest state: batches of other shapes round differently in the model itself."""


def _words(model: Path, recipe: Path, out: Path, *more: object) -> list[str]:
    words = ["vectors", "capture", "--model", model, "--recipe", recipe, "--out", out, *more]
    return [*map(str, words), "--sites", "mlp", "block_output", "--keep", "rows", "second"]


def _captured(model: Path, recipe: Path, out: Path, *more: object) -> Captured:
    assert main(_words(model, recipe, out, *more)) == 0
    return load_parts(out)


def _agree(first: Captured, second: Captured) -> None:
    assert first.sums.keys() == second.sums.keys()
    assert first.done == second.done
    for key, sums in first.sums.items():
        other = second.sums[key]
        np.testing.assert_array_equal(sums.counts, other.counts)
        for name in ("states", "second"):
            one, two = getattr(sums, name), getattr(other, name)
            np.testing.assert_allclose(one, two, rtol=0, atol=FLOAT32 * np.abs(one).max())
        np.testing.assert_allclose(sums.norms, other.norms, rtol=FLOAT32)


@pytest.mark.parametrize("read", ["assistant_mean", "last_prompt_token", "generated_tokens"])
def test_batches_of_1_and_32_and_shards_of_1_and_4_give_the_same(
    model: Path, recipe: Path, tmp_path: Path, read: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one = _captured(model, recipe, tmp_path / "one", "--read", read, "--batch-size", 1)
    many = _captured(model, recipe, tmp_path / "many", "--read", read, "--batch-size", 32)
    for shard in ("3/4", "1/4", "4/4", "2/4"):
        assert main(_words(model, recipe, tmp_path / "four", "--read", read, "--shard", shard)) == 0
    four = load_parts(tmp_path / "four")
    _agree(one, many)
    _agree(one, four)
    capsys.readouterr()
    vectors = []
    for name in ("one", "many", "four"):
        words = ["--captured", tmp_path / name, "--read", read, "--out", tmp_path / f"{name}-vector"]
        about = ["vectors", "extract", "--model", model, "--recipe", recipe, "--json", *words]
        assert main([str(word) for word in about]) == 0
        told = json.loads(capsys.readouterr().out)
        vectors.append(load_vector(told["path"], fingerprint=None))
    for vector in vectors[1:]:
        np.testing.assert_allclose(vector.directions, vectors[0].directions, atol=FLOAT32)
        np.testing.assert_allclose(vector.residual_norms, vectors[0].residual_norms, rtol=FLOAT32)


_KILLED_AFTER_A_SAVE = """
import os, signal, sys
import guardsteer.lab.capture.captured as captured
from guardsteer.cli.main import main

save = captured.Captured.save

def save_and_die(self, path):
    save(self, path)
    os.kill(os.getpid(), signal.SIGKILL)

captured.Captured.save = save_and_die
captured._SECONDS_BETWEEN_SAVES = 0.0
main(sys.argv[1:])
"""


def test_a_run_that_was_killed_goes_on_and_gives_the_same_to_the_last_bit(
    model: Path, recipe: Path, tmp_path: Path
) -> None:
    words = _words(model, recipe, tmp_path / "run", "--batch-size", 1)
    code = subprocess.run(
        [sys.executable, "-c", _KILLED_AFTER_A_SAVE, *words],
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
    ).returncode
    assert code == -signal.SIGKILL
    part = tmp_path / "run" / "part-1-of-1.safetensors"
    with safe_open(part, "np") as file:
        assert 0 < json.loads(file.metadata()["about"])["done"] < load_whole(model, recipe, tmp_path).done
    assert main(words) == 0
    resumed, whole = (load_file(tmp_path / name / part.name) for name in ("run", "whole"))
    assert resumed.keys() == whole.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(resumed[name], values)


def load_whole(model: Path, recipe: Path, folder: Path) -> Captured:
    """Capture in one run that nothing stops."""
    return _captured(model, recipe, folder / "whole", "--batch-size", 1)


def test_progress_is_shown_on_a_terminal_and_nowhere_else(
    model: Path, recipe: Path, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_words(model, recipe, tmp_path / "quiet")) == 0
    assert "conversations" not in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main(_words(model, recipe, tmp_path / "shown", "--batch-size", 4)) == 0
    told = capsys.readouterr().err
    done = load_parts(tmp_path / "shown").done
    assert f"\rread 4 of {2 * done} conversations" in told
    assert told.endswith(f"\rread {2 * done} of {2 * done} conversations\n")
