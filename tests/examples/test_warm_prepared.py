"""On a real model, ``prepare`` finds by itself where and how strongly the example's policy may push."""

from __future__ import annotations

from pathlib import Path

import guardsteer
from guardsteer.cli.models import load_model
from guardsteer.lab.prepare.prepare import Settings, prepare

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "warm_when_hostile"


def test_prepare_finds_a_window_with_enough_gain_at_a_bounded_price_and_the_policy_is_inside(
    shared: Path, tmp_path: Path
) -> None:
    model, tokenizer = load_model(shared / "models" / "tinytalk-3M-chat")
    before = sorted(path.name for path in (EXAMPLE / "warmth").rglob("*"))
    # Fewer prompts, strengths and controls than the command has, to the same end in a quarter of the time.
    settings = Settings(limit=60, strengths=(0.3, 0.4), sweep_strengths=(0.4,), controls=1)
    report = prepare(model, tokenizer, EXAMPLE / "policy.yaml", tmp_path / "out", settings)
    (made,) = report.made
    assert report.ok, report.lines()
    assert (made.state, made.chosen_by) == ("built", "vader")
    assert made.figures is not None
    assert made.figures.gain.value >= 0.25
    assert made.figures.gain.low > max(made.figures.random)
    assert made.figures.perplexity_ratio.value <= 1.5
    assert any("0.38" in each for each in made.inside)
    assert sorted(path.name for path in (EXAMPLE / "warmth").rglob("*")) == before
    guardsteer.wrap(model, tokenizer, policy=EXAMPLE / "policy.yaml", assets=[tmp_path / "out"]).detach()
