"""``vectors sweep`` and ``vectors calibrate`` find, publish, report, and say why they do not."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from guardsteer.cli.main import main
from guardsteer.cli.vectors_study import add_study, bounds_of, study_of
from guardsteer.steer import load_vector, save_vector
from tests.lab.studies import lettered, parts

METRIC = "python:tests.lab.studies:letters"
COMMON = ["--metric", METRIC, "--gain", "0.2", "--perplexity-ratio", "1e9", "--new-tokens", "8"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny chat model."""
    folder = tmp_path_factory.mktemp("model")
    for part in parts():
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Return a file of prompts."""
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"Tell me about number {place}.\n" for place in range(40)))
    return path


def _json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_calibrate_finds_block_and_strength_by_itself_and_writes_them_on_the_card(
    model: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vector = save_vector(lettered({2: -1.0, 3: 1.0}, {2: 9.0, 3: 1.0}), tmp_path / "letters")
    words = [
        "vectors",
        "calibrate",
        "--model",
        str(model),
        "--vector",
        str(vector),
        "--prompts",
        str(prompts),
    ]
    more = [
        "--strengths",
        "2",
        "4",
        "--half-lives",
        "--controls",
        "1",
        "--off-target",
        str(prompts),
        "--json",
    ]
    assert main([*words, *COMMON, *more]) == 0
    told = _json(capsys)
    assert told["published"] is True
    chosen = load_vector(vector, fingerprint=None).card.recommended
    assert chosen is not None
    assert chosen.blocks == (3,)
    assert chosen.recommended == told["window"]["recommended"]
    assert Path(told["report"]).read_text().startswith("<!doctype html>")
    assert json.loads(Path(told["path"]).read_text())["held_out"]["kl_nats"]["rows"] > 0
    assert main(["vectors", "show", str(vector)]) == 0
    assert (
        f"{chosen.recommended:g} ({chosen.low:g} to {chosen.high:g}) on blocks 3" in capsys.readouterr().out
    )


def test_a_vector_that_fails_is_left_as_it_was_and_the_reason_is_told(
    model: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vector = save_vector(lettered({3: -1.0}), tmp_path / "letters")
    before = vector.read_bytes(), vector.with_suffix(".json").read_bytes()
    words = [
        "vectors",
        "calibrate",
        "--model",
        str(model),
        "--vector",
        str(vector),
        "--prompts",
        str(prompts),
    ]
    more = ["--strengths", "2", "4", "--half-lives", "--controls", "1", "--blocks", "3"]
    assert main([*words, *COMMON, *more]) == 1
    assert "not published" in capsys.readouterr().out
    assert (vector.read_bytes(), vector.with_suffix(".json").read_bytes()) == before
    assert "Not published" in (vector.parent / "calibration.html").read_text()
    assert main([*words, *COMMON, *more[:-2]]) == 1
    assert "no block of block_output moves" in capsys.readouterr().err


def test_sweep_ranks_by_effect_and_writes_a_report(
    model: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vector = save_vector(lettered({2: -1.0, 3: 1.0}, {2: 9.0, 3: 1.0}), tmp_path / "letters")
    words = ["vectors", "sweep", "--model", str(model), "--vector", str(vector), "--prompts", str(prompts)]
    assert main([*words, *COMMON, "--strengths", "4", "--out", str(tmp_path / "swept"), "--json"]) == 0
    told = _json(capsys)
    assert told["spots"][0]["block"] == 3
    assert (tmp_path / "swept" / "sweep.json").is_file()
    assert "Separation by block" in (tmp_path / "swept" / "sweep.html").read_text()


def test_what_is_missing_is_one_line_and_status_two(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vector = save_vector(lettered({3: 1.0}), tmp_path / "letters")
    words = ["vectors", "calibrate", "--model", str(model), "--vector", str(vector)]
    assert main([*words, "--metric", "vader"]) == 2
    assert "--prompts FILE" in capsys.readouterr().err
    assert main([*words, "--metric", "magic", "--prompts", str(tmp_path / "none.txt")]) == 2
    assert "magic" in capsys.readouterr().err


def _parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_study(parser)
    return parser.parse_args(["--metric", "words", *words])


def test_what_is_checked_beside_the_goal_has_prompts_and_bounds_of_its_own(
    prompts: Path, tmp_path: Path
) -> None:
    safe = tmp_path / "safe.txt"
    safe.write_text("".join(f"Harmless question {place}?\n" for place in range(40)))
    refusal = ["--refusal", "regex:cannot", "--safe-prompts", str(safe)]
    task = ["--task", "repetition:2", "--watch", "distinct:2", "--lower", "--kl", "0.5", "--limit", "9"]
    args = _parsed("--prompts", str(prompts), *refusal, *task)
    made = study_of(args)
    made.check()
    refusals, kept, watched = made.checks
    assert refusals.highest_change == 0.05
    assert refusals.prompts is not None
    assert all("Harmless" in prompt.text for prompt in refusals.prompts.tuning)
    assert (kept.lowest_change, kept.prompts) == (-0.02, None)
    assert (watched.lowest_change, watched.highest_change) == (None, None)
    assert not made.goal.up
    assert len(made.prompts.tuning) == len(made.prompts.test) == 9
    assert bounds_of(args).kl_nats == 0.5


def test_test_prompts_of_ones_own_are_judged_on_and_not_chosen_on(prompts: Path, tmp_path: Path) -> None:
    judged = tmp_path / "judged.txt"
    judged.write_text("".join(f"Another question {place}?\n" for place in range(12)))
    made = study_of(_parsed("--prompts", str(prompts), "--test-prompts", str(judged)))
    assert len(made.prompts.tuning) == 40
    assert [prompt.text for prompt in made.prompts.test] == judged.read_text().splitlines()
