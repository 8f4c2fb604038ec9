"""Steering is a function of row and position: every way of decoding gives what the reference gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache

import guardsteer
from tests.models import ARCHITECTURES, LINEAR_ATTENTION, tiny
from tests.runtime.harness import SPECIAL, Bench, batch, bench, policy_file

TOKENS = 14
PROMPT = [40, 77, 90, 101, 60, 45, 33]
PROMPTS = [PROMPT, [55, 66, 80], [70, 71, 72, 73, 74, 90, 31, 44, 51]]
MODES: dict[str, dict[str, Any]] = {
    "dynamic cache": {},
    "static cache": {"cache_implementation": "static"},
    "no cache": {"use_cache": False},
    "chunked prefill": {"prefill_chunk_size": 3},
    "prompt lookup": {"prompt_lookup_num_tokens": 4},
}


def wrapped(made: Bench, folder: Path, **options: Any) -> Any:
    return guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(folder),
        vectors=made.vectors,
        classifiers=made.classifiers,
        **options,
    )


def run(guard: Any, prompts: list[list[int]], **options: Any) -> list[list[int]]:
    inputs = batch(prompts)
    options = {"max_new_tokens": TOKENS, "do_sample": False, "eos_token_id": None, **options}
    options.setdefault("suppress_tokens", list(SPECIAL))
    ids = guard.generate(**inputs, **options)
    return [row[inputs["input_ids"].shape[1] :] for row in ids.tolist()]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_decoding_gives_the_tokens_of_the_reference(mode: str, tmp_path: Path) -> None:
    made = bench("llama")
    expected = made.reference.generate(PROMPT, TOKENS)
    with wrapped(made, tmp_path) as guard:
        assert run(guard, [PROMPT], **MODES[mode]) == [expected]
    assert run(made.model, [PROMPT]) != [expected], "steering must matter for this test to mean anything"


@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES if a not in LINEAR_ATTENTION])
def test_every_row_of_a_padded_batch_gets_the_tokens_of_the_reference(
    architecture: str, tmp_path: Path
) -> None:
    made = bench(architecture)
    expected = [made.reference.generate(prompt, TOKENS) for prompt in PROMPTS]
    with wrapped(made, tmp_path) as guard:
        assert run(guard, PROMPTS) == expected


def test_an_assistant_model_only_speeds_up_what_the_reference_says(tmp_path: Path) -> None:
    made = bench("llama")
    assistant = tiny("llama", seed=5)
    expected = made.reference.generate(PROMPT, TOKENS)
    with wrapped(made, tmp_path) as guard:
        assert run(guard, [PROMPT], assistant_model=assistant) == [expected]
        twin = tiny("llama", seed=0)
        assert run(guard, [PROMPT], assistant_model=twin) == [expected]


@pytest.mark.parametrize("options", [{}, {"use_cache": False}], ids=["cache", "no cache"])
def test_every_beam_is_steered_by_its_own_text(options: dict[str, Any], tmp_path: Path) -> None:
    """The score that beam search reports is the reference's log-probability of the beam's tokens."""
    made = bench("llama")
    with wrapped(made, tmp_path) as guard:
        inputs = batch(PROMPTS)
        output = guard.generate(
            **inputs,
            max_new_tokens=6,
            num_beams=3,
            num_return_sequences=3,
            eos_token_id=None,
            length_penalty=0.0,
            do_sample=False,
            suppress_tokens=list(SPECIAL),
            return_dict_in_generate=True,
            output_scores=True,
            **options,
        )
    width = inputs["input_ids"].shape[1]
    for place, (ids, score) in enumerate(
        zip(output.sequences.tolist(), output.sequences_scores.tolist(), strict=True)
    ):
        prompt, written = PROMPTS[place // 3], ids[width:]
        total = 0.0
        for n, token in enumerate(written):
            logits = made.reference.logits(prompt, written[:n])
            total += float(torch.log_softmax(logits.float(), -1)[token])
        assert score == pytest.approx(total, abs=2e-3)


def test_a_cache_that_the_caller_brought_is_left_as_it_was(tmp_path: Path) -> None:
    made = bench("llama")
    cache = DynamicCache(config=made.model.config)
    with wrapped(made, tmp_path) as guard:
        run(guard, PROMPTS, num_beams=2, past_key_values=cache)
    assert "reorder_cache" not in vars(cache)
    assert cache.get_seq_length() > 0


def test_expanded_rows_keep_the_identity_of_their_request(tmp_path: Path) -> None:
    """With several returned sequences, each is steered by its own sampled text."""
    made = bench("llama")
    with wrapped(made, tmp_path) as guard:
        torch.manual_seed(3)
        inputs = batch(PROMPTS)
        output = guard.generate(
            **inputs,
            max_new_tokens=8,
            do_sample=True,
            num_return_sequences=2,
            suppress_tokens=list(SPECIAL),
            eos_token_id=None,
            return_dict_in_generate=True,
            output_logits=True,
        )
    width = inputs["input_ids"].shape[1]
    logits = torch.stack(output.logits, dim=1)
    for place, ids in enumerate(output.sequences.tolist()):
        written = ids[width:]
        for n in range(8):
            expected = made.reference.logits(PROMPTS[place // 2], written[:n])
            assert torch.allclose(logits[place, n], expected, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_sampling_under_an_idle_policy_is_the_bare_models_sampling(seed: int, tmp_path: Path) -> None:
    made = bench("llama", seed)
    text = "guardsteer: 1\nname: idle\nclassifiers: {c: {literals: [zzzzzz], on: all}}\n"
    text += "vectors: {one: {use: ./none}}\n"
    text += "rules: [{id: r, when: c.match > 0.5, add: {vector: one, strength: 1.0}}]\n"
    torch.manual_seed(seed)
    bare = run(made.model, PROMPTS, do_sample=True)
    guard = guardsteer.wrap(
        made.model, made.tokenizer, policy=policy_file(tmp_path, text), vectors=made.vectors
    )
    with guard:
        torch.manual_seed(seed)
        assert run(guard, PROMPTS, do_sample=True) == bare


def test_a_row_that_nothing_steers_is_bit_identical_to_the_bare_model(
    tmp_path: Path,
) -> None:
    made = bench("llama")
    text = (
        "guardsteer: 1\nname: one-row\ncontext: {warm: bool}\n"
        "vectors: {one: {use: ./none, positions: [all]}}\n"
        "rules: [{id: r, when: request.warm, add: {vector: one, strength: 0.7}}]\n"
    )
    options: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    options |= {"return_dict_in_generate": True, "output_logits": True}
    inputs = batch(PROMPTS)
    bare = made.model.generate(**inputs, **options)
    with guardsteer.wrap(
        made.model, made.tokenizer, policy=policy_file(tmp_path, text), vectors=made.vectors
    ) as guard:
        flags = [{"warm": False}, {"warm": True}, {"warm": False}]
        steered = guard.generate(**inputs, guard=flags, **options)
    for row, warm in enumerate([False, True, False]):
        same = all(
            torch.equal(a[row].view(torch.int32), b[row].view(torch.int32))
            for a, b in zip(bare.logits, steered.logits, strict=True)
        )
        assert same is not warm
