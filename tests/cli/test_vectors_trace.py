"""``vectors trace`` prints, saves and draws what carries a trait; ``vectors show`` makes a vector's page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from guardsteer.cli.main import main
from guardsteer.lab.pairs.pair_files import write_recipe
from guardsteer.steer import save_vector
from tests.lab.chats import chat_tokenizer, recipe
from tests.lab.studies import lettered
from tests.lab.where.test_trace import carried_at, sided


def _saved(folder: Path, model: Any) -> Path:
    chat_tokenizer().save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command with a model in which block 2 alone reads the cue, and its recipe."""
    folder = tmp_path_factory.mktemp("traced")
    model = carried_at(2)
    made = write_recipe(recipe(sided(model)), folder / "warmth")
    return ["vectors", "trace", "--model", str(_saved(folder / "model", model)), "--recipe", str(made)]


def test_a_trace_is_printed_saved_and_drawn(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--blocks", "1", "2", "--last", "2", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "effect of the cue (system) on 12 pairs: +" in told
    assert "restored, block_output" in told
    head = next(line for line in told.splitlines() if line.startswith("block  "))
    assert head.split()[:4] == ["block", "cue", "user", "message"]
    assert " -2" in head
    assert " -1" not in head
    assert (tmp_path / "trace.html").read_text().startswith("<!doctype html>")
    saved = json.loads((tmp_path / "trace.json").read_text())
    assert {cell["block"] for cell in saved["cells"]} == {1, 2}
    assert main([*words, "--blocks", "2", "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"][0]["block"] == 2


def test_where_there_is_nothing_to_trace_the_status_is_one(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = carried_at(2)
    torch.nn.init.zeros_(model.model.layers[2].self_attn.o_proj.weight)
    deaf = str(_saved(tmp_path / "model", model))
    assert main([*words[:3], deaf, *words[4:], "--out", str(tmp_path)]) == 1
    assert "nothing to trace" in capsys.readouterr().out
    assert "Nothing to trace" in (tmp_path / "trace.html").read_text()


def test_what_cannot_be_traced_is_told_with_status_two(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path)]
    assert main([*words, *out, "--limit", "2"]) == 2
    assert "expected at least 8" in capsys.readouterr().err
    assert main([*words, *out, "--part", "test"]) == 2
    assert "0 pairs of the test part" in capsys.readouterr().err
    assert main([*words, *out, "--blocks", "7"]) == 2
    assert "numbers from 0 to 3" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main([*words, "--out", str(tmp_path / "file" / "within")]) == 2
    assert "Not a directory" in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path / "none"), *out]) == 2
    assert "none" in capsys.readouterr().err


def test_show_makes_a_page_where_one_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vector = save_vector(lettered({2: -1.0, 3: 1.0}, {2: 9.0, 3: 1.0}), tmp_path / "letters")
    assert main(["vectors", "show", str(vector)]) == 0
    assert "report" not in capsys.readouterr().out
    assert main(["vectors", "show", str(vector), "--out", str(tmp_path / "shown"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    page = Path(told["report"]).read_text()
    assert Path(told["report"]) == tmp_path / "shown" / "letters.html"
    assert "There is much of the letter." in page
    assert "Separation by block" in page
    assert "Nothing measured lies beside this vector" in page
