"""Captured in shards a recipe gives what one run gives; ``import`` and ``export`` say what is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guardsteer.cli.main import main
from guardsteer.host import fingerprint
from guardsteer.steer import load_vector
from tests.cli.test_vectors import model, recipe  # fixtures
from tests.lab.chats import chat_model, chat_tokenizer

__all__ = ["model", "recipe"]

TOLERANCE = 1e-5


def _run(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    assert main(["vectors", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_shards_that_were_captured_apart_give_the_vector_that_one_run_gives(
    model: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ("--model", model, "--recipe", recipe)
    run = tmp_path / "run"
    for shard in ("2/2", "1/2"):
        told = _run(
            capsys, "capture", *both, "--out", run, "--shard", shard, "--sites", "mlp", "block_output",
            "--read", "assistant_mean", "last_prompt_token", "--keep", "rows",
        )  # fmt: skip
        assert told["points"] == 8
    for read, method in (("assistant_mean", "mean_difference"), ("last_prompt_token", "pca_differences")):
        same = (*both, "--read", read, "--method", method, "--site", "mlp")
        once = _run(capsys, "extract", *same, "--out", tmp_path / "once")
        again = _run(capsys, "extract", *same, "--out", tmp_path / "again", "--captured", run)
        assert again["card"]["method"] == method
        first, second = (load_vector(answer["path"], fingerprint=None) for answer in (once, again))
        np.testing.assert_allclose(first.directions, second.directions, atol=TOLERANCE)
        np.testing.assert_allclose(first.residual_norms, second.residual_norms, rtol=TOLERANCE)
    assert main(["vectors", "extract", *map(str, both), "--captured", str(run), "--limit", "8"]) == 2


def test_a_vector_goes_out_and_comes_back_for_the_same_model(
    model: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = _run(capsys, "extract", "--model", model, "--recipe", recipe)
    out = tmp_path / "warmth.svec"
    told = _run(capsys, "export", made["path"], "--out", out)
    assert any("left behind" in note for note in told["notes"])
    about = ("--name", "back", "--trait", "Warm.", "--licence", "MIT", "--out", tmp_path / "back")
    back = _run(capsys, "import", out, "--model", model, *about)
    assert any("calibrate" in note for note in back["notes"])
    mine = fingerprint(chat_model(), chat_tokenizer())
    first = load_vector(made["path"], fingerprint=mine)
    second = load_vector(back["path"], fingerprint=mine)
    np.testing.assert_allclose(first.directions, second.directions, atol=1e-6)
    assert main(["vectors", "show", back["path"]]) == 0
    assert "imported of svec: warmth.svec" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["capture", "--recipe", "RECIPE", "--model", "MODEL", "--out", "o", "--shard", "3/2"], "shard: got"),
        (["capture", "--recipe", "RECIPE", "--model", "MODEL", "--out", "o", "--read", "x"], "read: got 'x'"),
        (
            ["capture", "--recipe", "RECIPE", "--model", "MODEL", "--out", "o", "--batch-size", "0"],
            "batch_size",
        ),
        (
            ["capture", "--recipe", "RECIPE", "--model", "MODEL", "--out", "RECIPE/recipe.yaml/x"],
            "be written",
        ),
        (["extract", "--recipe", "RECIPE", "--model", "MODEL", "--captured", "nowhere"], "no captured parts"),
        (
            ["extract", "--recipe", "RECIPE", "--model", "MODEL", "--background", "nowhere.txt"],
            "--background: nowhere.txt cannot be read: No such file",
        ),
        (
            ["import", "x.npy", "--block", "1", "--model", "MODEL", "--texts", "MODEL/empty.txt"],
            "holds no text",
        ),
        (["extract", "--recipe", "RECIPE", "--model", "MODEL", "--method", "mean_centred"], "background"),
        (["extract", "--recipe", "RECIPE", "--model", "MODEL", "--method", "head_probes"], "site 'heads'"),
        (["export", "nowhere.safetensors", "--out", "x.gguf"], "no such file"),
        (["import", "x.npz", "--model", "MODEL", "--feature", "1"], "--block and --id"),
        (["import", "x.npz", "--model", "MODEL", "--site", "knee"], "--site: got 'knee'"),
    ],
)
def test_mistakes_end_in_one_clear_line(
    model: Path,
    recipe: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(recipe.parent)
    given = [word.replace("RECIPE", str(recipe)).replace("MODEL", str(model)) for word in words]
    np.save("x.npy", np.ones(4))
    (model / "empty.txt").write_text(" \n")
    about = ["--name", "x", "--trait", "x", "--licence", "x", "--out", "o"] if words[0] == "import" else []
    assert main(["vectors", *given, *about]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
