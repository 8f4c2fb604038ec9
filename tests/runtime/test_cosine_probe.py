"""A cosine probe reads a row's direction, whatever the batch, the padding, the architecture or the dtype.

And what any probe's products come to before rules see them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import guardsteer
from guardsteer.audit import read
from guardsteer.classify.probe import Probe
from guardsteer.core.events import RuleFired
from guardsteer.host import find_layout, fingerprint
from tests.models import WIDTH, tiny
from tests.runtime.harness import batch, bench, policy_file
from tests.runtime.telling import run, wrap

BLOCK = 1
TOKENS = 6
PROMPTS = [[40, 77, 90, 101, 60, 45, 33], [55, 66, 80], [70, 71, 72, 73, 74, 90, 31, 44, 51]]
POLICY = """
guardsteer: 1
name: probed
classifiers: {seen: {use: ./none, on: all}}
flags: {high: {signal: seen.score, enter: 0.5}}
rules: [{id: seen, when: high, observe: true}]
"""


class Recorder(Probe):
    """A probe that keeps the log-odds that it gave, pass by pass."""

    given: list[Tensor]

    def reader(self, like: Tensor) -> Callable[[Tensor], Tensor]:
        """Return what reads as a probe does."""
        inner = super().reader(like)

        def read(hidden: Tensor) -> Tensor:
            found = inner(hidden)
            self.given.append(found + self.bias)
            return found

        return read


def recorder(model: Any, tokenizer: Any) -> Recorder:
    made = Recorder(
        name="seen",
        outputs=("score",),
        block=BLOCK,
        weight=5 * torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(8)),
        bias=torch.tensor([0.75]),
        fingerprint=fingerprint(model, tokenizer).digest,
        digest="b3:" + "0" * 64,
        measure="cosine",
    )
    made.given = []
    return made


def reference(model: Any, probe: Probe, ids: list[int]) -> Any:
    """Return the log-odds at each position, in float64, from a pass of this row alone."""
    kept: list[Any] = []
    hook = (
        find_layout(model)
        .blocks[BLOCK]
        .register_forward_hook(
            lambda _, __, output: kept.append(output[0] if isinstance(output, tuple) else output)
        )
    )
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]), use_cache=False)
    hook.remove()
    states = kept[0][0].double().numpy()
    weight = probe.weight[0].double().numpy()
    return states @ weight / np.linalg.norm(states, axis=1) + 0.75


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "gpt_neox", "opt", "falcon"])
def test_rows_of_a_padded_batch_get_the_cosines_of_the_rows_alone(architecture: str, tmp_path: Path) -> None:
    made = bench(architecture)
    probe = recorder(made.model, made.tokenizer)
    inputs = batch(PROMPTS)
    width = inputs["input_ids"].shape[1]
    path = policy_file(tmp_path, POLICY)
    with guardsteer.wrap(made.model, made.tokenizer, policy=path, classifiers={"seen": probe}) as guard:
        probe.given.clear()
        found = guard.generate(**inputs, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False)
    read = torch.cat(probe.given, dim=1)[..., 0].double().numpy()
    assert read.shape == (len(PROMPTS), TOKENS)
    for row, prompt in enumerate(PROMPTS):
        expected = reference(made.model, probe, found[row, width - len(prompt) : -1].tolist())
        np.testing.assert_allclose(read[row], expected[-TOKENS:], atol=2e-4)
        assert np.ptp(expected[-TOKENS:]) > 0.1


def test_the_length_of_a_state_changes_nothing_and_a_state_of_length_zero_has_cosine_zero() -> None:
    model = tiny("llama")
    probe = recorder(model, bench("llama").tokenizer)
    hidden = torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(1))
    alone = probe.logits(hidden)
    for factor in (1e-6, 1e-3, 1e3, 1e6):
        torch.testing.assert_close(probe.logits(factor * hidden), alone)
    largest = 5 * float(probe.weight.norm())
    for nothing in (torch.zeros(1, WIDTH), torch.full((1, WIDTH), 1e-30), torch.full((1, WIDTH), 1e-42)):
        assert abs(float(probe.logits(nothing)) - 0.75) < 1e-6 * largest
    assert bool(torch.isnan(probe.logits(torch.full((1, WIDTH), torch.nan))).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_short_dtype_is_normed_in_float32(dtype: torch.dtype) -> None:
    probe = recorder(tiny("llama"), bench("llama").tokenizer)
    hidden = (200 * torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(2))).to(dtype)
    found = probe.logits(hidden)
    assert found.dtype == torch.float32
    wide = hidden.double()
    expected = wide @ probe.weight[0].double() / wide.norm(dim=-1) + 0.75
    torch.testing.assert_close(found[:, 0].double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("outputs", [("score",), ("score", "other")])
@pytest.mark.parametrize("bias", [0.5, -2.0, 40.0, -800.0])
def test_rules_are_given_a_probes_probability_bias_and_all(
    outputs: tuple[str, ...], bias: float, tmp_path: Path
) -> None:
    """A probe that weighs nothing says what its biases come to, however far out."""
    made = bench("llama")
    biases = [bias, 1.5][: len(outputs)]
    probe = Probe(
        name="seen",
        outputs=outputs,
        block=BLOCK,
        weight=torch.zeros(len(outputs), WIDTH),
        bias=torch.tensor(biases),
        fingerprint=fingerprint(made.model, made.tokenizer).digest,
        digest="b3:" + "0" * 64,
    )
    when = " && ".join(f"seen.{name} >= 0" for name in outputs)
    text = "guardsteer: 1\nname: probed\nclassifiers: {seen: {use: ./none, on: all}}\n"
    text += f"rules: [{{id: seen, when: {when}, observe: true}}]\n"
    with wrap(made, tmp_path, text, audit=tmp_path / "log", classifiers={"seen": probe}) as guard:
        run(guard, PROMPTS)
    fired = [s.event for s in read(tmp_path / "log") if isinstance(s.event, RuleFired)]
    told = [1 / (1 + math.exp(min(-each, 700))) for each in biases]
    expected = {f"seen.{name}": score for name, score in zip(outputs, told, strict=True)}
    assert [event.scores for event in fired] == [pytest.approx(expected, abs=1e-12)] * len(PROMPTS)
