"""A vector read backwards is a probe: its own direction, calibrated on pairs that it was not read from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import guardsteer
from guardsteer.classify.probe import load_probe
from guardsteer.errors import BindingError, VectorError
from guardsteer.host import fingerprint
from guardsteer.lab.contrast import Split
from guardsteer.lab.extract import extract
from guardsteer.lab.vector_probe import probe_of
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
