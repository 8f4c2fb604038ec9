"""A log that cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from torch import Tensor

import guardsteer
from guardsteer.audit import open_journal, verify
from guardsteer.errors import AuditWriteError
from tests.runtime.failures.faults import broken_disk
from tests.runtime.failures.lines import (
    CHOICES,
    POSITIONS,
    TOKENS,
    Line,
    bench_for,
    run,
    scheduled,
    steered_steps,
)
from tests.runtime.harness import SPECIAL, policy_file

__all__ = ["AUDIT"]

GENERATED = [frozenset({"generated"})] * 2
AUDIT_POLICY = """
guardsteer: 1
name: unrecorded
vectors:
  one: {{use: ./none, positions: [generated]}}
  two: {{use: ./none, positions: [generated]}}
rules:
  - {{id: first, when: step >= 2 && step < 7, add: {{vector: one, strength: 2.0}}}}
  - {{id: second, when: step >= 7, subtract: {{vector: two, strength: 1.5}}}}
audit: {{on_error: {on_error}}}
fallback: "No."
"""
FAILS_AT, WORKS_AT = 4, 10


def ruled(step: int) -> tuple[float, float]:
    """What the rules say."""
    return (2.0 if 2 <= step < 7 else 0.0, -1.5 if step >= 7 else 0.0)


def in_the_dark(choice: str, step: int) -> tuple[float, float]:
    """What acts while the log cannot be written."""
    if not FAILS_AT <= step < WORKS_AT or choice == "open":
        return ruled(step)
    return ruled(FAILS_AT - 1) if choice == "last_state" else (0.0, 0.0)


class At:
    """A streamer that calls at the tokens that it was told; the prompt comes first."""

    def __init__(self, calls: dict[int, Callable[[], None]]) -> None:
        self.calls = calls
        self.token = -1

    def put(self, _: Tensor) -> None:
        self.token += 1
        self.calls.get(self.token, lambda: None)()

    def end(self) -> None:
        pass


def check_audit(row: Line, choice: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk breaks under a row at one step and is mended at another."""
    made = bench_for()
    journal = open_journal(
        folder / "log", key=b"k" * 32, segment_bytes=1 if "read-only" in row.fault else 2**20
    )
    policy = policy_file(folder, AUDIT_POLICY.format(on_error=choice))
    guard = guardsteer.wrap(made.model, made.tokenizer, policy=policy, vectors=made.vectors, audit=journal)
    suppressed = [0, 1] if choice == "halt" else list(SPECIAL)
    with broken_disk(journal, row.fault, monkeypatch) as (break_it, mend_it):
        streamer = At({FAILS_AT: break_it, WORKS_AT: mend_it})
        found = run(guard, streamer=streamer, suppress_tokens=suppressed)[0]
        mend_it()
        again = run(guard)[0]

    if choice == "halt":
        fallback = [*made.tokenizer("No.")["input_ids"], 2]
        assert found[:FAILS_AT] == scheduled(made, ruled, GENERATED)[:FAILS_AT]
        assert found[FAILS_AT:] == fallback
    else:
        expected = {each: scheduled(made, partial(in_the_dark, each), GENERATED) for each in CHOICES[:3]}
        assert len(set(map(tuple, expected.values()))) == 3
        assert found == expected[choice]
    assert again == scheduled(made, ruled, GENERATED), "once it works again all is as before"
    guard.detach()
    journal.close()
    assert verify(folder / "log").ok
    if choice != "halt":
        assert steered_steps(folder, "one") == [s for s in range(TOKENS) if in_the_dark(choice, s)[0]]


def check_new_request(row: Line, choice: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench_for()
    journal = open_journal(folder / "log", key=b"k" * 32)
    # Something is steered from the very first pass on.
    text = AUDIT_POLICY.format(on_error=choice).replace("step >= 2", "step >= 0")
    policy = policy_file(folder, text.replace("[generated]", "[last_prompt_token, generated]"))
    guard = guardsteer.wrap(made.model, made.tokenizer, policy=policy, vectors=made.vectors, audit=journal)
    bare = scheduled(made, lambda _: (0.0, 0.0), POSITIONS)
    steered = scheduled(made, lambda step: (2.0, 0.0) if step < 7 else (0.0, -1.5), POSITIONS)
    assert steered != bare
    with broken_disk(journal, row.fault, monkeypatch) as (break_it, mend_it):
        break_it()
        found = run(guard, suppress_tokens=[0, 1] if choice == "halt" else list(SPECIAL))[0]
        mend_it()
    if choice == "halt":
        assert found == [*made.tokenizer("No.")["input_ids"], 2]
    else:
        assert found == (steered if choice == "open" else bare)
    guard.detach()
    journal.close()


def check_never_writable(_: Line, choice: str, folder: Path, __: pytest.MonkeyPatch) -> None:
    made = bench_for()
    (folder / "log").write_text("a file where the directory should be")
    policy = policy_file(folder, AUDIT_POLICY.format(on_error=choice))
    with pytest.raises(AuditWriteError, match="log"):
        guardsteer.wrap(made.model, made.tokenizer, policy=policy, vectors=made.vectors, audit=folder / "log")
    assert "generate" not in vars(made.model)


def four(closed: str, open_: str, last_state: str, halt: str) -> dict[str, str]:
    return dict(zip(CHOICES, (closed, open_, last_state, halt), strict=True))


IN_FLIGHT = four(
    "steering stops with the next pass, until it can",
    "all goes on; up to 65,536 events wait",
    "the plan that a row has goes on, until it can; nothing begins, ends or halts",
    "the row ends with the fallback",
)
NEW = four("nothing is steered", "as usual", "nothing is steered or ended", "the fallback alone")
AUDIT = [
    Line("the disk is full", IN_FLIGHT, check_audit, "full disk"),
    Line("the directory has become read-only", IN_FLIGHT, check_audit, "read-only directory"),
    Line("a write takes over 5 seconds", IN_FLIGHT, check_audit, "write that hangs"),
    Line("a request comes while the log cannot be written", NEW, check_new_request, "full disk"),
    Line(
        "the directory cannot be written from the start",
        four(*["`wrap` raises `AuditWriteError`"] * 4),
        check_never_writable,
    ),
]
