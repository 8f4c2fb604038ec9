"""A model is loaded from a folder or by its hub id, from the hub's cache where the hub is off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from guardsteer.cli.main import main
from guardsteer.cli.models import load_model
from guardsteer.errors import HostError
from tests.lab.preparing import POLICY, model_folder, write_recipe_folder

REVISION = "0123456789abcdef0123456789abcdef01234567"


def _cached(hub: Path, owner: str, name: str) -> Path:
    """Lay a tiny model out as the hub's client does; return the snapshot's folder."""
    folder = hub / f"models--{owner}--{name}"
    snapshot = folder / "snapshots" / REVISION
    blobs = folder / "blobs"
    for made in (snapshot, blobs, folder / "refs"):
        made.mkdir(parents=True)
    (folder / "refs" / "main").write_text(REVISION)
    plain = model_folder(hub.parent / "plain")
    for number, file in enumerate(sorted(plain.iterdir())):
        blob = blobs / f"{number:040x}"
        shutil.copyfile(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    shutil.rmtree(plain)
    return snapshot


def _run(words: list[str], hub: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    # Where the cache is, huggingface_hub reads when it is imported.
    environment = {**os.environ, "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1", **changes}
    return subprocess.run(
        [sys.executable, "-m", "guardsteer", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_policy_is_prepared_and_run_by_a_hub_id_that_is_in_the_cache(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    snapshot = _cached(hub, "acme", "tiny-chat")
    write_recipe_folder(tmp_path / "warmth")
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.replace("use: warmth", "use: ./warmth"))
    out = tmp_path / "out"
    words = ["--model", "acme/tiny-chat", "--policy", str(policy)]
    refused = _run(["run", *words, "--prompt", "Hello"], hub)
    assert refused.returncode == 2
    assert f"guardsteer prepare --model acme/tiny-chat --policy {policy} --out prepared" in refused.stderr
    done = _run(["prepare", *words, "--out", str(out), "--json"], hub)
    assert done.returncode == 0, done.stderr
    by_id = json.loads(done.stdout)
    # The folder of the snapshot is the same model, so nothing is made again.
    assert main(["prepare", "--model", str(snapshot), "--policy", str(policy), "--out", str(out)]) == 0
    again = json.loads((out / "prepared.json").read_text())
    assert again["model"] == by_id["model"]
    assert again["vectors"][0]["state"] == "there"
    run = _run(["run", *words, "--assets", str(out), "--prompt", "Hello", "--max-new-tokens", "2"], hub)
    assert run.returncode == 0, run.stderr


def test_a_hub_id_that_is_not_in_the_cache_says_that_the_hub_is_off_and_where_was_looked(
    tmp_path: Path,
) -> None:
    found = _run(["run", "--model", "acme/none", "--policy", "demo", "--prompt", "Hello"], tmp_path / "hub")
    assert found.returncode == 2
    assert "acme/none: " in found.stderr
    assert "the hub is off (HF_HUB_OFFLINE)" in found.stderr
    assert str(tmp_path / "hub") in found.stderr
    assert "Traceback" not in found.stderr


def test_a_folder_of_the_cache_that_holds_snapshots_names_them(tmp_path: Path) -> None:
    snapshot = _cached(tmp_path / "hub", "acme", "tiny-chat")
    with pytest.raises(HostError, match=r"folder of the hub's cache") as caught:
        load_model(snapshot.parent.parent)
    assert str(snapshot) in str(caught.value)
    load_model(snapshot)


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"holds no model \(config.json is missing\); give the folder that"):
        load_model(tmp_path)


@pytest.mark.parametrize(("dtype", "expected"), [(None, "float32"), ("bfloat16", "bfloat16")])
def test_a_model_is_loaded_as_the_type_that_is_asked_for(
    tmp_path: Path, dtype: str | None, expected: str
) -> None:
    model, tokenizer = load_model(model_folder(tmp_path / "model"), dtype)
    assert str(model.dtype) == f"torch.{expected}"
    assert not model.training
    assert tokenizer.padding_side == "left"
