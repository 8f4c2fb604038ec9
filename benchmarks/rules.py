"""What the rules cost: a step for small and large policies, and loading a large one.

``python -m benchmarks.rules [--json]``. One thread; each figure is the median of ``ROUNDS`` rounds,
interleaved, in CPU time.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable

from guardsteer.rules import Program, compile_policy, parse_policy

ROUNDS = 15
STEPS = 2_000
OUTPUTS = ("a", "b", "c", "d")


def policy_text(rules: int, *, signals: int = 16, flags: int = 10, vectors: int = 4) -> str:
    """Return a policy in which every flag has hysteresis and every rule reads two flags and a score."""
    draw = random.Random(0)
    classifiers = [f"c{i}" for i in range(signals // len(OUTPUTS))]
    names = [f"{classifier}.{output}" for classifier in classifiers for output in OUTPUTS]
    lines = ["guardsteer: 1", "name: bench", "classifiers:"]
    lines += [f"  {name}: {{use: {name}, on: generation}}" for name in classifiers]
    lines.append("flags:")
    for i in range(flags):
        extra = (", after: 2", ", hold: 8", ", latch: true", "")[i % 4]
        lines.append(f"  f{i}: {{signal: {names[i % signals]}, enter: 0.7, exit: 0.5{extra}}}")
    lines.append("vectors:")
    lines += [f"  v{i}: {{use: v{i}, max_strength: 0.5}}" for i in range(vectors)]
    lines.append("rules:")
    for i in range(rules):
        first, second = draw.sample(range(flags), 2)
        signal, bound = draw.choice(names), draw.randrange(1, 100) / 100
        when = f'f{first} && !f{second} && {signal} >= {bound} && request.tenant != "t{i % 7}"'
        action = f"add: {{vector: v{i % vectors}, strength: 0.3}}" if i % 5 else "disable: all"
        lines += [f"  - id: r{i}", f"    when: {when}", f"    {action}"]
    return "\n".join(lines) + "\n"


def program_of(text: str) -> Program:
    """Return the compiled policy."""
    policy = parse_policy(text, "bench.yaml")
    return compile_policy(policy, {spec.name: OUTPUTS for spec in policy.classifiers})


def step_us(program: Program, rows: list[list[float]]) -> float:
    """Return the CPU time of one step in microseconds, over rows of signals taken in turn."""
    row = program.start({"tenant": "acme"})
    steps = [rows[i % len(rows)] for i in range(STEPS)]
    before = row.before
    started = time.process_time()
    for signals in steps:
        before(signals)
    return (time.process_time() - started) / STEPS * 1e6


def elapsed_ms(action: Callable[[], object]) -> float:
    """Return the CPU time of one call in milliseconds."""
    started = time.process_time()
    action()
    return (time.process_time() - started) * 1e3


def measure() -> dict[str, float]:
    """Return every figure by name."""
    draw = random.Random(1)
    small, large = program_of(policy_text(20)), program_of(policy_text(500, flags=40))
    thousand = policy_text(1000)
    loaded = parse_policy(thousand, "bench.yaml")
    outputs = {spec.name: OUTPUTS for spec in loaded.classifiers}
    steady = [[draw.random() for _ in range(16)]]
    moving = [[draw.random(), *steady[0][1:]] for _ in range(50)]
    noise = [[draw.random() for _ in range(16)] for _ in range(50)]
    jobs: dict[str, Callable[[], float]] = {
        "step, 20 rules, nothing changes (us)": lambda: step_us(small, steady),
        "step, 20 rules, one score moves (us)": lambda: step_us(small, moving),
        "step, 20 rules, all scores random (us)": lambda: step_us(small, noise),
        "step, 500 rules, nothing changes (us)": lambda: step_us(large, steady),
        "step, 500 rules, one score moves (us)": lambda: step_us(large, moving),
        "step, 500 rules, all scores random (us)": lambda: step_us(large, noise),
        "load 1,000 rules (ms)": lambda: elapsed_ms(lambda: parse_policy(thousand, "bench.yaml")),
        "compile 1,000 rules (ms)": lambda: elapsed_ms(lambda: compile_policy(loaded, outputs)),
    }
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            found[name].append(job())
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    figures = measure()
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:45} {value:9.2f}")


if __name__ == "__main__":
    main()
