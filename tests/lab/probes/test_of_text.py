"""A probe of labelled texts is split by groups; its block and penalty are chosen by tuning texts alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from guardsteer.classify.probe import load_probe
from guardsteer.cli.main import main
from guardsteer.errors import ClassifierError
from guardsteer.host import render_chat
from guardsteer.lab.classifiers.data import Example, part_of
from guardsteer.lab.classifiers.fitting import About, Settings
from guardsteer.lab.probes.of_text import train_text_probe
from guardsteer.lab.probes.recipe import OfTexts
from guardsteer.lab.probes.train import best_block, train_probe
from tests.lab.chats import chat_model, chat_tokenizer

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "haven",
    "inlet",
    "jetty",
    "kiosk",
    "ledge",
]
USER = OfTexts(positive="loud")


def examples(count: int = 120) -> list[Example]:
    """Return texts of which some shout, no two of them nearly the same."""
    drawn = np.random.default_rng(0)
    made = []
    for place in range(count):
        text = " ".join(drawn.permutation(WORDS)[:5])
        made.append(Example(text.upper() if place % 2 else text, "loud" if place % 2 else "calm"))
    return made


def test_the_probe_scores_what_a_policy_would_read(tmp_path: Path) -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    found = train_text_probe(model, tokenizer, examples(), USER, About("loud"), tmp_path / "probe")
    probe = load_probe(tmp_path / "probe")
    assert (probe.block, probe.outputs) == (found.block, ("score",))
    assert found.losses[found.block] == min(found.losses.values())
    assert set(found.losses) == set(range(4))
    assert found.training.metrics["auroc"]["low"] > 0.9
    shouted, said = (
        _state(model, tokenizer, text, probe.block) for text in ("HELLO MY DEAR", "hello my dear")
    )
    assert float(probe.score(shouted)) > 0.5 > float(probe.score(said))


def _state(model: Any, tokenizer: Any, text: str, block: int) -> Any:
    ids = render_chat(tokenizer, [{"role": "user", "content": text}]).input_ids
    with torch.no_grad():
        kept = model(input_ids=torch.tensor([list(ids)]), output_hidden_states=True)
    return kept.hidden_states[block + 1][0, -1]


def test_texts_of_one_group_and_texts_that_are_nearly_the_same_share_a_part(tmp_path: Path) -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    # The label hangs on the group alone, and states tell groups apart: torn groups would look learnable.
    drawn = np.random.default_rng(1)
    made = []
    for _ in range(40):
        stem = " ".join(drawn.permutation(WORDS)[:6])
        label = "loud" if drawn.random() < 0.5 else "calm"
        made += [Example(f"{stem} {number}", label) for number in range(6)]
    found = train_text_probe(model, tokenizer, made, USER, About("none"), tmp_path / "grouped", blocks=[1])
    assert found.training.metrics["auroc"]["value"] < 0.85
    card = json.loads((tmp_path / "grouped" / "classifier.json").read_text())
    assert card["data"]["rows"] == 240
    assert card["data"]["train"] % 6 == card["data"]["tune"] % 6 == card["data"]["test"] % 6 == 0


def test_each_token_of_an_answer_is_read_and_intervals_are_over_texts(tmp_path: Path) -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    said = OfTexts(positive="loud", said_by="model")
    made = examples(60)
    found = train_text_probe(model, tokenizer, made, said, About("loud"), tmp_path / "probe", blocks=[0, 2])
    assert found.block in (0, 2)
    card = json.loads((tmp_path / "probe" / "classifier.json").read_text())
    tokens = [len(tokenizer(each.text, add_special_tokens=False)["input_ids"]) for each in made]
    assert card["data"]["rows"] == sum(tokens)


def rows(seed: int = 0) -> tuple[Any, list[str], list[str]]:
    """Return states of 60 texts of ten tokens each, of which each text has a direction of its own."""
    drawn = np.random.default_rng(seed)
    texts = np.repeat(np.arange(60), 10)
    states = 3 * drawn.normal(size=(60, 16))[texts] + drawn.normal(size=(600, 16))
    return states, ["a" if text % 2 else "b" for text in texts], [f"text {text}" for text in texts]


def _trained(folder: Path, hidden: Any, labels: Sequence[str], keys: Sequence[str], **more: Any) -> Any:
    settings = Settings(positive="a", tune=0.2, test=0.3)
    return train_probe(
        hidden,
        labels,
        keys,
        block=0,
        fingerprint="f",
        dtype="float32",
        settings=settings,
        about=About("p"),
        out=folder,
        **more,
    )


def test_tokens_of_one_text_never_stand_on_both_sides(tmp_path: Path) -> None:
    hidden, labels, keys = rows()
    honest = _trained(tmp_path / "honest", hidden, labels, keys).metrics["auroc"]
    torn = _trained(tmp_path / "torn", hidden, labels, [f"{key} {n}" for n, key in enumerate(keys)])
    assert torn.metrics["auroc"]["value"] > 0.6
    assert honest["low"] < 0.5 < honest["high"], "labels are drawn at random, so there is nothing to learn"
    assert honest["high"] - honest["low"] > 0.2


def test_the_block_is_chosen_by_tuning_rows_alone() -> None:
    drawn = np.random.default_rng(0)
    keys = [f"text {n}" for n in range(300)]
    labels = ["a" if n % 2 else "b" for n in range(300)]
    signs = np.array([1.0 if label == "a" else -1.0 for label in labels])[:, None]
    settings = Settings(positive="a", tune=0.3, test=0.3)
    parts = np.array([part_of(key, seed=0, tune=0.3, test=0.3) for key in keys])[:, None]
    noise = [drawn.normal(size=(300, 8)) for _ in range(3)]
    states = {
        3: noise[0] + 0.3 * signs,
        5: noise[1] + 0.1 * signs,
        # Perfect but on the tuning rows, by which alone may be chosen.
        7: np.where(parts == "tune", 9.0 * noise[2], 9.0 * signs),
    }
    block, losses = best_block(states, labels, keys, settings)
    assert block == 3
    assert losses[3] < losses[5] < losses[7]


def test_a_cosine_probe_is_trained_on_directions(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    labels = ["a" if n % 2 else "b" for n in range(200)]
    signs = np.array([1.0 if label == "a" else -1.0 for label in labels])
    states = drawn.normal(size=(200, 6))
    states[:, 0] = 2 * signs
    states *= np.exp(drawn.normal(0, 2, size=(200, 1)))
    found = _trained(tmp_path, states, labels, [f"text {n}" for n in range(200)], measure="cosine")
    probe = load_probe(tmp_path)
    assert probe.measure == "cosine"
    scores = probe.score(torch.tensor(states, dtype=torch.float32))[:, 0].numpy()
    assert float(((scores > 0.5) == (signs > 0)).mean()) > 0.95
    assert found.metrics["accuracy"]["value"] > 0.95


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        ([*examples(40), Example("amber birch", "calm"), Example("amber birch", "loud")], "two labels"),
        (examples(12), "at least 10 are needed"),
        ([Example(each.text, "calm") for each in examples(40)], "two labels at least"),
    ],
)
def test_texts_that_cannot_be_used_are_refused(made: list[Example], wrong: str, tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match=wrong):
        train_text_probe(chat_model(), chat_tokenizer(), made, USER, About("x"), tmp_path / "probe")
    assert not (tmp_path / "probe").exists()


def test_one_command_trains_a_probe_from_a_model_and_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in (chat_model(), chat_tokenizer()):
        part.save_pretrained(tmp_path / "model")
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"text": e.text, "label": e.label}) + "\n" for e in examples()))
    words = ["vectors", "train-probe", "--model", str(tmp_path / "model"), "--data", str(data)]
    out = tmp_path / "loud"
    assert main([*words, "--positive", "loud", "--out", str(out), "--blocks", "1", "2"]) == 0
    told = capsys.readouterr().out
    assert "auroc" in told
    assert "by log loss on the tuning texts: 1 " in told
    assert load_probe(out).name == "loud"
    assert main([*words, "--positive", "loud", "--out", str(out), "--blocks", "9"]) == 2
    assert "got 9, the model has blocks 0 to 3" in capsys.readouterr().err
    assert main([*words, "--positive", "quiet", "--out", str(out)]) == 2
    assert "say which of two labels is positive" in capsys.readouterr().err
    assert main([*words, "--positive", "loud", "--out", str(out), "--text-column", "body"]) == 2
    assert "'body'" in capsys.readouterr().err
