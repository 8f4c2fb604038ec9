"""A reply's loss is its own, whatever batch it is judged in."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guardsteer.evaluate import ReplyLoss, batch_losses, perplexity, reply_losses
from tests.models import tiny

IDS = st.lists(st.integers(3, 127), min_size=1, max_size=9)
ROWS = st.lists(st.tuples(IDS, st.lists(st.integers(2, 127), max_size=9)), min_size=1, max_size=6)


def by_hand(model: object, prompt: list[int], reply: list[int]) -> float:
    """Ask for one token at a time, each from the whole text before it."""
    nats = 0.0
    with torch.no_grad():
        for place, token in enumerate(reply):
            logits = model(torch.tensor([prompt + reply[:place]])).logits[0, -1]  # type: ignore[operator]  # typed in part
            nats -= float(logits.double().log_softmax(-1)[token])
    return nats


@settings(max_examples=15)
@given(ROWS, st.sampled_from(["llama", "gpt_neo"]))
def test_losses_are_those_of_one_token_after_the_other(
    rows: list[tuple[list[int], list[int]]], name: str
) -> None:
    model = tiny(name)
    prompts, replies = [p for p, _ in rows], [r for _, r in rows]
    got = reply_losses(model, prompts, replies, batch_size=4)
    assert [loss.tokens for loss in got] == [len(reply) for reply in replies]
    for loss, (prompt, reply) in zip(got, rows, strict=True):
        assert loss.nats == pytest.approx(by_hand(model, prompt, reply), abs=1e-4)


def test_a_batch_keeps_the_order_of_its_rows_in_what_it_returns_and_in_the_pass() -> None:
    model = tiny("llama")
    rows = [([5, 6, 7, 8], [9, 10]), ([11], [12]), ([13, 14], [])]
    seen = []
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    found = batch_losses(model, rows)
    hook.remove()
    assert seen[0].tolist() == [[5, 6, 7, 8, 9, 10], [11, 12, 0, 0, 0, 0], [13, 14, 0, 0, 0, 0]]
    assert [loss.tokens for loss in found] == [2, 1, 0]
    for (prompt, reply), loss in zip(rows, found, strict=True):
        assert loss.nats == pytest.approx(by_hand(model, prompt, reply), rel=1e-5)


def test_perplexity_weighs_tokens_and_not_replies() -> None:
    assert perplexity([ReplyLoss(2.0, 1), ReplyLoss(0.0, 3)]) == pytest.approx(math.exp(0.5))
    assert math.isnan(perplexity([]))


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    model = tiny("llama")
    with torch.no_grad():
        model.lm_head.weight.zero_()
    losses = reply_losses(model, [[5], [6, 7]], [[8, 9], [10]])
    assert perplexity(losses) == pytest.approx(128.0, rel=1e-5)


def test_a_reply_needs_something_before_it() -> None:
    with pytest.raises(ValueError, match="empty prompt"):
        reply_losses(tiny("llama"), [[]], [[1]])
