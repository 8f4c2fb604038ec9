"""Hooks where nothing is to be done rest while a generation goes on, and wake for whoever needs them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LogitsProcessor

import guardsteer
from guardsteer.classify.probe import Probe
from guardsteer.host import find_layout, fingerprint
from guardsteer.host.hooks import HookSet
from tests.models import WIDTH, tiny
from tests.runtime.harness import SPECIAL, batch, byte_tokenizer, policy_file, random_vector

PROMPT = [40, 77, 90, 101]

POLICY = """
guardsteer: 1
name: resting
classifiers: {never: {literals: [qqqqqq], on: all}}
context: {push: bool}
vectors: {one: {use: ./none, blocks: [0, 1]}}
rules: [{id: push, when: never.match > 0.5 || request.push, add: {vector: one, strength: 2.0}}]
"""


class Seeing(LogitsProcessor):
    """Notes behind each pass how many blocks have something around their forward, and waits for others."""

    def __init__(self, model: Any, barrier: threading.Barrier | None = None) -> None:
        self.blocks = find_layout(model).blocks
        self.barrier = barrier
        self.seen: list[int] = []

    def __call__(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.seen.append(sum("forward" in vars(block) for block in self.blocks))
        if self.barrier is not None:
            self.barrier.wait(timeout=60)
        return scores


@pytest.fixture
def guard(tmp_path: Path) -> Any:
    model, tokenizer = tiny("llama"), byte_tokenizer()
    vectors = {"one": random_vector(model, tokenizer, "one", (0, 1), seed=1)}
    with guardsteer.wrap(model, tokenizer, policy=policy_file(tmp_path, POLICY), vectors=vectors) as found:
        yield found


def say(guard: Any, push: bool, barrier: threading.Barrier | None = None) -> tuple[list[int], list[int]]:
    seeing = Seeing(guard._model, barrier)
    output = guard.generate(
        **batch([PROMPT]),
        guard={"push": push},
        max_new_tokens=8,
        do_sample=False,
        suppress_tokens=list(SPECIAL),
        logits_processor=[seeing],
    )
    return output[0].tolist(), seeing.seen


def test_blocks_are_bare_while_nothing_acts_and_hooked_again_afterwards(guard: Any) -> None:
    _, seen = say(guard, push=False)
    assert seen == [2, *[0] * 7]
    blocks = find_layout(guard._model).blocks
    assert sum("forward" in vars(block) for block in blocks) == 2


def test_hooks_stay_where_something_acts(guard: Any) -> None:
    bare, _ = say(guard, push=False)
    pushed, seen = say(guard, push=True)
    assert seen == [2] * 8
    assert pushed != bare


def test_generations_at_once_are_what_they_are_alone(guard: Any) -> None:
    alone = {push: say(guard, push)[0] for push in (False, True)}
    barrier = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda push: say(guard, push, barrier), (False, True)))
    assert [tokens for tokens, _ in found] == [alone[False], alone[True]]
    # The one that needs none has those of the other in its way, and leaves them on.
    assert found[1][1] == [2] * 8
    assert say(guard, push=False)[1] == [2, *[0] * 7]


PROBED = """
guardsteer: 1
name: probed
classifiers: {probe: {use: ./none, on: generation}}
context: {push: bool}
vectors: {one: {use: ./none, blocks: [1]}}
rules: [{id: push, when: "probe.score > 0.5 && request.push", add: {vector: one, strength: 2.0}}]
"""


@pytest.mark.parametrize(("bias", "expected"), [(9.0, [2] * 8), (-9.0, [2, 2, *[1] * 6])])
def test_what_a_probe_decides_in_the_pass_keeps_hooks_on_from_one_pass_to_the_next(
    tmp_path: Path, bias: float, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would turn twice a step if they went by what is known before the pass."""
    model, tokenizer = tiny("llama"), byte_tokenizer()
    turned: list[bool] = []
    rest = HookSet.rest

    def counted(hooks: HookSet, resting: bool) -> None:
        turned.append(resting)
        rest(hooks, resting)

    monkeypatch.setattr(HookSet, "rest", counted)
    probe = Probe(
        name="probe",
        outputs=("score",),
        block=0,
        weight=torch.zeros(1, WIDTH),
        bias=torch.tensor([bias]),
        fingerprint=fingerprint(model, tokenizer).digest,
        digest="b3:" + "0" * 64,
    )
    vectors = {"one": random_vector(model, tokenizer, "one", (1,), seed=1)}
    policy = policy_file(tmp_path, PROBED)
    with guardsteer.wrap(
        model, tokenizer, policy=policy, vectors=vectors, classifiers={"probe": probe}
    ) as guard:
        turned.clear()
        assert say(guard, push=True)[1] == expected
        assert len(turned) <= 2 * len(find_layout(model).blocks)


class Scripted(Probe):
    """Gives one product after the other, whatever it reads."""

    def __init__(self, identity: str, script: list[float]) -> None:
        weight, bias = torch.zeros(1, WIDTH), torch.zeros(1)
        named: Any = {"name": "probe", "outputs": ("score",), "digest": "b3:" + "0" * 64}
        super().__init__(**named, block=0, weight=weight, bias=bias, fingerprint=identity)
        self.script = script

    def reader(self, like: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:  # noqa: ARG002  # as Probe
        """Return what gives the next of the script for every position."""
        return lambda hidden: hidden.new_full((*hidden.shape[:2], 1), self.script.pop(0))


def test_hooks_wake_in_the_pass_in_which_a_probe_asks_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = tiny("llama"), byte_tokenizer()
    vectors = {"one": random_vector(model, tokenizer, "one", (1,), seed=1)}
    probe = Scripted(fingerprint(model, tokenizer).digest, [])
    with guardsteer.wrap(
        model,
        tokenizer,
        policy=policy_file(tmp_path, PROBED),
        vectors=vectors,
        classifiers={"probe": probe},
    ) as guard:

        def asked() -> tuple[list[int], list[int]]:
            probe.script = [-9.0, -9.0, -9.0, 9.0, 9.0, -9.0, -9.0, 9.0, 9.0]
            return say(guard, push=True)

        tokens, seen = asked()
        assert seen == [2, 2, 1, 2, 2, 2, 1, 2]
        monkeypatch.setattr(HookSet, "rest", lambda *_: None)
        assert asked() == (tokens, [2] * 8)
        probe.script = [-9.0] * 9
        assert say(guard, push=True)[0] != tokens


def test_an_error_in_a_generation_wakes_the_hooks(guard: Any) -> None:
    class Failing(LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            if input_ids.shape[1] > len(PROMPT) + 2:
                raise RuntimeError("stop")
            return scores

    with pytest.raises(RuntimeError, match="stop"):
        guard.generate(**batch([PROMPT]), max_new_tokens=8, logits_processor=[Failing()])
    assert say(guard, push=True)[1] == [2] * 8
