"""``vectors compose`` measures vectors alone and together, prints the table, and tells which fight."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardsteer.cli.main import main
from guardsteer.steer import Recommendation, Vector, make_vector, recommend, save_vector
from tests.lab.studies import lettered, parts

SIZES = ["--new-tokens", "8"]
METRIC = "python:tests.lab.studies:letters"


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
    path.write_text("".join(f"Tell me about number {place}.\n" for place in range(10)))
    return path


def named(name: str, sign: float) -> Vector:
    """Return a calibrated vector of this name towards the letter, or away from it."""
    made = lettered({3: sign})
    card = made.card.model_copy(update={"name": name})
    vector = make_vector(card, directions=made.directions, residual_norms=made.residual_norms)
    return recommend(vector, Recommendation(blocks=(3,), low=1.0, recommended=4.0, high=5.0))


def test_vectors_that_fight_are_a_finding_and_the_report_shows_them(
    model: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more, less = (
        save_vector(named(name, sign), tmp_path / name) for name, sign in (("more", 1.0), ("less", -1.0))
    )
    words = ["vectors", "compose", str(more), str(less), "--model", str(model), "--prompts", str(prompts)]
    judged = ["--metric", f"more={METRIC}", f"less={METRIC}", "--lower", "less"]
    assert main([*words, *SIZES, *judged, "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().out
    assert "more + less: cosine block 3 -1.00" in told
    assert "warning: more and less at block 3 push against each other" in told
    assert "on 10 prompts" in told
    assert "push against each other" in (tmp_path / "out" / "composition.html").read_text()
    assert json.loads((tmp_path / "out" / "composition.json").read_text())["pairs"][0]["cosines"] == {
        "3": -1.0
    }
    weak = ["--strength", "more=0.5", "less=0.5", "--subtract", "less", "--json"]
    assert main([*words, *SIZES, "--metric", f"more={METRIC}", f"less={METRIC}", *weak]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["warnings"] == []
    assert found["pushes"]["less"]["strength"] == -0.5
    # A metric that needs the bare model gets it.
    assert main([*words, *SIZES, "--metric", "more=perplexity", "less=perplexity", *weak]) in (0, 1)
    assert json.loads(capsys.readouterr().out)["pairs"][0]["effects"][0]["goal"] == "perplexity"


def test_a_policy_says_which_vectors_act_at_once(
    model: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, sign in (("more", 1.0), ("less", -1.0)):
        save_vector(named(name, sign), tmp_path / f"{name}.safetensors")
    path = tmp_path / "policy.yaml"
    path.write_text(
        "guardsteer: 1\nname: stacked\nvectors:\n  more: {use: ./more.safetensors}\n"
        "  less: {use: ./less.safetensors}\nrules:\n"
        "  - {id: one, when: step < 4, add: {vector: more, strength: 0.5}}\n"
        "  - {id: two, when: step >= 2, subtract: {vector: less, strength: 0.4}}\n"
    )
    words = ["vectors", "compose", "--policy", str(path), "--model", str(model), "--prompts", str(prompts)]
    assert main([*words, *SIZES, "--metric", f"more={METRIC}", f"less={METRIC}"]) == 0
    assert "more in one + less in two: cosine block 3 +1.00" in capsys.readouterr().out
    path.write_text(path.read_text().replace("step >= 2", "step >= 4"))
    assert main([*words, *SIZES]) == 2
    assert "no two of its vectors may push at once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ([], "give two or more VECTOR, or --policy"),
        (["demo-empathy", "--policy", "demo"], "one of the two"),
        (["--policy", "demo", "--subtract", "empathy"], "its rules say"),
        (["a", "b", "--strength", "a"], "expected NAME=VALUE"),
        (["a", "b", "--strength", "a=much"], "a number above 0"),
        (["a", "b", "--strength", "a=-1"], "a number above 0"),
        (["demo-empathy", "demo-sycophancy"], "only for 364089009d6f"),
    ],
)
def test_what_cannot_be_compared_is_misuse(
    more: list[str], wrong: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vectors", "compose", *more, "--model", str(model)]) == 2
    assert wrong in capsys.readouterr().err
