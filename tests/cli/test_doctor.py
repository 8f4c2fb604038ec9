"""``doctor`` finds what is missing and says what to do; it leaves nothing behind."""

from __future__ import annotations

import json
import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from guardsteer.cli import doctor
from guardsteer.cli.main import main
from tests.classify.encoder_models import add_head, exported, make_model


def checks(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, dict[str, object]]]:
    status = main(["doctor", "--json", *words])
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] == (status == 0)
    return status, {check["name"]: check for check in answer["checks"]}


def test_a_sound_machine_passes(capsys: pytest.CaptureFixture[str]) -> None:
    status, seen = checks(capsys)
    assert status == 0
    assets = {"assets", "classifiers", "policies", "vectors", "encoders/all-MiniLM-L6-v2 in float32"}
    assert {"python", "threads", "scorer", "products", "strides", *assets, *doctor.LIBRARIES} == set(seen)


def test_the_libraries_are_those_that_the_package_requires(repository: Path) -> None:
    import re
    import tomllib

    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    required = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    assert set(doctor.LIBRARIES) == required


def test_a_missing_library_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def version(name: str) -> str:
        if name == "blake3":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(doctor, "version", version)
    status, seen = checks(capsys)
    assert status == 1
    assert not seen["blake3"]["ok"]
    assert seen["blake3"]["advice"]


@pytest.mark.parametrize("compiled", [True, False])
def test_what_is_in_use_compiled_is_told_part_by_part_and_all_is_well_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], compiled: bool
) -> None:
    parts: dict[str, tuple[str, object, str]] = {
        "scorer": ("guardsteer.classify.words.kernel.compiled", lambda: compiled, "pure Python"),
        "products": ("guardsteer.host.products.EXCHANGE", object() if compiled else None, "torch"),
        "strides": ("guardsteer.runtime.strides.STRIDE", object if compiled else None, "pure Python"),
    }
    for name, (where, what, otherwise) in parts.items():
        monkeypatch.setattr(where, what)
        status, seen = checks(capsys)
        assert status == 0
        assert str(seen[name]["detail"]).startswith("compiled" if compiled else otherwise)
        assert ("C compiler" in str(seen[name]["advice"])) == (not compiled)


def test_an_asset_root_that_is_absent_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("GUARDSTEER_ASSETS", str(tmp_path / "absent"))
    status, seen = checks(capsys)
    assert status == 1
    assert "no such folder" in str(seen["assets"]["detail"])


def test_encoders_that_classifiers_read_with_are_told_present_or_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assets, encoder = tmp_path / "assets", tmp_path / "encoder"
    make_model(tmp_path / "model")
    exported(tmp_path / "model", encoder)
    add_head(assets / "classifiers" / "by-meaning", encoder)
    monkeypatch.setenv("GUARDSTEER_ASSETS", str(assets))
    status, seen = checks(capsys)
    assert status == 0, "nothing else needs it"
    told = str(seen["encoders/encoder in float32"]["detail"])
    assert "not here" in told
    assert "by-meaning" in told
    assert "classifiers export" in str(seen["encoders/encoder in float32"]["advice"])
    monkeypatch.setenv("GUARDSTEER_ENCODERS", str(encoder))
    _, seen = checks(capsys)
    assert str(encoder) in str(seen["encoders/encoder in float32"]["detail"])
    assert not seen["encoders/encoder in float32"]["advice"]


def test_an_asset_with_a_damaged_card_fails_and_the_others_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, text in (("sound-for-tests", '{"name": "sound-for-tests", "licence": "MIT"}'), ("broken", "{")):
        folder = tmp_path / "classifiers" / name
        folder.mkdir(parents=True)
        (folder / "classifier.json").write_text(text)
    monkeypatch.setenv("GUARDSTEER_ASSETS", str(tmp_path))
    status, seen = checks(capsys)
    assert status == 1
    assert not seen["classifiers/broken"]["ok"]
    assert "sound-for-tests (MIT)" in str(seen["classifiers"]["detail"])


def test_the_audit_folder_is_tried_and_left_as_it_was(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, seen = checks(capsys, "--audit", str(tmp_path))
    assert status == 0
    assert "writable" in str(seen["audit"]["detail"])
    assert list(tmp_path.iterdir()) == []
    absent = tmp_path / "a" / "b"
    status, seen = checks(capsys, "--audit", str(absent))
    assert status == 0
    assert "will be created" in str(seen["audit"]["detail"])
    assert not absent.exists()


def test_an_audit_folder_that_cannot_be_written_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    status, seen = checks(capsys, "--audit", str(file))
    assert status == 1
    assert not seen["audit"]["ok"]
    status, seen = checks(capsys, "--audit", str(file / "below"))
    assert status == 1
    if os.geteuid() != 0:  # root may write anywhere
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        assert checks(capsys, "--audit", str(locked))[0] == 1


def test_a_model_that_is_absent_or_no_model_fails(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, seen = checks(capsys, "--model", str(tmp_path / "absent"))
    assert status == 1
    assert "no such folder" in str(seen["model"]["detail"])
    (tmp_path / "config.json").write_text("{}")
    status, seen = checks(capsys, "--model", str(tmp_path))
    assert status == 1
    assert "transformers cannot load it" in str(seen["model"]["detail"])


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tiny model and a tokenizer that has no chat template."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    from tests.models import tiny

    folder = tmp_path_factory.mktemp("model")
    tiny("llama").save_pretrained(folder)
    words = Tokenizer(WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)
    return folder


def test_a_model_that_can_be_guarded_passes(capsys: pytest.CaptureFixture[str], model_folder: Path) -> None:
    status, seen = checks(capsys, "--model", str(model_folder))
    assert status == 0, seen
    assert {"model", "generation", "blocks", "steering", "fingerprint", "chat"} <= set(seen)
    assert "model.layers" in str(seen["blocks"]["detail"])
    assert "no chat template" in str(seen["chat"]["detail"])
    assert not capsys.readouterr().err


def test_a_model_that_cannot_be_steered_fails(
    capsys: pytest.CaptureFixture[str], model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from guardsteer import host
    from guardsteer.errors import HostError

    def refuse(*_: object) -> None:
        raise HostError("block 1: a push has no effect downstream")

    monkeypatch.setattr(host, "check_steering", refuse)
    status, seen = checks(capsys, "--model", str(model_folder))
    assert status == 1
    assert "no effect downstream" in str(seen["steering"]["detail"])
    assert "fingerprint" not in seen


def test_for_people_each_check_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ok   torch: ") for line in lines)
