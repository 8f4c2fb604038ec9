"""The demonstrations of the vector lab, at small sizes: they run, count rightly and hide no failure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from examples import dose, dose_report
from examples.concept_probe import __main__ as concept_probe
from examples.concept_probe.concepts import Said, billing, hostile
from examples.evangelist import likelihood
from examples.evangelist.__main__ import TRIAL as EVANGELIST
from examples.layers import __main__ as layers
from examples.ocean.__main__ import TRIAL as OCEAN
from examples.ocean.__main__ import sea_words
from examples.pessimism.__main__ import TRIAL as PESSIMISM
from examples.pictures import save_picture, save_trace
from guardsteer.classify.probe import Probe, load_probe
from guardsteer.demo import load_model
from guardsteer.host import find_layout, fingerprint
from guardsteer.lab.extraction.extract import extract
from guardsteer.lab.measure.measuring import Goal
from guardsteer.lab.pairs.prompts import user_prompt
from guardsteer.lab.recipes.recipe import load_recipe
from guardsteer.pages.charts import Dot, Line, chart
from guardsteer.rules import load_policy
from tests.lab.chats import chat_model, chat_tokenizer

TRIALS = {"pessimism": PESSIMISM, "evangelist": EVANGELIST, "ocean": OCEAN}
VECTORS = Path(__file__).resolve().parents[2] / "vectors"


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, Any]:
    return chat_model(), chat_tokenizer()


@pytest.fixture(scope="module")
def found(tiny: tuple[Any, Any]) -> dose.Dose:
    """One small dose and response: how often a reply of the tiny model holds an ``e``, at two strengths."""
    goal = Goal("e", lambda _, replies: [float("e" in reply) for reply in replies])
    trial = dose.Trial("pessimism", goal, strengths=(0.5, 4.0))
    prompts = dose.parts("a folder", 8, 8)
    return dose.doses(*tiny, trial, prompts, blocks=[1], controls=1, new_tokens=6)


# --- dose and response -----------------------------------------------------------------------


def count(trial: dose.Trial, text: str) -> dict[str, float]:
    """Return what a trial counts in one reply, by name."""
    goals = {trial.goal.name: trial.goal.metric} | {check.name: check.metric for check in trial.watched}
    return {name: float(metric([user_prompt("Hi.")], [text])[0]) for name, metric in goals.items()}


@pytest.mark.parametrize(
    ("name", "text", "counted"),
    [
        (
            "evangelist",
            "Use python for it!",
            {"replies that name Python": 1, "replies that speak of computing": 0},
        ),
        ("evangelist", "My pythons ate a computer.", {"replies that name Python": 0}),
        (
            "ocean",
            "I am the deep sea.",
            {"replies that speak of the sea": 1, "I am the sea": 1, "I am in it": 0},
        ),
        (
            "ocean",
            "I'm a fish, I can swim.",
            {"replies that speak of the sea": 1, "I am the sea": 0, "I am in it": 1},
        ),
        ("ocean", "I see a seat and sandals.", {"replies that speak of the sea": 0, "share of sea words": 0}),
        (
            "pessimism",
            "No, it never works.",
            {"replies with a gloomy word": 1, "replies that begin with no": 1},
        ),
        ("pessimism", "Nothing is lost.", {"replies with a gloomy word": 1, "replies that begin with no": 0}),
        (
            "pessimism",
            "Notes close the loss.",
            {"replies with a gloomy word": 0, "replies that begin with no": 0},
        ),
    ],
)
def test_what_a_demonstration_counts(name: str, text: str, counted: dict[str, float]) -> None:
    got = count(TRIALS[name], text)
    assert {key: got[key] for key in counted} == counted


def test_sea_words_are_counted_as_a_share_and_an_empty_reply_has_none() -> None:
    prompts = [user_prompt("Hi."), user_prompt("Ho.")]
    assert sea_words(prompts, ["The waves and the tide.", ""]) == [pytest.approx(0.4), 0.0]


@pytest.mark.parametrize("name", TRIALS)
def test_the_recipe_of_a_demonstration_ships_with_enough_pairs(name: str) -> None:
    recipe = load_recipe(VECTORS / TRIALS[name].recipe)
    assert len(recipe.pairs) >= 64


def test_no_prompt_is_both_chosen_and_judged_on_and_none_is_of_the_pairs() -> None:
    for name in ("a folder", dose.DEMO):
        whole = dose.parts(name, 10_000, 10_000)
        taken = [whole.test[0].text, whole.tuning[0].text]
        prompts = dose.parts(name, 10_000, 10_000, taken)
        tuning, test = ({prompt.text for prompt in part} for part in (prompts.tuning, prompts.test))
        assert not tuning & test
        assert not (tuning | test) & set(taken)
        assert min(len(tuning), len(test)) > 100
        few = dose.parts(name, 40, 30)
        assert (len(few.tuning), len(few.test)) == (40, 30)


def test_a_dose_starts_with_the_bare_model_and_has_a_control_at_every_other_strength(
    found: dose.Dose,
) -> None:
    bare, *pushed = found.steps
    assert (bare.strength, bare.measured.gain.value, bare.measured.perplexity_ratio.value) == (0, 0, 1)
    assert [step.strength for step in pushed] == [0.5, 4.0]
    assert all(len(step.random) == 1 for step in pushed)
    assert {len(step.replies) for step in found.steps} == {8}
    assert pushed[-1].replies != bare.replies
    assert pushed[-1].random[0].goal.rows == 8


def test_low_is_the_last_push_within_bounds_and_high_the_one_nearest_to_twice_of_it(found: dose.Dose) -> None:
    broken = [bool(step.rung.costs) for step in found.steps]
    assert found.low is found.steps[broken.index(True) - 1 if True in broken else -1]
    assert found.most.measured.gain.value == max(step.measured.gain.value for step in found.steps)


def test_the_report_says_where_a_trait_never_rises(tiny: tuple[Any, Any]) -> None:
    goal = Goal("never", lambda _, replies: [0.0] * len(replies))
    trial = dose.Trial("python-evangelist", goal, strengths=(0.2,))
    got = dose.doses(*tiny, trial, dose.parts("x", 8, 8), blocks=[0], controls=1, new_tokens=4)
    lines = "\n".join(dose_report.table(trial, got))
    assert got.saturation is None
    assert "the trait never rises" in lines
    assert len(re.findall(r"^\| 0(?:\.2)? \|", lines, re.M)) == 2
    assert "+0.000 (+0.000 to +0.000) [+0.000]" in lines


def test_the_command_of_a_demonstration_prints_its_table_and_draws_its_picture(
    tiny: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dose_report, "load", lambda _: tiny)
    trial = dose.Trial("ocean-persona", OCEAN.goal, OCEAN.watched, strengths=(0.3,), tuning=8)
    prompts = tmp_path / "mine.txt"
    prompts.write_text("".join(f"What is it, number {n}?\n" for n in range(8)))
    drawn = tmp_path / "dose.svg"
    given = [
        "--model",
        "x",
        "--limit",
        "8",
        "--blocks",
        "1",
        "--prompts",
        str(prompts),
        "--picture",
        str(drawn),
    ]
    assert dose_report.main(trial, "About.", "examples.mine", given) == 0
    said = capsys.readouterr().out
    assert "| strength | replies that speak of the sea | gain |" in said
    assert "What is it, number" in said
    assert drawn.read_text().count("<svg") == 3


def test_a_model_that_is_absent_is_said_and_how_to_name_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert dose_report.main(PESSIMISM, "About.", "examples.mine", ["--model", "/no/such/model"]) == 2
    assert layers.main(["--model", "/no/such/model"]) == 2
    assert concept_probe.main(["--model", "/no/such/model", "--out", "/no/such/probe"]) == 2
    assert capsys.readouterr().err.count("--model PATH") == 3


def test_the_likelihood_of_the_word_is_that_of_one_pass_over_all_of_it_and_a_push_moves_it(
    tiny: tuple[Any, Any],
) -> None:
    model, tokenizer = tiny
    prompts = [user_prompt("Hi."), user_prompt("What shall I learn?")]
    vector = extract(model, tokenizer, load_recipe(VECTORS / "python-evangelist"))
    wanted = []
    for prompt in prompts:
        text = tokenizer.apply_chat_template(
            list(prompt.messages), add_generation_prompt=True, tokenize=False
        )
        start = tokenizer(text + " You should use", add_special_tokens=False)["input_ids"]
        word = tokenizer(" Python", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([start + word])).logits[0].log_softmax(-1)
        wanted.append(sum(float(logits[len(start) - 1 + n, token]) for n, token in enumerate(word)))
    bare = likelihood.log_likelihoods(model, tokenizer, vector, 1, 0.0, prompts)
    assert bare == pytest.approx(wanted, abs=1e-3)
    pushed = likelihood.log_likelihoods(model, tokenizer, vector, 1, 2.0, prompts)
    assert max(abs(a - b) for a, b in zip(bare, pushed, strict=True)) > 0.01


# --- layers ----------------------------------------------------------------------------------


def test_layers_tells_the_block_that_separates_best_from_the_one_that_steers(
    tiny: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("vaderSentiment")
    monkeypatch.setattr(layers, "load", lambda _: tiny)
    monkeypatch.setitem(layers._SIZES, "new_tokens", 6)
    drawn = tmp_path / "blocks.svg"
    assert layers.main(["--model", "x", "--limit", "8", "--blocks", "0", "1", "--picture", str(drawn)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"Separates best: block [01]\. (Steers|Moves) best: block [01]\.", said)
    assert len(re.findall(r"^\| [01] \| \d", said, re.M)) == 2
    assert drawn.read_text().count("<title") >= 2


# --- concept probe ---------------------------------------------------------------------------


@pytest.mark.parametrize("concept", [billing(60), hostile(60)], ids=["billing", "hostile"])
def test_what_is_judged_was_not_learned_and_both_answers_occur(concept: Any) -> None:
    learned = {said.text.casefold() for said in concept.learn}
    assert not learned & {said.text.casefold() for said in concept.judge}
    for said in (concept.learn, concept.judge):
        assert {one.holds for one in said} == {True, False}


def test_the_states_that_are_read_are_those_of_the_last_turn_and_what_follows(tiny: tuple[Any, Any]) -> None:
    model, tokenizer = tiny
    turns = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"})
    one = concept_probe.read(
        model, tokenizer, [Said((*turns, {"role": "user", "content": "abc"}), True)], [1]
    )[0]
    assert one.tokens[:3] == ("a", "b", "c")
    assert one.tokens[-1] == "<assistant>"
    assert one.spoken == 3
    assert one.states[1].shape == (len(one.tokens), fingerprint(model, tokenizer).width)


def test_auroc_is_one_for_a_probe_that_knows_and_a_half_for_one_that_does_not(tiny: tuple[Any, Any]) -> None:
    model, tokenizer = tiny
    said = [Said(({"role": "user", "content": text},), text < "n") for text in "abcdefghijklmnopqrstuvwxyz"]
    reads = concept_probe.read(model, tokenizer, said, [0])
    width = reads[0].states[0].shape[1]
    first = np.stack([one.states[0][0] for one in reads])
    wanted = np.array([1.0 if one.said.holds else -1.0 for one in reads])
    weight, *_ = np.linalg.lstsq(np.column_stack([first, np.ones(26)]), 50 * wanted, rcond=None)
    fits = np.array_equal(np.sign(first @ weight[:-1] + weight[-1]), wanted)
    assert fits, "a byte is one token, so its state must tell it"

    def probe(values: np.ndarray[Any, Any], bias: float) -> Probe:
        return Probe(
            name="p",
            outputs=("score",),
            block=0,
            weight=torch.tensor(values[None], dtype=torch.float32),
            bias=torch.tensor([bias], dtype=torch.float32),
            fingerprint="b3:" + "0" * 64,
            digest="b3:" + "0" * 64,
        )

    knows, blind = probe(weight[:-1], float(weight[-1])), probe(np.zeros(width), 0.0)
    lines = list(concept_probe.judged([knows, blind], {0: reads}, ("hostility", "score")))
    whole = next(line for line in lines if "100%" in line)
    assert "1.000" in whole
    assert "0.500 (0.500 to 0.500)" in whole


def test_the_committed_probe_is_the_demo_models_and_its_policy_loads() -> None:
    model, tokenizer = load_model()
    probe = load_probe(concept_probe.HERE / "probe")
    probe.check(fingerprint(model, tokenizer))
    assert probe.block < 5 < find_layout(model).n_blocks
    assert load_policy(concept_probe.HERE / "policy.yaml").rules[0].id == "warm-billing"


def test_the_policy_warms_billing_tickets_alone() -> None:
    """Gated by the committed probe and nothing else, on tickets in wordings that it never learned."""
    model, tokenizer = load_model()
    probe = load_probe(concept_probe.HERE / "probe")
    billed, others = list(concept_probe.steered(model, tokenizer, probe, 24))[2:]
    rows, changed, warm_bare, warm = map(int, re.findall(r"\d+", billed))
    assert changed >= 0.8 * rows > 0
    assert warm > warm_bare + rows / 2
    rows, changed, warm_bare, warm = map(int, re.findall(r"\d+", others))
    assert changed <= 0.1 * rows
    assert warm == warm_bare


def test_a_small_probe_is_trained_judged_and_traced_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = tmp_path / "trace.svg"
    given = ["--texts", "60", "--out", str(tmp_path / "probe"), "--picture", str(drawn)]
    assert concept_probe.main(given) == 0
    said = capsys.readouterr().out
    at_the_end = re.search(r"where a policy decides\*\* \| [\d.]+ \([^)]*\) \| ([\d.]+)", said)
    assert at_the_end is not None
    assert float(at_the_end[1]) > 0.7
    assert "<|assistant|>[" in said
    assert "fill-opacity" in drawn.read_text()


def test_the_policys_probe_is_not_overwritten_by_that_of_another_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert concept_probe.main(["--model", "/no/such/model"]) == 2
    assert "name another folder" in capsys.readouterr().err


# --- pictures --------------------------------------------------------------------------------


def test_pictures_are_whole_files_that_load_nothing(tmp_path: Path) -> None:
    figure = chart([Line("a", (Dot(0, 1), Dot(1, 2)))], title="t", x_label="x", y_label="y")
    one = save_picture(tmp_path / "a" / "one.svg", [("A & B", figure, ["a", "(random)"])]).read_text()
    two = save_trace(tmp_path / "two.svg", "t", [(["<b>", " "], [0.25, 1.0])]).read_text()
    for text in (one, two):
        assert text.startswith("<svg ")
        assert text.count("<svg") == text.count("</svg>")
        assert not re.search(r"<script|href=|url\(", text)
    assert "A &amp; B" in one
    assert "&lt;b&gt;" in two
    assert "0.25" in two
