"""While generating, every operator acts at every site as a plain computation says, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import guardsteer
from guardsteer.audit import read
from guardsteer.core.events import RequestEnded
from guardsteer.core.plan import Channel
from guardsteer.core.policy import Site
from guardsteer.errors import BindingError, HostError, PolicyError
from guardsteer.host import find_layout
from guardsteer.host.outputs import hidden_of, with_hidden
from guardsteer.rules import parse_policy
from guardsteer.rules.compiling import compile_policy
from guardsteer.steer import Vector, make_vector
from guardsteer.steer.slots import Slot, make_slots, place_vector
from tests.host.test_sites import part
from tests.models import WIDTH
from tests.runtime.harness import SPECIAL, Bench, batch, bench, policy_file, random_vector, score_of
from tests.steer.slots import reference

PROMPTS = [[40, 77, 90, 101, 60, 45, 33], [50, 51, 99, 72]]
NAMES = ("one", "two", "three")
BUDGET = 0.5
TOKENS = 12

POLICY = f"""
guardsteer: 1
name: sites
budget: {BUDGET}
classifiers:
  said: {{use: ./none, on: generation}}
vectors:
  one: {{use: ./none}}
  two: {{use: ./none}}
  three: {{use: ./none}}
rules:
  - id: push
    when: said.score >= 0.4
    add: {{vector: one, strength: 0.4, keep_norm: true}}
  - id: remove
    when: said.score >= 0.6
    ablate: {{vector: two, strength: 0.9}}
  - id: bound
    when: said.score < 0.5
    clamp: {{vector: three, low: -0.05, high: 0.1}}
"""
CHANNELS = (Channel(0, keep_norm=True), Channel(1, "ablate"), Channel(2, "clamp", -0.05, 0.1))


def strengths_of(score: float) -> tuple[float, ...]:
    """Decide ``POLICY`` by hand."""
    return (0.4 if score >= 0.4 else 0.0, 0.9 if score >= 0.6 else 0.0, 1.0 if score < 0.5 else 0.0)


def vector_at(made: Bench, site: Site, name: str, seed: int) -> Vector:
    blocks = (0,) if site == "embedding" else (1, 2)
    plain = random_vector(made.model, made.tokenizer, name, blocks, seed)
    fields = plain.card.model_dump(exclude={"digest", "tensors_digest"})
    width = WIDTH if site == "heads" else None
    card = type(plain.card).model_validate({**fields, "site": site, "site_width": width})
    norms = np.full(len(blocks), 3.0, np.float32)
    return make_vector(card, directions=plain.directions, residual_norms=norms)


@contextmanager
def edited(
    made: Bench, slots: Sequence[Slot], rows: Sequence[tuple[float, ...]], cuts: set[int] | None = None
) -> Iterator[None]:
    """Let every position of one row become what the reference says, by hooks of torch.

    ``cuts`` takes in the positions at which the budget cut.
    """
    layout = find_layout(made.model)
    handles = []
    for point in slots[0].points:

        def edit(hidden: Tensor, point: Any = point) -> Tensor:
            states = []
            for position, (state, strengths) in enumerate(zip(hidden[0], rows, strict=True)):
                if any(strengths):
                    state, cut = reference(state.double().numpy(), strengths, slots, point, BUDGET)
                    if cut and cuts is not None:
                        cuts.add(position)
                states.append(state)
            return torch.stack([torch.as_tensor(state) for state in states]).to(hidden)[None]

        def after(_: Any, __: Any, output: Any, edit: Any = edit) -> Any:
            return with_hidden(output, edit(hidden_of(output)))

        def before(_: Any, args: Any, kwargs: Any, edit: Any = edit) -> Any:
            return (edit(args[0]), *args[1:]), kwargs

        module, end = part(layout, point)
        handles.append(
            module.register_forward_hook(after)
            if end == "output"
            else module.register_forward_pre_hook(before, with_kwargs=True)
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def by_hand(made: Bench, slots: Sequence[Slot], prompt: list[int]) -> tuple[list[int], int]:
    """Decode one row greedily, deciding and computing every position anew for each token.

    Returns the tokens and at how many positions the budget cut.
    """
    written: list[int] = []
    cuts: set[int] = set()
    while len(written) < TOKENS:
        rows: list[tuple[float, ...]] = [(0.0, 0.0, 0.0)] * len(prompt)
        rows += [
            strengths_of(score_of(1, made.tokenizer.decode(written[: n + 1]))) for n in range(len(written))
        ]
        with edited(made, slots, rows, cuts), torch.no_grad():
            logits = made.model(input_ids=torch.tensor([prompt + written]), use_cache=False).logits[0, -1]
        logits[list(SPECIAL)] = -torch.inf
        written.append(int(logits.argmax()))
    return written, len(cuts)


@pytest.mark.parametrize("site", ["embedding", "block_input", "heads", "attention", "mlp", "block_output"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "falcon", "gpt_neox"])
def test_tokens_are_those_of_states_edited_by_hand(architecture: str, site: Site, tmp_path: Path) -> None:
    made = bench(architecture)
    vectors = {name: vector_at(made, site, name, seed) for seed, name in enumerate(NAMES)}
    before = {name: dict(vars(module)) for name, module in made.model.named_modules()}
    guard = guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(tmp_path, POLICY),
        vectors=vectors,
        classifiers={"said": made.classifiers["said"]},
        audit=tmp_path / "log",
    )
    layout = find_layout(made.model)
    slots = make_slots(
        [place_vector(spec, vectors[spec.name], layout) for spec in guard.policy.vectors], CHANNELS
    )
    options: dict[str, Any] = {"max_new_tokens": TOKENS, "do_sample": False, "suppress_tokens": list(SPECIAL)}
    found = guard.generate(**batch(PROMPTS), **options)
    uncached = guard.generate(**batch(PROMPTS), **options, use_cache=False)
    guard.detach()
    assert {name: dict(vars(module)) for name, module in made.model.named_modules()} == before
    bare = made.model.generate(**batch(PROMPTS), **options)
    expected = [by_hand(made, slots, prompt) for prompt in PROMPTS]
    tokens = [written for written, _ in expected]
    assert found[:, -TOKENS:].tolist() == tokens
    assert uncached[:, -TOKENS:].tolist() == tokens
    assert bare[:, -TOKENS:].tolist() != tokens
    ended = [stored.event for stored in read(tmp_path / "log") if isinstance(stored.event, RequestEnded)]
    assert [event.limited_tokens for event in ended] == 2 * [cut for _, cut in expected]
    if site in ("block_input", "block_output"):
        assert any(event.limited_tokens for event in ended)


def test_a_vector_at_a_site_that_the_model_does_not_add_is_refused_and_leaves_no_trace(
    tmp_path: Path,
) -> None:
    made = bench("gemma2", head_dim=8)
    vectors = {name: vector_at(made, "mlp", name, seed) for seed, name in enumerate(NAMES)}
    given: dict[str, Any] = {"vectors": vectors, "classifiers": {"said": made.classifiers["said"]}}
    before = {name: dict(vars(module)) for name, module in made.model.named_modules()}
    with pytest.raises(HostError, match=r"block 1, mlp .*normalised"):
        guardsteer.wrap(made.model, made.tokenizer, policy=policy_file(tmp_path, POLICY), **given)
    wrong = POLICY.replace("two: {use: ./none}", "two: {use: ./none, site: attention}")
    with pytest.raises(BindingError, match=r"'two'.* act at attention, but it was extracted at mlp"):
        guardsteer.wrap(made.model, made.tokenizer, policy=policy_file(tmp_path, wrong), **given)
    assert {name: dict(vars(module)) for name, module in made.model.named_modules()} == before


@pytest.mark.parametrize(("site", "refused"), [("mlp", True), ("block_input", True), ("block_output", False)])
def test_a_vector_that_acts_before_the_probe_that_its_rule_waits_for_is_refused(
    site: Site, refused: bool
) -> None:
    """A probe reads the output of its block, behind all other sites of it."""
    policy = parse_policy(
        "guardsteer: 1\nname: late\nclassifiers: {seen: {use: ./none, on: all}}\n"
        "vectors: {one: {use: ./none, blocks: [2, 3]}}\n"
        "rules: [{id: r, when: seen.score > 0.5, add: {vector: one, strength: 0.2}}]\n",
        "late.yaml",
    )
    given: dict[str, Any] = {"probes": {"seen": 2}, "vector_sites": {"one": site}}
    if not refused:
        compile_policy(policy, {"seen": ("score",)}, **given)
        return
    with pytest.raises(
        PolicyError, match=rf"acts at {site} on earlier blocks \(2\).*choose blocks from 3 on"
    ):
        compile_policy(policy, {"seen": ("score",)}, **given)
