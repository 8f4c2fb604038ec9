"""``prepare`` makes a policy run on a model by building, calibrating and binding what it names by recipe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import guardsteer
from guardsteer.cli.main import main
from guardsteer.errors import AssetError, BindingError, VectorError
from guardsteer.evaluate import Estimate
from guardsteer.host import fingerprint
from guardsteer.lab.measure.study import Check, Study
from guardsteer.lab.metrics.text import words
from guardsteer.lab.prepare.prepare import Metrics, Settings, prepare
from guardsteer.lab.prepare.prepared import SEPARATION
from guardsteer.steer import load_vector
from tests.lab.chats import chat_model, chat_tokenizer
from tests.lab.preparing import HOPELESS, METRIC, POLICY, model_folder, write_recipe_folder
from tests.lab.studies import LOOSE, lettered, study


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a policy of a recipe in a catalogue of its own."""
    write_recipe_folder(tmp_path / "assets" / "vectors" / "warmth")
    monkeypatch.setenv("GUARDSTEER_ASSETS", str(tmp_path / "assets"))
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def _prepare(policy: Path, out: Path, **settings: Any) -> Any:
    return prepare(chat_model(), chat_tokenizer(), policy, out, Settings(**{"gates": False, **settings}))


def test_an_unprepared_policy_is_refused_with_the_command_and_a_prepared_one_runs(
    policy: Path, tmp_path: Path
) -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    with pytest.raises(
        VectorError, match=f"guardsteer prepare --model MODEL --policy {policy} --out prepared"
    ):
        guardsteer.wrap(model, tokenizer, policy=policy)
    out = tmp_path / "out"
    report = prepare(model, tokenizer, policy, out)
    short = fingerprint(model, tokenizer).short
    assert report.ok
    assert [made.path for made in report.made] == [
        out / "vectors" / "warmth" / "artifacts" / short / "warmth.safetensors"
    ]
    with guardsteer.wrap(model, tokenizer, policy=policy, assets=[out]) as guard:
        ids = tokenizer("Hello", return_tensors="pt")
        assert guard.generate(**ids, max_new_tokens=3).shape[1] > ids["input_ids"].shape[1]


def test_without_a_metric_the_report_and_the_card_say_that_nothing_was_calibrated(
    policy: Path, tmp_path: Path
) -> None:
    report = _prepare(policy, tmp_path / "out")
    made = report.made[0]
    assert made.chosen_by == SEPARATION
    assert "NOT CALIBRATED" in "\n".join(report.lines())
    assert "NOT CALIBRATED" in load_vector(made.path, fingerprint=None).card.description


def test_what_is_there_is_not_built_again_until_its_recipe_or_its_metric_changes(
    policy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = _prepare(policy, out).made[0]
    before = first.path.stat().st_mtime_ns
    second = _prepare(policy, out).made[0]
    assert (second.state, second.digest, first.path.stat().st_mtime_ns) == ("there", first.digest, before)
    pairs = tmp_path / "assets" / "vectors" / "warmth" / "pairs.jsonl"
    pairs.write_text("".join(pairs.read_text().splitlines(keepends=True)[:-10]))
    third = _prepare(policy, out).made[0]
    assert third.state == "built"
    assert third.digest != first.digest
    assert _prepare(policy, out, metrics=Metrics(every=HOPELESS), new_tokens=2).made[0].state == "failed"


def test_a_damaged_artifact_is_built_again_to_the_same_digest(policy: Path, tmp_path: Path) -> None:
    first = _prepare(policy, tmp_path / "out").made[0]
    data = bytearray(first.path.read_bytes())
    data[-1] ^= 1
    first.path.write_bytes(data)
    second = _prepare(policy, tmp_path / "out").made[0]
    assert (second.state, second.digest) == ("built", first.digest)


def test_a_vector_that_fails_its_bounds_is_not_published_and_says_why_also_the_second_time(
    policy: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"metrics": Metrics({"warmth": HOPELESS}), "new_tokens": 2, "limit": 8}
    for _ in range(2):
        report = _prepare(policy, tmp_path / "out", **settings)
        assert not report.ok
        assert not report.made[0].path.exists()
        assert "no block" in "\n".join(report.lines())


def test_with_a_metric_the_window_is_measured_and_a_strength_outside_of_it_is_told(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_for = lettered({2: -1.0, 3: 1.0}, {2: 9.0, 3: 1.0})
    monkeypatch.setattr("guardsteer.lab.prepare.vector.extract", lambda *_, **__: made_for)
    found = study(20).prompts
    settings: dict[str, Any] = {
        "metrics": Metrics(every=METRIC),
        "bounds": LOOSE,
        "prompts": found,
        "strengths": (2.0, 4.0),
        "sweep_strengths": (4.0,),
        "controls": 1,
        "new_tokens": 8,
    }
    made = _prepare(policy, tmp_path / "out", **settings).made[0]
    assert (made.state, made.chosen_by, made.reasons) == ("built", METRIC, ())
    assert made.figures is not None
    assert made.figures.gain.low > 0
    assert made.window is not None
    assert made.window.blocks == (3,)
    assert (made.path.parent / "calibration.json").is_file()
    assert any("too weak" in each for each in made.outside)
    again = _prepare(policy, tmp_path / "out", **settings).made[0]
    assert (again.state, again.window, again.outside) == ("there", made.window, made.outside)
    assert again.figures is not None
    assert again.figures.gain == _rounded(made.figures.gain)


def test_what_is_prepared_is_held_to_the_gates_that_ship_unless_told_otherwise(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_for = lettered({2: -1.0, 3: 1.0}, {2: 9.0, 3: 1.0})
    monkeypatch.setattr("guardsteer.lab.prepare.vector.extract", lambda *_, **__: made_for)
    held: list[str] = []

    def strict(given: Study, *, of: str) -> Study:
        held.append(of)
        return replace(given, checks=(Check("length", words, highest_change=-1000.0),))

    monkeypatch.setattr("guardsteer.lab.prepare.search.with_gates", strict)
    settings: dict[str, Any] = {
        "metrics": Metrics(every=METRIC),
        "bounds": LOOSE,
        "prompts": study(20).prompts,
        "strengths": (2.0, 4.0),
        "sweep_strengths": (4.0,),
        "controls": 1,
        "new_tokens": 8,
    }
    assert _prepare(policy, tmp_path / "out", **settings).made[0].state == "built"
    assert held == []
    gated = _prepare(policy, tmp_path / "out", gates=True, **settings).made[0]
    assert (gated.state, held) == ("failed", ["warmth"])
    assert "length" in "\n".join(gated.reasons)


def _rounded(found: Estimate) -> Estimate:
    return replace(found, **{name: round(getattr(found, name), 5) for name in ("value", "low", "high")})


def test_after_a_changed_checkpoint_the_old_artifact_is_refused_and_both_windows_are_shown(
    policy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    _prepare(policy, out)
    changed, tokenizer = chat_model(), chat_tokenizer()
    with torch.no_grad():
        next(changed.parameters()).add_(0.01)
    with pytest.raises(BindingError, match="guardsteer prepare"):
        guardsteer.wrap(changed, tokenizer, policy=policy, assets=[out])
    report = prepare(changed, tokenizer, policy, out)
    text = "\n".join(report.lines())
    assert report.made[0].state == "built"
    assert "differs in weights" in text
    guardsteer.wrap(changed, tokenizer, policy=policy, assets=[out]).detach()


def test_every_vector_without_a_recipe_is_named_with_its_policy_at_once(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        POLICY.replace("{use: warmth, max", "{use: no-such-b, max").replace("use: warmth,", "use: no-such-a,")
    )
    with pytest.raises(AssetError) as caught:
        _prepare(path, tmp_path / "out")
    assert "no-such-a" in str(caught.value)
    assert "no-such-b" in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_metric_for_a_recipe_that_the_policy_lacks_is_refused(policy: Path, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="recipes are warmth"):
        _prepare(policy, tmp_path / "out", metrics=Metrics({"wamrth": METRIC}))


def test_the_command_prepares_a_model_folder_and_prints_a_table_and_json(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prepare", "--model", str(model_folder(tmp_path / "model")), "--policy", str(policy)]
    words += ["--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert "warmth  built" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert told["vectors"][0]["state"] == "there"
    assert main([*words, "--metric", "no-such"]) == 2
    assert main([*words, "--metric", HOPELESS, "--new-tokens", "2", "--limit", "8"]) == 1


def test_the_demo_takes_its_shipped_vectors_as_they_are(tmp_path: Path) -> None:
    from guardsteer.demo import load_model

    model, tokenizer = load_model()
    report = prepare(model, tokenizer, "demo", tmp_path)
    assert [made.state for made in report.made] == ["shipped", "shipped"]
    guardsteer.wrap(model, tokenizer, policy="demo", assets=[tmp_path]).detach()
