"""The bench measures what the runtime does, leaves the model as it was, and knows bare from steered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from guardsteer.core.policy import ScheduleSpec
from guardsteer.errors import VectorError
from guardsteer.lab.extraction.extract import extract
from guardsteer.lab.measure.effects import Bench, Push, random_like, schedule_text
from guardsteer.lab.pairs.prompts import user_prompt
from guardsteer.steer import Vector
from tests.lab.chats import chat_model, chat_tokenizer, recipe

PROMPTS = tuple(user_prompt(text) for text in ("Hi", "Where is my parcel?", "Rain again, and no tea."))
EVERYWHERE = Push("warmth", (1, 2), 2.0)


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any, Vector]:
    model, tokenizer = chat_model(), chat_tokenizer()
    return model, tokenizer, extract(model, tokenizer, recipe())


def test_without_a_push_the_replies_are_those_of_the_bare_model(parts: tuple[Any, Any, Vector]) -> None:
    model, tokenizer, vector = parts
    before = dict(vars(model))
    with Bench(model, tokenizer, {"warmth": vector}, new_tokens=8) as bench:
        bare = bench.bare(PROMPTS)
        assert bench.steered(PROMPTS, [Push("warmth", (1,), 0.0)]) == bare
        assert bench.steered(PROMPTS, [EVERYWHERE]) != bare
        assert bench.bare(PROMPTS) is bare
        assert max(bench.divergences(PROMPTS, [Push("warmth", (1,), 0.0)])) < 1e-5
        assert min(bench.divergences(PROMPTS, [EVERYWHERE])) > 0.01
    assert vars(model) == before


def test_a_reply_depends_neither_on_the_batch_nor_on_the_order(parts: tuple[Any, Any, Vector]) -> None:
    model, tokenizer, vector = parts
    found = []
    for batch_size, prompts in ((1, PROMPTS), (3, PROMPTS[::-1])):
        with Bench(model, tokenizer, {"warmth": vector}, new_tokens=8, batch_size=batch_size) as bench:
            replies = bench.steered(prompts, [EVERYWHERE])
            found.append({prompt.id: reply for prompt, reply in zip(prompts, replies, strict=True)})
    assert found[0] == found[1]


def test_the_divergence_is_that_of_the_definition(parts: tuple[Any, Any, Vector]) -> None:
    model, tokenizer, vector = parts
    push = Push("warmth", (2,), 1.0, positions=("last_prompt_token",))
    with Bench(model, tokenizer, {"warmth": vector}, new_tokens=8) as bench:
        found = bench.divergences(PROMPTS[:1], [push], tokens=1)[0]
    ids = tokenizer("<bos><user>Hi<assistant>", add_special_tokens=False, return_tensors="pt")["input_ids"]
    change = torch.tensor(vector.direction(2) * vector.residual_norm(2))

    def pushed(_module: Any, _args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        hidden[:, -1] += change
        return output

    with torch.no_grad():
        bare = model(input_ids=ids).logits[0, -1].log_softmax(-1)
        handle = model.model.layers[2].register_forward_hook(pushed)
        steered = model(input_ids=ids).logits[0, -1].log_softmax(-1)
        handle.remove()
    assert found == pytest.approx(float((steered.exp() * (steered - bare)).sum()), rel=1e-3)


def test_a_schedule_that_decays_moves_less_than_a_constant_push(parts: tuple[Any, Any, Vector]) -> None:
    model, tokenizer, vector = parts
    short = Push("warmth", (1,), 1.0, schedule=ScheduleSpec(half_life=0.2))
    with Bench(model, tokenizer, {"warmth": vector}, new_tokens=8) as bench:
        constant = bench.divergences(PROMPTS, [Push("warmth", (1,), 1.0)], tokens=8)
        decayed = bench.divergences(PROMPTS, [short], tokens=8)
    assert sum(decayed) < sum(constant)


def test_a_random_control_has_equal_norm_and_another_direction(parts: tuple[Any, Any, Vector]) -> None:
    vector = parts[2]
    control = random_like(vector, 1)
    assert np.allclose(np.linalg.norm(control.directions, axis=1), 1.0, atol=1e-5)
    assert np.array_equal(control.residual_norms, vector.residual_norms)
    assert np.abs(np.sum(control.directions * vector.directions, axis=1)).max() < 0.9
    assert not np.array_equal(control.directions, random_like(vector, 2).directions)
    assert np.array_equal(control.directions, random_like(vector, 1).directions)


def test_what_a_bench_cannot_do_is_told(parts: tuple[Any, Any, Vector]) -> None:
    model, tokenizer, vector = parts
    bench = Bench(model, tokenizer, {"warmth": vector})
    with pytest.raises(VectorError, match="enter it with 'with'"):
        bench.steered(PROMPTS, [EVERYWHERE])
    with bench, pytest.raises(VectorError, match="unknown vectors cold"):
        bench.steered(PROMPTS, [Push("cold", (1,), 1.0)])
    with bench, pytest.raises(VectorError, match="two pushes with one vector"):
        bench.steered(PROMPTS, [EVERYWHERE, EVERYWHERE])
    with pytest.raises(VectorError, match="new_tokens"):
        Bench(model, tokenizer, {}, new_tokens=0)


def test_schedules_are_told_in_the_words_of_a_policy() -> None:
    assert schedule_text(None) == "constant"
    assert schedule_text(ScheduleSpec(half_life=8.0)) == "half-life 8"
    assert schedule_text(ScheduleSpec(until_sentence_end=True)) == "until sentence end"
