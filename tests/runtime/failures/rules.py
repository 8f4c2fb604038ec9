"""Rules whose condition is undecided, because a score is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import guardsteer
from guardsteer.core.events import RowHalted, RowRevised
from guardsteer.rules import load_policy
from guardsteer.rules.compiling import compile_policy
from tests.runtime.failures.faults import BREAKS_AT, MENDS_AT, Failing
from tests.runtime.failures.lines import TOKENS, Line, bench_for, run, steered_steps, three, told
from tests.runtime.harness import SPECIAL, policy_file

__all__ = ["RULES"]

NAN = math.nan
RULE_POLICY = """
guardsteer: 1
name: undecided
classifiers:
  said: {{use: ./none, on: generation}}
vectors:
  one: {{use: ./none, positions: [generated]}}
  two: {{use: ./none, positions: [generated]}}
rules:
  - {{id: always, when: step >= 0, subtract: {{vector: two, strength: 1.5}}}}
  - {{id: asked, when: said.score >= 0.5, on_error: {on_error}, {action}}}
fallback: "No."
"""
UNDECIDED = range(BREAKS_AT, MENDS_AT)


class Switched(Failing):
    """Scores ``before``, and nan at the steps ``UNDECIDED``."""

    def __init__(self, before: float) -> None:
        super().__init__()
        self.before = before

    def start(self) -> Any:
        return SwitchedState(self.before)


class SwitchedState:
    def __init__(self, before: float, characters: int = 0) -> None:
        self.before = before
        self.characters = characters

    def push(self, text: str) -> None:
        self.characters += len(text)

    def scores(self) -> Sequence[float]:
        return (NAN if self.characters in UNDECIDED else self.before,)

    def fork(self) -> SwitchedState:
        return SwitchedState(self.before, self.characters)


def undecided(row: Line, choice: str, before: bool) -> bool:
    """Return whether the rule of a line acts while it is undecided; ``before``: whether it acted before."""
    said = row.cells[choice]
    return before if said == "acts if it did" else said == "acts"


def check_steering(row: Line, choice: str, folder: Path, _: pytest.MonkeyPatch) -> None:
    for before in (False, True):
        steps = run_undecided(row, choice, folder / str(before), before)
        acting = steered_steps(folder / str(before), "one")
        others = [s for s in range(1, TOKENS) if s not in UNDECIDED] if before else []
        during = list(UNDECIDED) if undecided(row, choice, before) else []
        assert acting == sorted(others + during)
        assert len(steps) == TOKENS


def check_disable(row: Line, choice: str, folder: Path, _: pytest.MonkeyPatch) -> None:
    for before in (False, True):
        run_undecided(row, choice, folder / str(before), before)
        silent = [s for s in range(1, TOKENS) if s not in steered_steps(folder / str(before), "two")]
        others = [s for s in range(1, TOKENS) if s not in UNDECIDED] if before else []
        during = list(UNDECIDED) if undecided(row, choice, before) else []
        assert silent == sorted(others + during)


def check_halt(row: Line, choice: str, folder: Path, _: pytest.MonkeyPatch) -> None:
    found = run_undecided(row, choice, folder, False)
    halts = [event.step for event in told(folder, RowHalted)]
    assert halts == ([BREAKS_AT] if undecided(row, choice, False) else [])
    assert (len(found) < TOKENS) is bool(halts)


def check_revise(row: Line, choice: str, folder: Path, _: pytest.MonkeyPatch) -> None:
    run_undecided(row, choice, folder, False)
    revised = [(event.step, event.dropped) for event in told(folder, RowRevised)]
    assert revised == ([(BREAKS_AT, 2)] if undecided(row, choice, False) else [])
    # A rule that acted before has spent its one revision in a row, so its decisions are looked at.
    text = RULE_POLICY.format(on_error=choice, action=row.fault)
    policy = load_policy(policy_file(folder, text), outputs=lambda _: ("score",))
    rules = compile_policy(policy, {"said": ("score",)}, vector_blocks={"one": (2,), "two": (3,)}).start({})
    rules.before([0.9])
    assert (rules.before([NAN]).revise >= 0) is undecided(row, choice, True)


class Released:
    """A streamer that counts, and a processor that notes after each step whether something is held."""

    def __init__(self) -> None:
        self.tokens = 0
        self.held: list[bool] = []

    def put(self, tokens: Tensor) -> None:
        self.tokens += tokens.numel()

    def end(self) -> None:
        pass

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.held.append(input_ids.shape[1] > self.tokens)
        return scores


def check_hold_back(row: Line, choice: str, folder: Path, _: pytest.MonkeyPatch) -> None:
    for before in (False, True):
        released = Released()
        run_undecided(
            row, choice, folder / str(before), before, streamer=released, logits_processor=[released]
        )
        others = [s for s in range(TOKENS - 1) if s not in UNDECIDED] if before else []
        during = list(UNDECIDED) if undecided(row, choice, before) else []
        # The first call comes before any step.
        assert [step for step, held in enumerate(released.held[1:]) if held] == sorted(others + during)


def run_undecided(row: Line, choice: str, folder: Path, before: bool, **options: Any) -> list[int]:
    folder.mkdir(exist_ok=True)
    made = bench_for()
    guard = guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(folder, RULE_POLICY.format(on_error=choice, action=row.fault)),
        vectors=made.vectors,
        classifiers={"said": Switched(0.9 if before else 0.1)},
        audit=folder / "log",
    )
    suppressed = [0, 1] if "halt" in row.fault else list(SPECIAL)
    with guard:
        return run(guard, suppress_tokens=suppressed, **options)[0]


STEERS = three("does not act", "does not act", "acts if it did")
PROTECTS = three("acts", "does not act", "acts if it did")
RULES = [
    Line("`add`", STEERS, check_steering, "add: {vector: one, strength: 2.0}"),
    Line("`subtract`", STEERS, check_steering, "subtract: {vector: one, strength: 2.0}"),
    Line("`ablate`", STEERS, check_steering, "ablate: {vector: one}"),
    Line("`clamp`", STEERS, check_steering, "clamp: {vector: one, low: -0.1, high: 0.1}"),
    Line("`disable`", PROTECTS, check_disable, "disable: two"),
    Line("`halt`", PROTECTS, check_halt, "halt: true"),
    Line("`revise`", PROTECTS, check_revise, "revise: {tokens: 2, then: continue}"),
    Line("`hold_back`", PROTECTS, check_hold_back, "hold_back: 2"),
]
