"""The example that answers hostile users warmly: its parts on tiny models, its bar on the real one."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.warm_when_hostile import run
from examples.warm_when_hostile.build import gather, part, warmth
from examples.warm_when_hostile.measure import Group, figures, guarded, random_like
from examples.warm_when_hostile.talk import GREEDY, HERE, Decoding, ask, load
from examples.warm_when_hostile.tune import with_strength
from examples.warm_when_hostile.utterances import expand, own_lines, read_frames, without
from guardsteer.assets import Catalog
from guardsteer.classify.load import load_folder
from guardsteer.classify.words.linear import LinearClassifier
from guardsteer.errors import AssetError, RequestError
from guardsteer.lab.recipes.recipe import load_recipe
from guardsteer.rules import load_policy
from guardsteer.steer import Vector
from tests.lab.chats import chat_model, chat_tokenizer

HELD_OUT = ("held_out_hostile", "held_out_calm")
SIDES = ("hostile", "calm")

needs_vader = pytest.mark.skipif(
    find_spec("vaderSentiment") is None,
    reason="needs vaderSentiment: pip install 'guardsteer[examples]'",
)


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, Any]:
    return chat_model("gpt_neo"), chat_tokenizer(padding_side="left")


@pytest.fixture(scope="module")
def tinytalk(shared: Path) -> tuple[Any, Any]:
    folder = shared / "models" / "tinytalk-3M-chat"
    if not folder.is_dir():
        pytest.skip(f"needs a real chat model: {folder} is absent")
    return load(folder)


# --- texts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
def test_every_gap_of_a_frame_can_be_filled_and_every_filling_is_used(side: str) -> None:
    frames = read_frames(side)
    texts = [*frames.frames, *(word for words in frames.gaps.values() for word in words)]
    assert all(isinstance(text, str) for text in texts)
    used = {gap for text in texts for gap in re.findall(r"\{(\w+)\}", text)}
    assert used == set(frames.gaps)
    drawn = expand(frames, 300, seed=3)
    assert drawn == expand(frames, 300, seed=3) != expand(frames, 300, seed=4)
    assert len(set(drawn)) == 300
    assert not [text for text in drawn if "{" in text]


def test_no_utterance_is_both_hostile_and_calm_and_none_is_held_out_and_learned_from() -> None:
    learned = {text for side in SIDES for text in own_lines(side)}
    held_out = [text for name in HELD_OUT for text in own_lines(name)]
    assert len(own_lines(HELD_OUT[0])) >= 100
    assert len(own_lines(HELD_OUT[1])) >= 100
    assert not set(own_lines("hostile")) & set(own_lines("calm"))
    assert without(sorted(learned), held_out) == sorted(learned)
    assert len(set(held_out)) == len(held_out)


def test_what_is_left_out_is_told_by_its_words() -> None:
    assert without(["Get  LOST!", "Get lost, you."], ["get lost."]) == ["Get lost, you."]


def test_the_pairs_are_enough_and_half_of_them_answer_hostility_without_an_apology() -> None:
    recipe = load_recipe(HERE / "warmth")
    assert len(recipe.pairs) >= 64
    apologies = [pair.id for pair in recipe.pairs if "sorry" in (pair.positive.reply or "").lower()]
    assert not apologies
    lengths = [(len(pair.positive.reply or ""), len(pair.negative.reply or "")) for pair in recipe.pairs]
    warm, cold = np.mean(lengths, axis=0)
    assert 0.5 < warm / cold < 2.0


# --- classifier and policy -------------------------------------------------------------------


def test_the_committed_classifier_keeps_the_bar_on_held_out_everyday_utterances() -> None:
    """At the policy's threshold: at least 80 % of the hostile ones, at most 5 % of the calm ones."""
    threshold = load_policy(HERE / "policy.yaml").flags[0].enter
    classifier = load_folder(Catalog().find("classifiers", "hostility"))
    assert isinstance(classifier, LinearClassifier)
    hostile, calm = (classifier.predict(own_lines(name))[:, 0] >= threshold for name in HELD_OUT)
    assert hostile.mean() >= 0.80
    assert calm.mean() <= 0.05


def test_the_classifier_learns_from_nothing_that_is_measured(shared: Path) -> None:
    examples = gather(shared / "data").examples
    learned = [row.text for row in examples if part(row.text) == "train"]
    for group in [*run.own_groups(), *run.real_groups(shared / "data")]:
        assert without(sorted(group.prompts), learned) == sorted(group.prompts), group.name


def test_another_strength_changes_the_strength_and_its_limit_alone() -> None:
    policy, other = load_policy(HERE / "policy.yaml"), with_strength(0.2)
    assert other.rules[0].steer[0].strength == other.vectors[0].max_strength == 0.2
    assert (other.flags, other.classifiers) == (policy.flags, policy.classifiers)


def test_missing_data_and_a_missing_model_say_how_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AssetError, match="Get GoEmotions"):
        gather(tmp_path)
    assert run.main(["--model", str(tmp_path)]) == 2
    assert "--model PATH" in capsys.readouterr().err


# --- measuring -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vector(tiny: tuple[Any, Any]) -> Vector:
    return warmth(*tiny)


def test_a_random_vector_has_the_norms_and_the_card_but_no_likeness(vector: Vector) -> None:
    other = random_like(vector, 1)
    assert np.array_equal(other.residual_norms, vector.residual_norms)
    assert np.allclose(np.linalg.norm(other.directions, axis=1), 1.0, atol=1e-5)
    assert np.abs((other.directions * vector.directions).sum(axis=1)).max() < 0.9
    assert other.card.recommended == vector.card.recommended
    assert other.digest != vector.digest


@pytest.mark.parametrize("decoding", [GREEDY, Decoding("sampled", temperature=0.9, seed=3)])
def test_hostile_rows_are_steered_and_calm_rows_of_their_batch_are_those_of_the_bare_model(
    tiny: tuple[Any, Any], vector: Vector, decoding: Decoding
) -> None:
    prompts = ["You are a stupid idiot!", "How was your day?", "Shut up, loser.", "I baked some bread."]
    bare = ask(*tiny, prompts, decoding)
    found = guarded(*tiny, prompts, decoding, vector)
    assert found.steered == [True, False, True, False]
    assert [first == second for first, second in zip(bare, found.replies, strict=True)] == [
        False,
        True,
        False,
        True,
    ]


@needs_vader
def test_the_figures_count_what_happened(tiny: tuple[Any, Any], vector: Vector) -> None:
    groups = [
        Group("rude", True, ("You are a stupid idiot!", "Shut up, loser.", "Thank you for the flowers.")),
        Group("calm", False, ("How was your day?",)),
    ]
    found = figures(*tiny, groups, [GREEDY], vector, random_seeds=[7])
    assert found.triggered["rude"].value == pytest.approx(2 / 3)
    assert found.triggered["calm"].value == 0
    assert found.untriggered == found.untriggered_identical == 2
    assert found.change is not None
    assert found.change.gain.rows == 2
    assert found.change.gain.value == pytest.approx(found.change.after.value - found.change.before.value)
    ratio = found.change.perplexity_after / found.change.perplexity_before
    assert found.change.perplexity_ratio.value == pytest.approx(ratio)
    assert found.by_group["rude"] == found.change
    assert set(found.random) == {7}
    assert found.random[7].perplexity_before == found.change.perplexity_before
    json.dumps(found.as_json())
    lines = "\n".join(run.table(found, 1))
    assert "2 of 2" in lines
    assert "random vector 7" in lines


def test_prompts_of_the_users_own_are_read_and_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "Go away!", "hostile": true}\n\n{"text": "Hi", "hostile": false}\n')
    assert [(group.hostile, group.prompts) for group in run.file_groups(path)] == [
        (True, ("Go away!",)),
        (False, ("Hi",)),
    ]
    path.write_text('{"text": "Go away!", "hostile": true}\n{"text": "Hi"}\n')
    with pytest.raises(RequestError, match=r"mine\.jsonl:2"):
        run.file_groups(path)


@needs_vader
def test_the_real_model_answers_hostile_users_more_warmly_at_a_bounded_price(
    tinytalk: tuple[Any, Any],
) -> None:
    """The bar of this example, greedy, on its own held-out prompts; ``run`` reports the whole of it."""
    found = figures(*tinytalk, run.own_groups(), [GREEDY], warmth(*tinytalk), random_seeds=[1])
    hostile, calm = found.triggered.values()
    assert hostile.value >= 0.80
    assert calm.value <= 0.05
    assert found.untriggered == found.untriggered_identical > 100
    assert found.change is not None
    assert found.change.gain.value >= 0.20
    assert found.change.perplexity_ratio.value <= 1.5
    assert found.random[1].gain.value < found.change.gain.value / 2


@pytest.mark.parametrize(("file", "prefix"), [("pairs", ""), ("held_out", "held_out_")])
def test_the_stack_for_hostility_keeps_to_the_utterances_as_they_are(file: str, prefix: str) -> None:
    """What is held out here is held out there: its rows are these lines and no others."""
    lines = (HERE.parents[1] / "classifiers" / "hostility-meaning" / f"{file}.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [(row["text"], row["label"]) for row in rows] == [
        (text, side) for side in SIDES for text in own_lines(prefix + side)
    ]
