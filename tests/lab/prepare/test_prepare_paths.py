"""What a policy names by path is prepared elsewhere, found by its content, and refused once that changed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

import guardsteer
from guardsteer.cli.main import main
from guardsteer.errors import BindingError, VectorError
from guardsteer.lab.prepare.prepare import Settings, prepare
from guardsteer.steer import load_vector
from tests.lab.chats import chat_model, chat_tokenizer
from tests.lab.preparing import POLICY, model_folder, write_pairs, write_recipe_folder


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """Return a policy beside the recipe that it names by path."""
    write_recipe_folder(tmp_path / "mine" / "warmth")
    path = tmp_path / "mine" / "policy.yaml"
    path.write_text(POLICY.replace("use: warmth", "use: ./warmth"))
    return path


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def _prepare(policy: Path, out: Path, **settings: Any) -> Any:
    return prepare(chat_model(), chat_tokenizer(), policy, out, Settings(gates=False, **settings))


def test_nothing_is_written_beside_a_recipe_that_a_path_names_and_wrap_finds_what_was_made(
    policy: Path, tmp_path: Path
) -> None:
    before = _files(policy.parent)
    report = _prepare(policy, tmp_path / "out")
    assert _files(policy.parent) == before
    assert report.made[0].path.is_relative_to(tmp_path / "out")
    model, tokenizer = chat_model(), chat_tokenizer()
    guardsteer.wrap(model, tokenizer, policy=policy, assets=[tmp_path / "out"]).detach()
    with pytest.raises(VectorError, match="there are none yet"):
        guardsteer.wrap(model, tokenizer, policy=policy)


def test_a_policy_that_moved_with_its_recipe_still_finds_what_was_prepared(
    policy: Path, tmp_path: Path
) -> None:
    _prepare(policy, tmp_path / "out")
    policy.parent.rename(tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / "policy.yaml"
    guardsteer.wrap(chat_model(), chat_tokenizer(), policy=moved, assets=[tmp_path / "out"]).detach()


def test_a_recipe_that_changed_is_not_served_by_what_was_made_of_it_before(
    policy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = _prepare(policy, out).made[0]
    write_pairs(policy.parent / "warmth", "Oh how lovely that you ask")
    with pytest.raises(VectorError, match="is not prepared for this model"):
        guardsteer.wrap(chat_model(), chat_tokenizer(), policy=policy, assets=[out])
    second = _prepare(policy, out).made[0]
    assert second.state == "built"
    assert second.digest != first.digest
    guardsteer.wrap(chat_model(), chat_tokenizer(), policy=policy, assets=[out]).detach()


def test_two_recipes_of_one_name_and_one_of_the_catalogue_are_kept_apart(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recipe_folder(tmp_path / "assets" / "vectors" / "warmth", praise="Well, thank you for asking")
    monkeypatch.setenv("GUARDSTEER_ASSETS", str(tmp_path / "assets"))
    write_recipe_folder(tmp_path / "other" / "warmth", praise="Great that you come")
    policy.write_text(
        policy.read_text()
        .replace("again: {use: ./warmth", "again: {use: ../other/warmth")
        .replace("budget: 0.5", "budget: 0.9")
        .replace("rules:", "  named: {use: warmth, max_strength: 9.0}\nrules:")
        .replace("strength: 0.1}", "strength: 0.1}\n      - {vector: named, strength: 0.1}")
    )
    report = _prepare(policy, tmp_path / "out")
    assert len({made.digest for made in report.made}) == 3
    assert len({made.path for made in report.made}) == 3
    model, tokenizer = chat_model(), chat_tokenizer()
    guardsteer.wrap(model, tokenizer, policy=policy, assets=[tmp_path / "out"]).detach()


def test_in_place_writes_into_the_recipes_folder_where_the_path_leads(policy: Path, tmp_path: Path) -> None:
    report = _prepare(policy, tmp_path / "out", in_place=True)
    assert report.made[0].path.parents[2] == policy.parent / "warmth"
    assert (tmp_path / "out" / "prepared.html").is_file()
    guardsteer.wrap(chat_model(), chat_tokenizer(), policy=policy).detach()


def _command(error: pytest.ExceptionInfo[Any]) -> list[str]:
    line = next(line for line in str(error.value).splitlines() if "guardsteer prepare" in line)
    return shlex.split(line.strip())[1:]


@pytest.mark.parametrize("named", [False, True])
def test_the_command_in_the_error_works_as_it_stands(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = model_folder(tmp_path / "a model")
    assets: list[Path] = []
    if named:
        assets = [tmp_path / "some assets"]
        (assets[0] / "vectors").mkdir(parents=True)
        (policy.parent / "warmth").rename(assets[0] / "vectors" / "warmth")
        policy.write_text(POLICY)
    from guardsteer.cli.models import load_model

    # Another type than was saved: the command must name it.
    model, tokenizer = load_model(folder, "bfloat16")
    with pytest.raises(VectorError) as caught:
        guardsteer.wrap(model, tokenizer, policy=policy, assets=assets)
    assert main(_command(caught)) == 0
    guardsteer.wrap(model, tokenizer, policy=policy, assets=["prepared", *assets]).detach()
    words = ["run", "--model", str(folder), "--policy", str(policy), "--prompt", "Hello"]
    words += [word for root in ["prepared", *map(str, assets)] for word in ("--assets", root)]
    assert main([*words, "--max-new-tokens", "2", "--dtype", "bfloat16"]) == 0


def test_after_a_change_the_command_prepares_into_the_folder_that_was_given(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    _prepare(policy, out)
    changed = chat_model()
    with torch.no_grad():
        next(changed.parameters()).add_(0.01)
    changed.save_pretrained(tmp_path / "changed")
    chat_tokenizer().save_pretrained(tmp_path / "changed")
    from guardsteer.cli.models import load_model

    model, tokenizer = load_model(tmp_path / "changed")
    with pytest.raises(BindingError, match="differs in weights") as caught:
        guardsteer.wrap(model, tokenizer, policy=policy, assets=[out])
    words = _command(caught)
    assert words[words.index("--out") + 1] == str(out)
    assert main(words) == 0
    guardsteer.wrap(model, tokenizer, policy=policy, assets=[out]).detach()


def test_a_vector_named_by_its_file_is_told_to_be_named_by_its_recipe(policy: Path, tmp_path: Path) -> None:
    path = _prepare(policy, tmp_path / "out").made[0].path
    policy.write_text(policy.read_text().replace("./warmth", str(path)))
    changed = chat_model()
    with torch.no_grad():
        next(changed.parameters()).add_(0.01)
    with pytest.raises(BindingError, match="name the folder of its recipe instead"):
        guardsteer.wrap(changed, chat_tokenizer(), policy=policy)


def test_a_changed_tokenizer_is_refused_named_and_prepared_anew(policy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _prepare(policy, out)
    model, tokenizer = chat_model(), chat_tokenizer()
    tokenizer.chat_template = str(tokenizer.chat_template).replace("<assistant>", "<assistant> ")
    with pytest.raises(BindingError, match="differs in tokenizer"):
        guardsteer.wrap(model, tokenizer, policy=policy, assets=[out])
    report = prepare(model, tokenizer, policy, out)
    old = report.made[0].old
    assert old is not None
    assert old.differs == ("tokenizer",)
    assert [row[1] for row in report.rows()] == ["built", "before"]
    assert [row[6:9] for row in report.rows()] == [("0.1", "0.2", "0.3")] * 2
    guardsteer.wrap(model, tokenizer, policy=policy, assets=[out]).detach()


def test_the_same_model_in_bfloat16_is_another_and_both_are_kept(policy: Path, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    words = ["prepare", "--model", str(folder), "--policy", str(policy), "--out", str(tmp_path / "out")]
    for dtype in ("float32", "bfloat16"):
        assert main([*words, "--dtype", dtype]) == 0
    made = sorted((tmp_path / "out").glob("vectors/*/artifacts/*/warmth.safetensors"))
    assert {load_vector(path, fingerprint=None).card.model.dtype for path in made} == {"float32", "bfloat16"}
    run = [
        "run",
        "--model",
        str(folder),
        "--policy",
        str(policy),
        "--prompt",
        "Hello",
        "--max-new-tokens",
        "2",
    ]
    for dtype in ("float32", "bfloat16"):
        assert main([*run, "--assets", str(tmp_path / "out"), "--dtype", dtype]) == 0
