"""A vector read backwards is a probe: its own direction, calibrated on pairs that it was not read from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import guardsteer
from guardsteer.classify.probe import load_probe
from guardsteer.errors import BindingError, VectorError
from guardsteer.host import fingerprint, render_chat
from guardsteer.lab.extraction.extract import extract
from guardsteer.lab.metrics.agreement import metrics_for, with_intervals
from guardsteer.lab.pairs.contrast import ContrastPair, Split
from guardsteer.lab.probes.of_vector import probe_of
from tests.lab.chats import chat_model, chat_tokenizer, pairs, recipe

POLICY = """\
guardsteer: 1
name: disagreement
classifiers:
  says:  {{literals: [sorry], on: generation}}
  holds: {{use: {probe}, on: generation}}
flags:
  says_it:  {{signal: says.match, enter: 0.5}}
  holds_it: {{signal: holds.score, enter: 0.5}}
rules:
  - id: holds-without-saying
    when: holds_it && !says_it
    observe: true
"""
SPLIT = Split(extraction=40, tuning=30, test=30)


def test_the_probe_is_the_direction_scaled_and_tells_the_sides_of_test_pairs_apart(tmp_path: Path) -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    made = recipe(pairs(60, positive="WWWWWWWWW ", negative="ooooooooo "), split=SPLIT)
    vector = extract(model, tokenizer, made)
    found = probe_of(model, tokenizer, made, vector, tmp_path / "probe", block=1)
    probe = load_probe(tmp_path / "probe")
    probe.check(fingerprint(model, tokenizer))
    weight = probe.weight[0].numpy()
    assert np.allclose(weight / np.linalg.norm(weight), vector.direction(1), atol=1e-5)
    assert found.metrics["auroc"]["low"] > 0.5


def test_a_cosine_probe_ranks_states_by_their_direction_alone(tmp_path: Path) -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    made = recipe(pairs(60, positive="WWWWWWWWW ", negative="ooooooooo "), split=SPLIT)
    vector = extract(model, tokenizer, made)
    found = probe_of(model, tokenizer, made, vector, tmp_path / "probe", block=1, measure="cosine")
    probe = load_probe(tmp_path / "probe")
    weight = probe.weight[0].numpy()
    assert probe.measure == "cosine"
    assert np.allclose(weight / np.linalg.norm(weight), vector.direction(1), atol=1e-5)
    assert found.metrics["auroc"]["low"] > 0.5
    states, labels = _states(model, tokenizer, made.part("test"))
    scores = probe.score(torch.tensor(states, dtype=torch.float32))[:, 0].double().numpy()
    right = np.where(labels == 1, scores, 1 - scores)
    assert found.metrics["log_loss"]["value"] == pytest.approx(-np.log(right).mean(), abs=1e-4)
    cosines = states @ vector.direction(1) / np.linalg.norm(states, axis=1)
    assert np.array_equal(np.argsort(cosines, kind="stable"), np.argsort(scores, kind="stable"))


def _states(model: Any, tokenizer: Any, pairs: Sequence[ContrastPair]) -> tuple[Any, Any]:
    """Return the states at block 1 of each token of each reply, and whether it has the trait."""
    states, labels = [], []
    for pair in pairs:
        for label, side in ((1, pair.positive), (0, pair.negative)):
            chat = render_chat(tokenizer, pair.chat(side, with_reply=True), add_generation_prompt=False)
            with torch.no_grad():
                kept = model(input_ids=torch.tensor([chat.input_ids]), output_hidden_states=True)
            turn = chat.turns[-1]
            states.append(kept.hidden_states[2][0, turn.first : turn.end].double().numpy())
            labels += [label] * (turn.end - turn.first)
    return np.concatenate(states), np.array(labels)


def test_intervals_are_over_pairs_not_over_the_tokens_of_their_answers() -> None:
    generator = np.random.default_rng(0)
    pairs, labels = np.repeat(np.arange(20), 50), np.repeat(np.arange(20) % 2, 50)
    scores = np.repeat(np.clip(0.5 + 0.1 * (np.arange(20) % 2) + generator.normal(0, 0.2, 20), 0, 1), 50)
    given = (labels, np.stack([1 - scores, scores], axis=1), {"accuracy": metrics_for(2)["accuracy"]})
    alone = with_intervals(*given, seed=0)["accuracy"]
    together = with_intervals(*given, seed=0, groups=pairs)["accuracy"]
    assert alone["value"] == together["value"]
    assert together["high"] - together["low"] > 4 * (alone["high"] - alone["low"])


def test_a_policy_can_hold_what_is_said_against_what_is_held(tmp_path: Path) -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    made = recipe(pairs(60), split=SPLIT)
    probe_of(model, tokenizer, made, extract(model, tokenizer, made), tmp_path / "probe")
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.format(probe="./probe"))
    with guardsteer.wrap(model, tokenizer, policy=path) as guard:
        guard.generate(**tokenizer("Hello", return_tensors="pt"), max_new_tokens=3)


def test_a_probe_of_another_model_of_another_block_or_of_too_few_pairs_is_refused(tmp_path: Path) -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    made = recipe(pairs(60), split=SPLIT)
    vector = extract(model, tokenizer, made)
    with pytest.raises(VectorError, match="no direction for block 99"):
        probe_of(model, tokenizer, made, vector, tmp_path, block=99)
    with pytest.raises(VectorError, match="at least 8 each"):
        probe_of(model, tokenizer, recipe(pairs(60)), vector, tmp_path)
    with pytest.raises(BindingError):
        probe_of(chat_model("gpt2"), tokenizer, made, vector, tmp_path)
    assert not list(tmp_path.iterdir())
