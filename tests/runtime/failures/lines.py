"""A line of the table, and what every line's test needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from guardsteer.audit import read
from guardsteer.core.events import ActivationEnded
from tests.runtime.harness import SPECIAL, Bench, Reference, batch, bench, random_vector

__all__ = [
    "CHOICES",
    "POSITIONS",
    "PROMPT",
    "TOKENS",
    "Check",
    "Line",
    "bench_for",
    "run",
    "scheduled",
    "steered_steps",
    "three",
    "told",
]

TOKENS = 14
PROMPT = [40, 77, 90, 101, 60, 45, 33]
CHOICES = ("closed", "open", "last_state", "halt")
POSITIONS = [frozenset({"last_prompt_token", "generated"})] * 2

Check = Callable[["Line", str, Path, pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Line:
    """A row of the table: the fault, what each choice does, and the test that shows it."""

    name: str
    cells: dict[str, str]
    check: Check
    fault: Any = None


def three(closed: str, open_: str, last_state: str) -> dict[str, str]:
    return dict(zip(CHOICES, (closed, open_, last_state), strict=False))


def run(model: Any, prompts: Sequence[Sequence[int]] = (PROMPT,), **options: Any) -> list[list[int]]:
    inputs = batch(prompts)
    settings = {"max_new_tokens": TOKENS, "do_sample": False, "suppress_tokens": list(SPECIAL)}
    ids = model.generate(**inputs, **{**settings, **options})
    return [row[inputs["input_ids"].shape[1] :] for row in ids.tolist()]


def bench_for(architecture: str = "llama") -> Bench:
    """Return a bench whose vectors act behind block 1, where a probe may read."""
    made = bench(architecture)
    vectors = {
        name: random_vector(made.model, made.tokenizer, name, blocks, seed)
        for name, blocks, seed in (("one", (2, 3), 5), ("two", (3,), 6))
    }
    return replace(made, vectors=vectors)


def scheduled(
    made: Bench, decided: Callable[[int], tuple[float, float]], positions: Sequence[frozenset[str]]
) -> list[int]:
    """Return the tokens where ``decided`` says how strong each vector is at each step."""

    def decide(_: str, texts: list[str], __: list[list[float]]) -> list[tuple[float, ...]]:
        return [decided(step) for step in range(len(texts))]

    vectors = [made.vectors["one"], made.vectors["two"]]
    return Reference(made.model, made.tokenizer, vectors, positions, decide).generate(PROMPT, TOKENS)


def told(folder: Path, *kinds: Any) -> list[Any]:
    return [stored.event for stored in read(folder / "log") if isinstance(stored.event, kinds)]


def steered_steps(folder: Path, vector: str) -> list[int]:
    """Return the steps at which the first row's trail says that a vector acted."""
    ended = [s.event for s in read(folder / "log") if isinstance(s.event, ActivationEnded)]
    first = [event for event in ended if event.request == ended[0].request and event.vector == vector]
    start = len(PROMPT) - 1
    return [p - start for event in first for p in range(event.first, event.last + 1)]
