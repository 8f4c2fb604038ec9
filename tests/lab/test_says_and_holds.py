"""The example policy flags an answer whose words and whose state disagree, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import guardsteer
from examples.harbor.rubric import scores
from examples.says_and_holds.build import build
from guardsteer.classify.probe import load_probe
from guardsteer.cli.main import main
from guardsteer.demo import load_model

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "says_and_holds"


def test_the_example_policy_passes_its_cases_and_runs_on_the_demo_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["policy", "test", str(EXAMPLE)]) == 0
    assert "3 of 3" in capsys.readouterr().out
    model, tokenizer = load_model()
    with guardsteer.wrap(model, tokenizer, policy=EXAMPLE) as guard:
        guard.generate(**guard.chat([[{"role": "user", "content": "My bill is wrong."}]]), max_new_tokens=4)


def test_the_probe_that_ships_is_the_one_that_the_build_makes(tmp_path: Path) -> None:
    found = build(tmp_path / "probe")
    assert found.metrics["auroc"]["low"] > 0.6
    ours, shipped = load_probe(tmp_path / "probe"), load_probe(EXAMPLE / "probe")
    assert np.allclose(ours.weight, shipped.weight, atol=1e-3)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The late fee is 5 dollars. No further action.", 1.0),
        ("The late fee is 5 dollars.", 1.0),
        ("I am sorry to hear that. The late fee is 5 dollars.", 3.0),
        (
            "I am so sorry, I understand how hard this is. Happy to help, take care! The fee is 5 dollars.",
            5.0,
        ),
    ],
)
def test_the_rubric_goes_from_1_to_5_by_what_an_answer_does(answer: str, expected: float) -> None:
    assert scores([answer]) == [expected]
