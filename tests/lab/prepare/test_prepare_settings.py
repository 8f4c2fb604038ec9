"""What is told to ``prepare`` overrides what recipes say; settings that leave nothing to try are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardsteer.cli.main import main
from guardsteer.errors import AssetError, RequestError
from guardsteer.lab.measure.measuring import Bounds, Parts
from guardsteer.lab.pairs.contrast import Measure
from guardsteer.lab.pairs.prompts import user_prompt
from guardsteer.lab.prepare.settings import (
    Metrics,
    Settings,
    bounds_for,
    check_settings,
    measure_for,
    prompts_for,
)
from tests.lab.chats import pairs, recipe

MEASURE = Measure("words", up=False, gain=5.0, perplexity_ratio=2.0, prompts="asked.txt")
JUDGED = recipe(pairs(), measure=MEASURE)
PLAIN = recipe()


def test_a_recipe_is_judged_by_its_own_metric_unless_another_is_given() -> None:
    assert measure_for(JUDGED, Settings()) == MEASURE
    assert measure_for(PLAIN, Settings()) is None
    given = measure_for(JUDGED, Settings(metrics=Metrics({"warmth": "vader"})))
    assert given == Measure("vader", prompts="asked.txt")
    assert measure_for(PLAIN, Settings(metrics=Metrics(every="vader"))) == Measure("vader")
    lower = Metrics(every="vader", lower=frozenset({"warmth"}))
    assert measure_for(JUDGED, Settings(metrics=lower)) == Measure("vader", up=False, prompts="asked.txt")
    assert measure_for(JUDGED, Settings(calibrate=False)) is None


def test_the_bounds_of_a_recipe_go_with_its_own_metric_and_yield_to_what_is_told() -> None:
    assert bounds_for(MEASURE, Settings()) == Bounds(gain=5.0, perplexity_ratio=2.0)
    assert bounds_for(Measure("vader"), Settings()) == Bounds()
    told = Settings(gain=7.0, perplexity_ratio=1.2)
    assert bounds_for(MEASURE, told) == Bounds(gain=7.0, perplexity_ratio=1.2)


def test_prompts_are_those_told_else_the_recipes_file_else_its_pairs(tmp_path: Path) -> None:
    (tmp_path / "asked.txt").write_text("".join(f"What of {place}?\n" for place in range(60)))
    found = prompts_for(JUDGED, tmp_path, MEASURE, Settings(limit=8))
    assert len(found.tuning) == len(found.test) == 8
    assert not {prompt.text for prompt in found.tuning} & {prompt.text for prompt in found.test}
    assert all(prompt.text.startswith("What of") for prompt in (*found.tuning, *found.test))
    told = Parts((user_prompt("a"),), (user_prompt("b"),))
    assert prompts_for(JUDGED, tmp_path, MEASURE, Settings(prompts=told)) == told
    own = prompts_for(PLAIN, tmp_path, Measure("vader"), Settings())
    assert all(prompt.text.startswith("Number") for prompt in (*own.tuning, *own.test))


def test_a_file_of_prompts_that_is_not_there_is_named_with_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(
        AssetError, match=r"recipe.yaml: field 'measure.prompts': there is no file .*asked.txt"
    ):
        prompts_for(JUDGED, tmp_path, MEASURE, Settings())


def test_settings_that_leave_nothing_to_try_are_refused_all_at_once() -> None:
    wrong = Settings(controls=0, limit=3, strengths=(0.5, 0.2), sweep_strengths=())
    with pytest.raises(RequestError) as caught:
        check_settings(wrong)
    assert str(caught.value).splitlines() == [
        "controls: got 0, expected at least 1",
        "limit: got 3, expected at least 8",
        "sweep_strengths: got none, expected numbers above 0, each once, in ascending order",
        "strengths: got 0.5, 0.2, expected numbers above 0, each once, in ascending order",
    ]
    check_settings(Settings())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strengths", "0.4", "0.2"], "strengths: got 0.4, 0.2"),
        (["--gain", "0"], "--gain: got 0, expected a number above 0"),
        (["--perplexity-ratio", "nan"], "--perplexity-ratio: got nan, expected a number above 1"),
        (["--metric", "vader", "--metric", "words"], "are both for all vectors"),
        (["--assets", "none-such"], "none-such: no such folder"),
        (["--prompts", "none-such.txt"], "none-such.txt: cannot be read"),
    ],
)
def test_a_mistake_on_the_command_line_is_told_before_the_model_is_loaded(
    tmp_path: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("guardsteer.cli.models.load_model", None)
    common = ["prepare", "--model", "none", "--policy", "demo", "--out", str(tmp_path / "out")]
    assert main([*common, *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
