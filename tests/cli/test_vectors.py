"""``vectors extract`` builds what ``vectors show`` prints, and mistakes end in one line and status 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from guardsteer.cli.main import main
from guardsteer.host import fingerprint
from guardsteer.steer import find_artifact, load_vector
from tests.lab.chats import chat_model, chat_tokenizer, pairs
from tests.steer.artifacts import small_vector

RECIPE = """\
format: guardsteer.recipe/1
name: warmth
version: 1.0.0
trait: The answer is warm.
description: A test.
licence: Apache-2.0
read: assistant_mean
split: {extraction: 60, tuning: 20, test: 20}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny chat model."""
    folder = tmp_path_factory.mktemp("model")
    chat_model().save_pretrained(folder)
    chat_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Return a recipe of 24 pairs."""
    folder = tmp_path / "vectors" / "warmth"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(RECIPE)
    rows = []
    for index, pair in enumerate(pairs(24)):
        sides = {
            name: {"reply": f"{side.reply} ({index})", "system": side.system}
            for name, side in (("positive", pair.positive), ("negative", pair.negative))
        }
        rows.append({"id": pair.id, "messages": list(pair.messages), **sides})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def _json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_extract_writes_where_policies_look_and_show_tells_what_it_wrote(
    model: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["vectors", "extract", "--model", str(model), "--recipe", str(recipe), "--json"]
    assert main(command) == 0
    answer = _json(capsys)
    mine = fingerprint(chat_model(), chat_tokenizer())
    path = find_artifact(recipe, mine)
    assert answer["path"] == str(path)
    assert load_vector(path, fingerprint=mine).digest == answer["card"]["digest"]
    assert main(["vectors", "show", str(path), "--json"]) == 0
    assert _json(capsys) == answer
    assert main(["vectors", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "warmth 1.0.0 (Apache-2.0)" in shown
    assert "not calibrated" in shown
    table = [line.split() for line in shown.splitlines() if line.split()[:1] in (["0"], ["1"], ["2"], ["3"])]
    assert [float(row[1]) for row in table] == pytest.approx(answer["residual_norms"], abs=1e-3)


def test_extract_takes_a_folder_blocks_and_a_position(
    model: Path,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GUARDSTEER_ASSETS", str(recipe.parent.parent))
    out = tmp_path / "out"
    command = ["vectors", "extract", "--model", str(model), "--recipe", "warmth", "--out", str(out)]
    assert main([*command, "--read", "last_prompt_token", "--blocks", "2", "1", "--batch-size", "3"]) == 0
    assert load_file(out / "warmth.safetensors")["blocks"].tolist() == [1, 2]
    assert "last_prompt_token" in capsys.readouterr().out
    assert main(["vectors", "show", str(out)]) == 0


def test_extract_draws_by_its_seed_and_loads_the_model_as_it_is_told(
    model: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["vectors", "extract", "--model", str(model), "--recipe", str(recipe), "--method", "random"]
    found = []
    for name, more in (("one", ["--seed", "1"]), ("two", ["--seed", "2"]), ("half", ["--dtype", "bfloat16"])):
        assert main([*command, "--out", str(tmp_path / name), *more, "--json"]) == 0
        card = _json(capsys)["card"]
        found.append(
            (card["model"]["dtype"], load_file(tmp_path / name / "warmth.safetensors")["directions"])
        )
    assert [dtype for dtype, _ in found] == ["float32", "float32", "bfloat16"]
    assert abs(found[0][1] - found[1][1]).max() > 0.01


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["extract", "--recipe", "RECIPE", "--model", "nowhere"], "nowhere: no such folder"),
        (["extract", "--recipe", "./nowhere", "--model", "MODEL"], "nowhere/recipe.yaml: cannot be read"),
        (["extract", "--recipe", "no-such-name", "--model", "MODEL"], "no-such-name"),
        (["extract", "--recipe", "RECIPE", "--model", "MODEL", "--blocks", "9"], "blocks: got [9]"),
        (["extract", "--recipe", "RECIPE", "--model", "MODEL", "--batch-size", "0"], "batch_size"),
        (["show", "nowhere.safetensors"], "no such file"),
        (["show", "RECIPE"], "expected one vector, found no .safetensors file"),
        (["show", "RECIPE/pairs.jsonl"], "expected the path of a .safetensors file"),
    ],
)
def test_mistakes_end_in_one_clear_line(
    model: Path, recipe: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.replace("RECIPE", str(recipe)).replace("MODEL", str(model)) for word in words]
    assert main(["vectors", *given]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_show_tells_the_calibrated_range(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from guardsteer.steer import save_vector

    path = save_vector(small_vector(), tmp_path)
    assert main(["vectors", "show", str(path)]) == 0
    assert "0.3 (0.1 to 0.45) on blocks 3 at generated" in capsys.readouterr().out
