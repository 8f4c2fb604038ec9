"""``vectors sweep`` and ``vectors calibrate`` find, publish, report, and say why they do not."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from guardsteer.assets import Catalog
from guardsteer.cli.main import main
from guardsteer.cli.vectors_study import add_gates, add_study, bounds_of, gated, study_of
from guardsteer.lab.measure.metrics import KINDS
from guardsteer.lab.recipes.recipe import load_recipe
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
        "--kl",
        "1e9",
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
    found = json.loads(Path(told["path"]).read_text())
    assert found["held_out"]["kl_nats"]["rows"] > 0
    assert {row["trait"] for row in told["side_effects"]} >= {"formality", "refusal"}
    assert "Other traits of the library" in Path(told["report"]).read_text()
    assert any(note.startswith("instructions: ") for note in told["unjudged"])
    assert "Not judged" in Path(told["report"]).read_text()
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
    assert main([*words, "--prompts", str(tmp_path / "none.txt")]) == 2
    assert "give --metric" in capsys.readouterr().err
    assert main([*words, "--metric", "magic", "--prompts", str(tmp_path / "none.txt")]) == 2
    assert "magic" in capsys.readouterr().err


def _parsed(*words: str, metric: tuple[str, ...] = ("--metric", "words")) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_study(parser)
    add_gates(parser)
    return parser.parse_args([*metric, *words])


def test_what_is_checked_beside_the_goal_has_prompts_and_bounds_of_its_own(
    prompts: Path, tmp_path: Path
) -> None:
    safe = tmp_path / "safe.txt"
    safe.write_text("".join(f"Harmless question {place}?\n" for place in range(40)))
    asked = tmp_path / "asked.jsonl"
    rows = [{"text": f"Say {place} briefly.", "expect": {"words_at_most": 9}} for place in range(40)]
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["--refusal", "regex:cannot", "--safe-prompts", str(safe), "--instructions", str(asked)]
    task = ["--task", "repetition:2", "--watch", "distinct:2", "--lower", "--kl", "0.5", "--limit", "9"]
    args = _parsed("--prompts", str(prompts), *given, *task, "--off-target", str(safe), "--no-gates")
    made = gated(args, study_of(args), of="mine")
    made.check()
    kept, watched, refusals, follows = made.checks
    assert refusals.highest_change == 0.05
    assert refusals.prompts is not None
    assert all("Harmless" in prompt.text for prompt in refusals.prompts.tuning)
    assert follows.kept
    assert follows.prompts is not None
    assert all("briefly" in prompt.text for prompt in follows.prompts.test)
    assert (kept.lowest_change, kept.prompts) == (-0.02, None)
    assert (watched.lowest_change, watched.highest_change) == (None, None)
    assert made.off_target is not None
    assert made.traits == ()
    assert not made.goal.up
    assert len(made.prompts.tuning) == len(made.prompts.test) == 9
    assert bounds_of(args).kl_nats == 0.5


def test_gates_that_ship_are_added_unless_they_are_left_out(prompts: Path) -> None:
    args = _parsed("--prompts", str(prompts), "--side-effect", "0.2")
    made = gated(args, study_of(args), of="empathy")
    assert [check.name for check in made.checks] == ["refusals", "instructions"]
    assert made.off_target is not None
    assert "formality" in {reader.name for reader in made.traits}
    assert "empathy" not in {reader.name for reader in made.traits}
    assert (bounds_of(args).kl_nats, bounds_of(args).side_effect) == (0.4, 0.2)
    args = _parsed("--prompts", str(prompts), "--no-gates")
    bare = gated(args, study_of(args), of="empathy")
    assert (bare.checks, bare.off_target, bare.traits) == ((), None, ())


def test_a_recipe_says_by_what_its_vector_is_judged_and_words_of_the_command_line_win() -> None:
    args = _parsed("--recipe", "pessimism", metric=())
    measure = load_recipe(Catalog().find("vectors", "pessimism")).measure
    assert measure is not None
    made = study_of(args)
    assert (made.goal.name, made.goal.up) == (measure.metric, measure.up)
    assert bounds_of(args).gain == measure.gain
    assert study_of(_parsed("--recipe", "pessimism", "--lower", metric=())).goal.up != measure.up
    args = _parsed("--recipe", "pessimism", "--gain", "0.7")
    assert study_of(args).goal.name == "words"
    assert bounds_of(args).gain == 0.7
    assert bounds_of(_parsed("--recipe", "pessimism")).gain == 0.05


def test_the_list_of_metrics_shows_each_with_its_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vectors", "metrics"]) == 0
    told = capsys.readouterr().out
    for kind in KINDS.values():
        assert kind.form in told
        assert kind.example in told
    assert main(["vectors", "metrics", "--json"]) == 0
    assert [row["form"] for row in _json(capsys)["metrics"]] == [kind.form for kind in KINDS.values()]


def test_test_prompts_of_ones_own_are_judged_on_and_not_chosen_on(prompts: Path, tmp_path: Path) -> None:
    judged = tmp_path / "judged.txt"
    judged.write_text("".join(f"Another question {place}?\n" for place in range(12)))
    made = study_of(_parsed("--prompts", str(prompts), "--test-prompts", str(judged)))
    assert len(made.prompts.tuning) == 40
    assert [prompt.text for prompt in made.prompts.test] == judged.read_text().splitlines()
