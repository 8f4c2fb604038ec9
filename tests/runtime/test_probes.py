"""A probe decides in the pass that it reads: later blocks are steered at the same position."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import guardsteer
from guardsteer.classify.probe import Probe
from guardsteer.errors import PolicyError
from guardsteer.host import find_layout, fingerprint
from guardsteer.runtime import probing
from tests.models import WIDTH, tiny
from tests.runtime.harness import (
    SPECIAL,
    Bench,
    batch,
    bench,
    policy_file,
    random_vector,
    score_of,
    steered,
)

BLOCK = 1
TOKENS = 12
SETTINGS: dict[str, Any] = {"max_new_tokens": TOKENS, "do_sample": False, "suppress_tokens": list(SPECIAL)}
PROMPTS = [[40, 77, 90, 101, 60, 45, 33], [55, 66, 80], [70, 71, 72, 73, 74, 90, 31, 44, 51]]
POLICY = """
guardsteer: 1
name: probed
classifiers:
  said: {use: ./none, on: generation}
  seen: {use: ./none, on: all}
flags:
  high: {signal: seen.score, enter: 0.7, exit: 0.4}
vectors:
  two: {use: ./none, positions: [last_prompt_token, generated]}
  three: {use: ./none, positions: [generated]}
rules:
  - {id: text, when: said.score >= 0.4, subtract: {vector: three, strength: 0.5}}
  - {id: gate, when: high, add: {vector: two, strength: 0.7}}
"""


def probed_bench() -> Bench:
    """Return a bench whose vectors act behind the probe."""
    made = bench("llama")
    late = random_vector(made.model, made.tokenizer, "three", (3,), 2)
    return replace(made, vectors={**made.vectors, "three": late})


def probe_of(made: Bench) -> Probe:
    generator = torch.Generator().manual_seed(8)
    weight = torch.randn(1, WIDTH, generator=generator) * 0.4
    return Probe(
        name="seen",
        outputs=("score",),
        block=BLOCK,
        weight=weight,
        bias=torch.zeros(1),
        fingerprint=fingerprint(made.model, made.tokenizer).digest,
        digest="b3:" + "0" * 64,
    )


def reference(made: Bench, prompt: list[int], said: float = 0.4) -> list[int]:
    """Decode without cache or state: read the probe in one pass, steer the blocks behind it in another.

    ``said`` is the score from which the rule over the text acts.
    """
    probe = probe_of(made)
    vectors = [made.vectors["two"], made.vectors["three"]]
    written: list[int] = []
    while len(written) < TOKENS:
        ids = prompt + written
        scores: list[float] = []

        def read(_: Any, __: Any, output: Any, scores: list[float] = scores) -> None:
            scores.extend(probe.score(output)[0, :, 0].tolist())

        handle = find_layout(made.model).blocks[BLOCK].register_forward_hook(read)
        with torch.no_grad():
            made.model(input_ids=torch.tensor([ids]), use_cache=False)
        handle.remove()
        up = False
        rows = [(0.0, 0.0)] * (len(prompt) - 1)
        for step in range(len(written) + 1):
            score = scores[len(prompt) - 1 + step]
            up = score >= 0.4 if up else score >= 0.7
            text = made.tokenizer.decode(written[:step])
            low = -0.5 if step and score_of(1, text) >= said else 0.0
            rows.append((0.7 if up else 0.0, low))
        with steered(made.model, vectors, rows), torch.no_grad():
            logits = made.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        logits[list(SPECIAL)] = -torch.inf
        written.append(int(logits.argmax()))
    return written


def wrap(made: Bench, folder: Path, text: str = POLICY) -> Any:
    return guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(folder, text),
        vectors=made.vectors,
        classifiers={"said": made.classifiers["said"], "seen": probe_of(made)},
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_cache": False},
        {"cache_implementation": "static"},
        {"prefill_chunk_size": 2},
        {"prompt_lookup_num_tokens": 4},
        {"assistant": True},
    ],
    ids=["cache", "no cache", "static cache", "chunked", "prompt lookup", "assistant"],
)
def test_probe_and_text_together_give_the_tokens_of_the_reference(
    options: dict[str, Any], tmp_path: Path
) -> None:
    made = probed_bench()
    if options.pop("assistant", False):
        options["assistant_model"] = tiny("llama", seed=0)
    alone = "prompt_lookup_num_tokens" in options or "assistant_model" in options
    prompts = PROMPTS[:1] if alone else PROMPTS
    expected = [reference(made, prompt) for prompt in prompts]
    inputs = batch(prompts)
    bare = made.model.generate(**inputs, **SETTINGS).tolist()
    with wrap(made, tmp_path) as guard:
        found = guard.generate(**inputs, **SETTINGS, **options).tolist()
    width = inputs["input_ids"].shape[1]
    assert [row[width:] for row in found] == expected
    assert found != bare


class Declining:
    """Takes no products, and counts of how many rows it was asked for them."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def products(self, hidden: torch.Tensor, _: torch.Tensor) -> None:
        """Leave them to torch."""
        self.asked.append(len(hidden))


def test_products_past_torch_are_asked_for_at_every_step_and_lead_to_what_those_of_torch_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = probed_bench()
    inputs = batch(PROMPTS)
    declining = Declining()
    with wrap(made, tmp_path) as guard:
        found = guard.generate(**inputs, **SETTINGS).tolist()
        monkeypatch.setattr(probing, "EXCHANGE", declining)
        assert guard.generate(**inputs, **SETTINGS).tolist() == found
    assert declining.asked == [len(PROMPTS)] * TOKENS


def test_what_a_probe_decides_acts_on_the_output_that_it_read_too(tmp_path: Path) -> None:
    made = probed_bench()
    same = random_vector(made.model, made.tokenizer, "two", (BLOCK, 2), 1)
    made = replace(made, vectors={**made.vectors, "two": same})
    inputs = batch(PROMPTS)
    with wrap(made, tmp_path) as guard:
        found = guard.generate(**inputs, **SETTINGS).tolist()
    width = inputs["input_ids"].shape[1]
    assert [row[width:] for row in found] == [reference(made, prompt) for prompt in PROMPTS]


def test_where_a_probe_alone_decides_it_steers_the_very_pass_that_it_reads(tmp_path: Path) -> None:
    """Before the pass nothing acts; what is passed by for that must not be what the probe turns on."""
    made = probed_bench()
    inputs = batch(PROMPTS)
    bare = made.model.generate(**inputs, **SETTINGS).tolist()
    with wrap(made, tmp_path, POLICY.replace("said.score >= 0.4", "said.score > 2.0")) as guard:
        found = guard.generate(**inputs, **SETTINGS).tolist()
    width = inputs["input_ids"].shape[1]
    assert [row[width:] for row in found] == [reference(made, prompt, 2.0) for prompt in PROMPTS]
    assert found != bare


def test_probes_of_several_blocks_are_read_together(tmp_path: Path) -> None:
    """Two probes with one meaning, on two blocks, both fill their own signal."""
    made = probed_bench()
    early, late = probe_of(made), probe_of(made)
    early.block = 0
    text = POLICY.replace(
        "  seen: {use: ./none, on: all}", "  seen: {use: ./none, on: all}\n  first: {use: ./none, on: all}"
    )
    text = text.replace("when: high", "when: high && first.score >= 0.0")
    with guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(tmp_path, text),
        vectors=made.vectors,
        classifiers={"said": made.classifiers["said"], "seen": late, "first": early},
    ) as guard:
        inputs = batch(PROMPTS)
        found = guard.generate(**inputs, **SETTINGS).tolist()
    width = inputs["input_ids"].shape[1]
    assert [row[width:] for row in found] == [reference(made, prompt) for prompt in PROMPTS]


def test_a_vector_before_its_probe_is_refused_with_the_place(tmp_path: Path) -> None:
    made = bench("llama")
    text = POLICY.replace("two: {use: ./none,", "one: {use: ./none,").replace("vector: two", "vector: one")
    probe = probe_of(made)
    probe.block = 2
    with pytest.raises(PolicyError, match="block"):
        guardsteer.wrap(
            made.model,
            made.tokenizer,
            policy=policy_file(tmp_path, text),
            vectors=made.vectors,
            classifiers={"said": made.classifiers["said"], "seen": probe},
        )


def test_a_probe_that_no_rule_reads_hooks_nothing(tmp_path: Path) -> None:
    made = bench("llama")
    text = POLICY.replace("when: high", "when: said.score > 0.9").replace("seen.score", "said.score")
    with wrap(made, tmp_path, text):
        assert not made.model.model.layers[BLOCK]._forward_hooks
