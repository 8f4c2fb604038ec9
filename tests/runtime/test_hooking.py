"""What a hook adds by itself in a plain pass is what the generation would have done there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from guardsteer.classify.probe import Probe
from guardsteer.host import fingerprint
from tests.models import WIDTH
from tests.runtime.harness import Bench, bench
from tests.runtime.telling import PROMPTS, TOKENS, run, wrap

MIXED = """
guardsteer: 1
name: mixed
context: {way: string}
vectors: {one: {use: ./none}, two: {use: ./none}}
rules:
  - {id: push, when: 'request.way == "push"', add: {vector: one, strength: 0.8}}
  - {id: remove, when: 'request.way == "remove"', ablate: {vector: two, strength: 1.0}}
"""


def test_rows_that_are_pushed_leave_those_beside_them_what_depends_on_their_state(tmp_path: Path) -> None:
    made = bench("llama")
    ways = ["push", "remove", "push"]
    with wrap(made, tmp_path, MIXED, classifiers={}) as guard:
        together = run(guard, guard=[{"way": way} for way in ways])
        alone = [
            run(guard, [prompt], guard=[{"way": way}])[0] for prompt, way in zip(PROMPTS, ways, strict=True)
        ]
        others = [run(guard, [prompt], guard=[{"way": "none"}])[0] for prompt in PROMPTS]
    assert together == alone
    assert all(steered != bare for steered, bare in zip(alone, others, strict=True))


BEHIND = """
guardsteer: 1
name: behind
context: {way: string}
classifiers: {seen: {use: ./none, on: all}}
vectors: {three: {use: ./none, blocks: [0]}, two: {use: ./none}}
rules:
  - {id: before, when: 'request.way == "both"', add: {vector: three, strength: 0.8}}
  - {id: behind, when: seen.score >= 0, add: {vector: two, strength: 0.8}}
"""
ALONE = BEHIND.replace("three: {use: ./none, blocks: [0]}, ", "").replace(
    """  - {id: before, when: 'request.way == "both"', add: {vector: three, strength: 0.8}}\n""", ""
)


class Counted(Probe):
    """A probe that counts how often it reads."""

    reads: int = 0

    def reader(self, like: Tensor) -> Callable[[Tensor], Tensor]:
        """Return what reads as a probe does."""
        inner = super().reader(like)

        def read(hidden: Tensor) -> Tensor:
            self.reads += 1
            return inner(hidden)

        return read


def seeing(made: Bench, block: int) -> Counted:
    """Return a probe of a block's output."""
    return Counted(
        name="seen",
        outputs=("score",),
        block=block,
        weight=torch.ones(1, WIDTH),
        bias=torch.zeros(1),
        fingerprint=fingerprint(made.model, made.tokenizer).digest,
        digest="b3:" + "0" * 64,
    )


def test_a_block_that_is_steered_is_read_too(tmp_path: Path) -> None:
    made = bench("llama")
    block = next(iter(made.vectors.values())).card.blocks[0]
    probe = seeing(made, block)
    text = "guardsteer: 1\nname: both\nclassifiers: {seen: {use: ./none, on: all}}\n"
    text += f"vectors: {{one: {{use: ./none, blocks: [{block}]}}}}\nrules:\n"
    text += "  - {id: push, when: step >= 1, add: {vector: one, strength: 0.5}}\n"
    text += "  - {id: see, when: seen.score >= 2, observe: true}\n"
    with wrap(made, tmp_path, text, classifiers={"seen": probe}) as guard:
        run(guard, PROMPTS[:1])
    assert probe.reads == TOKENS


def test_what_rests_before_a_probe_goes_on_resting_while_something_acts_behind_it(tmp_path: Path) -> None:
    made = bench("llama")
    given = {"classifiers": {"seen": seeing(made, 1)}}
    with wrap(made, tmp_path, ALONE, **given) as guard:
        alone = run(guard, PROMPTS[:1], guard=[{"way": "one"}])
    with wrap(made, tmp_path, BEHIND, **given) as guard:
        behind = run(guard, PROMPTS[:1], guard=[{"way": "one"}])
        both = run(guard, PROMPTS[:1], guard=[{"way": "both"}])
    assert behind == alone
    assert both != alone
