"""Rules whose condition is undecided, because a score is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import guardsteer
from guardsteer.core.events import RowHalted
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


def run_undecided(row: Line, choice: str, folder: Path, before: bool) -> list[int]:
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
    with guard:
        return run(guard, suppress_tokens=[0, 1] if "halt" in row.fault else list(SPECIAL))[0]


def check_plan(row: Line, choice: str, folder: Path, _: pytest.MonkeyPatch) -> None:
    """What the engine decides; tests/runtime/test_revising.py has what becomes of it."""
    text = RULE_POLICY.format(on_error=choice, action=row.fault)
    policy = load_policy(policy_file(folder, text), outputs=lambda _: ("score",))
    program = compile_policy(policy, {"said": ("score",)}, vector_blocks={"one": (2,), "two": (3,)})
    for before in (False, True):
        rules = program.start({})
        rules.before([0.9 if before else 0.1])
        plan = rules.before([NAN])
        acts = plan.revise >= 0 if "revise" in row.fault else plan.hold_back >= 0
        assert acts is undecided(row, choice, before)


STEERS = three("does not act", "does not act", "acts if it did")
PROTECTS = three("acts", "does not act", "acts if it did")
RULES = [
    Line("`add`", STEERS, check_steering, "add: {vector: one, strength: 2.0}"),
    Line("`subtract`", STEERS, check_steering, "subtract: {vector: one, strength: 2.0}"),
    Line("`ablate`", STEERS, check_steering, "ablate: {vector: one}"),
    Line("`clamp`", STEERS, check_steering, "clamp: {vector: one, low: -0.1, high: 0.1}"),
    Line("`disable`", PROTECTS, check_disable, "disable: two"),
    Line("`halt`", PROTECTS, check_halt, "halt: true"),
    Line("`revise`", PROTECTS, check_plan, "revise: {tokens: 4}"),
    Line("`hold_back`", PROTECTS, check_plan, "hold_back: 8"),
]
