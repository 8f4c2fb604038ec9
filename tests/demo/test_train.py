"""The training command is repeatable, resumes where it stopped, and saves what loads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from guardsteer.demo import load_model
from guardsteer.demo.corpus.tickets import draw_tickets
from guardsteer.demo.evaluate import held_out_tickets, reply_to, wilson
from guardsteer.demo.train import Recipe, batch_order, encode_ticket, prepare, rate_at, train
from guardsteer.errors import AssetError

TINY = Recipe(
    seed=3, tickets=120, steps=6, batch_rows=4, vocab_size=400, width=16, mlp_width=24, blocks=2, heads=2
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_run_that_was_stopped_and_resumed_gives_the_same_weights(tmp_path: Path) -> None:
    whole = train(TINY, tmp_path / "whole", checkpoint_every=100)
    train(TINY, tmp_path / "parts", checkpoint_every=3, stop_after=3)
    assert not (tmp_path / "parts" / "config.json").exists()
    parts = train(TINY, tmp_path / "parts", checkpoint_every=3)
    first, second = (load_file(folder / "model.safetensors") for folder in (whole, parts))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_the_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train(TINY, tmp_path / "model", checkpoint_every=3, stop_after=3)
    with pytest.raises(AssetError, match="was made by the recipe"):
        train(dataclasses.replace(TINY, width=32), tmp_path / "model")


def test_what_was_saved_loads_in_float32_and_answers_a_padded_batch(tmp_path: Path) -> None:
    model, tokenizer = load_model(train(TINY, tmp_path / "model"))
    assert next(model.parameters()).dtype == torch.float32
    assert tokenizer.padding_side == "left"
    dialogues = [ticket.messages for ticket in held_out_tickets(3, seed=1)]
    replies = reply_to(model, tokenizer, dialogues, max_new_tokens=5)
    alone = [reply_to(model, tokenizer, [dialogue], max_new_tokens=5)[0] for dialogue in dialogues]
    assert replies == alone


def test_the_loss_weighs_the_last_reply_whole_and_earlier_replies_not_at_all() -> None:
    tokenizer, _ = prepare(TINY)
    ticket = next(t for t in draw_tickets(300, seed=3) if len(t.messages) == 3)
    example = encode_ticket(ticket, tokenizer, 0.25)
    by_weight = {
        weight: [token for token, w in zip(example.ids, example.weights, strict=True) if w == weight]
        for weight in (0.0, 0.25, 1.0)
    }
    assert tokenizer.decode(by_weight[1.0]) == ticket.reply + tokenizer.eos_token
    assert ticket.messages[1]["content"] in tokenizer.decode(by_weight[0.0])
    assert ticket.messages[0]["content"] in tokenizer.decode(by_weight[0.25])
    assert ticket.messages[2]["content"] in tokenizer.decode(by_weight[0.25])
    assert len(example.ids) == sum(map(len, by_weight.values()))


def test_an_epoch_shows_no_dialogue_twice_and_the_next_has_another_order() -> None:
    _, examples = prepare(TINY)
    first, second = batch_order(examples, TINY, 0), batch_order(examples, TINY, 1)
    seen = [i for batch in first for i in batch]
    assert len(seen) == len(set(seen)) == len(examples)
    assert first != second
    assert first == batch_order(examples, TINY, 0)


def test_the_learning_rate_rises_then_falls_and_stays_positive() -> None:
    recipe = Recipe(steps=1_000)
    rates = [rate_at(step, recipe) for step in range(recipe.steps)]
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) == pytest.approx(recipe.learning_rate)
    assert 0 < rates[-1] < 0.05 * recipe.learning_rate


def test_wilsons_interval_is_the_published_one() -> None:
    share = wilson(10, 20)
    assert share.low == pytest.approx(0.2993, abs=1e-4)
    assert share.high == pytest.approx(0.7007, abs=1e-4)
    assert wilson(0, 50).low == 0.0
    assert wilson(50, 50).high == pytest.approx(1.0)
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
