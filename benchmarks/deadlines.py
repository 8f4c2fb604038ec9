"""What deadline, breaker and ``on_error`` cost: one step of one row, ``push`` and ``scores``.

``python -m benchmarks.deadlines [--steps 20000] [--json]``. The classifier is a pattern of one word, the
cheapest there is, so that what is around it shows. ``hanging`` is one whose first call does not come
back: what each later step costs. Medians in microseconds, one thread of torch or none.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Sequence
from typing import Any

from guardsteer.classify import PatternClassifier
from guardsteer.classify.pace.guarded import GuardedClassifier, guarded
from guardsteer.core.policy import BreakerSpec, ClassifierSpec

WORDS = (" the", " bank", " said", " no", " again")
CASES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "on_error: last_state": {"on_error": "last_state"},
    "with a breaker": {"breaker": BreakerSpec()},
    "with a deadline": {"deadline_ms": 1000.0},
    "hanging": {"deadline_ms": 1.0},
}


class Hanging:
    """A classifier whose first call waits for ``gate``."""

    outputs, digest = ("match",), "b3:hanging"

    def __init__(self) -> None:
        self.gate = threading.Event()

    def start(self) -> Hanging:
        """Return the only state."""
        return self

    def push(self, _: str) -> None:
        """Wait."""
        self.gate.wait()

    def scores(self) -> Sequence[float]:
        """Return nothing found."""
        return (0.0,)

    def fork(self) -> Hanging:
        """Return itself."""
        return self


def measure(case: str, steps: int) -> float:
    """Return the median of one step in microseconds."""
    hanging = Hanging()
    plain = PatternClassifier(literals=["damn"])
    classifier = guarded(ClassifierSpec("c", "all", **CASES[case]), hanging if case == "hanging" else plain)
    state = classifier.start()
    state.push("x")
    state.scores()
    taken: list[float] = []
    for step in range(steps):
        text = WORDS[step % len(WORDS)]
        began_ns = time.perf_counter_ns()
        state.push(text)
        state.scores()
        taken.append((time.perf_counter_ns() - began_ns) / 1e3)
    hanging.gate.set()
    if isinstance(classifier, GuardedClassifier):
        classifier.close()
    return statistics.median(taken)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What deadline, breaker and on_error cost a step.")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {case: round(measure(case, options.steps), 2) for case in CASES}
    if options.json:
        print(json.dumps(found))
        return
    for case, cost_us in found.items():
        print(f"{case:24} {cost_us:8.2f} µs")


if __name__ == "__main__":
    main()
