"""Calls of tiny models under policies of every kind, recorded for replays to be held against."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import guardsteer
from guardsteer.audit import open_journal, read
from guardsteer.evaluate.replay import Log, Replay, Stage, read_log, replay
from tests.models import PAD, VOCABULARY
from tests.runtime.harness import Bench, batch

KEY = b"k" * 32
_HEAD = """\
guardsteer: 1
name: {name}
classifiers:
  asked: {{use: ./none, on: prompt}}
  said: {{use: ./none, on: generation}}
flags:
  up: {{signal: said.score, enter: 0.6, exit: 0.3}}
vectors:
  one: {{use: ./none, positions: [last_prompt_token, generated]}}
  two: {{use: ./none, positions: [generated]}}
  three: {{use: ./none, positions: [all]}}
"""
_PUSHES = """\
  - {id: push, when: up, add: {vector: one, strength: 0.8, half_life: 3}}
  - {id: pull, when: said.score >= 0.4, subtract: {vector: two, strength: 0.5}}
  - {id: whole, when: asked.score >= 0.5, add: {vector: three, strength: 0.3}}
"""
_RULES = {
    "steers": "budget: 0.6\nrules:\n" + _PUSHES,
    "shapes": """\
rules:
  - {id: hush, when: said.score >= 0.9, priority: 5, disable: one}
  - {id: cut, when: up, ablate: {vector: one, strength: 0.7}}
  - {id: keep, when: said.score >= 0.4, clamp: {vector: two, low: -0.2, high: 0.1, keep_norm: true}}
  - {id: whole, when: asked.score >= 0.5, add: {vector: three, strength: 0.3, ramp: 4}}
""",
    "halts": 'fallback: "Enough."\nrules:\n'
    + _PUSHES
    + """\
  - {id: wait, when: up, hold_back: 2}
  - {id: stop, when: said.score >= 0.9 && step > 6, halt: true}
""",
    "revises": 'fallback: "Enough."\nbudget: 0.9\nrules:\n'
    + _PUSHES
    + """\
  - id: again
    when: said.score >= 0.9
    revise: {tokens: 2, most: 2, then: continue}
    subtract: {vector: one, strength: 0.4}
  - {id: stop, when: said.score >= 1.0 && step > 9, halt: true}
""",
}
POLICIES: Mapping[str, str] = {name: _HEAD.format(name=name) + rules for name, rules in _RULES.items()}
"""Policies that push under a budget and on schedules; ablate, clamp and disable; halt; take text back."""


@dataclass(frozen=True)
class Call:
    """One call to be made: prompts, settings, and the seed to set before it (None: draw on)."""

    prompts: list[list[int]]
    settings: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True)
class Made:
    """A recorded row: its name, the prompts of its call, its own first, and the tokens that came back."""

    request: str
    sequence: int
    prompts: tuple[tuple[int, ...], ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Recording:
    """What was recorded of one policy on one model, and what it takes to replay it."""

    log: Log
    stage: Stage
    home: Path
    made: tuple[Made, ...]

    def replay(self, made: Made, *, whole: bool = True, **options: Any) -> Replay:
        """Replay a row, with all prompts of its call or its own alone."""
        prompts = made.prompts if whole else made.prompts[:1]
        recorded = self.log.of(made.request, made.sequence)
        return replay(recorded, self.stage, prompts, home=self.home, **options)


def draw_call(draw: random.Random, *, rows: int, sample: bool, tokens: int = 20) -> Call:
    """Return a call with drawn prompts and, where it samples, drawn settings."""
    lengths = [draw.randint(3, 14) for _ in range(rows)]
    prompts = [[draw.randint(3, VOCABULARY - 1) for _ in range(length)] for length in lengths]
    settings: dict[str, Any] = {"max_new_tokens": tokens, "do_sample": sample}
    if sample:
        settings["temperature"] = draw.choice([0.7, 1.0, 1.3])
        settings |= draw.choice([{}, {"top_k": 20}, {"top_p": 0.9}, {"repetition_penalty": 1.2}])
    return Call(prompts, settings, draw.choice([None, draw.randint(0, 10**6)]) if sample else None)


def record(bench: Bench, policy: str, calls: list[Call], folder: Path, **options: Any) -> Recording:
    """Make ``calls`` under the policy in the text ``policy`` and return their record."""
    folder.mkdir(parents=True, exist_ok=True)
    home = folder / "policy.yaml"
    home.write_text(policy)
    parts: dict[str, Any] = {"vectors": bench.vectors, "classifiers": bench.classifiers}
    made: list[Made] = []
    with (
        open_journal(folder / "log", key=KEY) as journal,
        guardsteer.wrap(
            bench.model, bench.tokenizer, policy=home, audit=journal, **{**parts, **options}
        ) as guard,
    ):
        for number, call in enumerate(calls):
            made += _generate(guard, call, number, bench.model.device)
    stage = Stage(bench.model, bench.tokenizer, KEY, **parts)
    return Recording(read_log(read(folder / "log")), stage, home, tuple(made))


def _generate(guard: Any, call: Call, number: int, device: Any) -> Iterator[Made]:
    if call.seed is not None:
        torch.manual_seed(call.seed)
    names = [f"r{number}-{row}" for row in range(len(call.prompts))]
    inputs = {name: given.to(device) for name, given in batch(call.prompts).items()}
    entries = [{"request": name} for name in names]
    ids = guard.generate(**inputs, guard=entries, **{"pad_token_id": PAD, **call.settings})
    each = len(ids) // len(names)
    for place, tokens in enumerate(ids[:, inputs["input_ids"].shape[1] :].tolist()):
        row, sequence = divmod(place, each)
        others = call.prompts[:row] + call.prompts[row + 1 :]
        prompts = tuple(map(tuple, [call.prompts[row], *others]))
        yield Made(names[row], sequence, prompts, tuple(tokens))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute on ``count`` threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
