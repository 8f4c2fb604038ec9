"""The example policy flags an answer whose words and whose state disagree, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from examples.harbor.rubric import scores
from examples.says_and_holds.build import build_probe, build_says
from examples.says_and_holds.data import answers
from examples.says_and_holds.measure import Outcome, flagged, tell
from guardsteer.classify.probe import load_probe
from guardsteer.cli.main import main
from guardsteer.demo import load_model

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "says_and_holds"
TICKETS = 8


def test_the_example_policy_passes_its_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "test", str(EXAMPLE)]) == 0
    assert "5 of 5" in capsys.readouterr().out
    assert main(["policy", "check", str(EXAMPLE), "--strict"]) == 0


def test_the_data_crosses_words_with_what_was_told_and_keeps_its_parts_apart() -> None:
    tuning, test = (list(answers(part, 20)) for part in ("tuning", "test"))
    assert {(each.told, each.says) for each in test} == {
        (told, says) for told in ("care", "cold", "nothing") for says in ("warm", "cold", "neutral")
    }
    assert sum(each.disagrees != "" for each in test) == 20 * 4
    lines = [
        {each.messages[0]["content"] for each in part if each.told != "nothing"} for part in (tuning, test)
    ]
    assert not lines[0] & lines[1]
    asked = [
        {each.messages[-1]["content"] for each in answers(part, 20)} for part in ("build", "tuning", "test")
    ]
    assert len(set.union(*asked)) == sum(map(len, asked))


def test_on_held_out_tickets_most_disagreements_are_flagged_and_little_else() -> None:
    some, parts = list(answers("test", TICKETS)), load_model()
    made = flagged(EXAMPLE, some, forced=True, parts=parts)
    assert [each.text.strip() for each in made] == [each.reply.strip() for each in some]
    told = tell(made)
    assert told["said-not-held: caught"].value >= 0.9
    assert told["held-not-said: caught"].value >= 0.4
    assert max(told[f"{rule}: false alarms"].value for rule in ("said-not-held", "held-not-said")) <= 0.04
    free = flagged(EXAMPLE, [each for each in some if each.says == "neutral"], forced=False, parts=parts)
    assert sum(bool(each.fired) for each in free if not each.should) <= 1


def test_shares_are_of_what_should_be_flagged_and_of_the_rest() -> None:
    found = [
        Outcome("cold", "warm", "said-not-held", frozenset(fired), "")
        for fired in ({"said-not-held"}, {"held-not-said"}, set[str]())
    ]
    found.append(Outcome("care", "warm", "", frozenset({"said-not-held"}), ""))
    told = tell(found)
    assert (told["said-not-held: caught"].value, told["said-not-held: caught"].rows) == (1 / 3, 3)
    assert (told["said-not-held: false alarms"].value, told["said-not-held: false alarms"].rows) == (1.0, 1)
    assert told["held-not-said: false alarms"].value == 0.25
    assert "held-not-said: caught" not in told


def test_what_ships_is_what_the_build_makes(tmp_path: Path) -> None:
    shipped = load_probe(EXAMPLE / "probe")
    found, block = build_probe(tmp_path / "probe", blocks=[shipped.block])
    assert found.metrics["auroc"]["low"] > 0.7
    ours = load_probe(tmp_path / "probe")
    assert ours.block == shipped.block == block
    assert np.allclose(ours.weight, shipped.weight, atol=1e-3)
    build_says(tmp_path / "says")
    for name in ("vocabulary.json", "classifier.json"):
        assert (tmp_path / "says" / name).read_bytes() == (EXAMPLE / "says" / name).read_bytes()


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
