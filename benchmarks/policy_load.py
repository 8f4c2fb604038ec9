"""What reading a policy costs: 1,000 rules from YAML to a checked policy with places, and what comes after.

``python -m benchmarks.policy_load [--rules 1000] [--json]``. One thread; each figure is the median of
``ROUNDS`` rounds, interleaved, in wall time.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable

from guardsteer.errors import PolicyError
from guardsteer.rules import compile_policy, lint, parse_policy, policy_schema

ROUNDS = 9
OUTPUTS = ("a", "b", "c", "d")
FLAG_EXTRAS = (
    ", after: 2, of_last: 5",
    ", hold: 8, cooldown: 4",
    ", latch: true",
    ", smooth: {ema: 0.3}",
    ", smooth: {max: 8}",
    ", per: sentence",
    "",
    ", after: 3",
)


def policy_text(rules: int, *, flags: int = 40, vectors: int = 8) -> str:
    """Return a policy with every kind of flag and action, each rule over two flags, a score and a key."""
    draw = random.Random(0)
    names = [f"c{i}.{output}" for i in range(8) for output in OUTPUTS]
    lines = ["guardsteer: 1", "name: large", "context: {tier: int}", "classifiers:"]
    lines += [f"  c{i}: {{use: c{i}, on: generation, deadline_ms: 5}}" for i in range(8)]
    lines.append("flags:")
    for i in range(flags):
        extra = FLAG_EXTRAS[i % len(FLAG_EXTRAS)]
        leave = "" if "latch" in extra else ", exit: 0.5"
        lines.append(f"  f{i}: {{signal: {names[i % len(names)]}, enter: 0.7{leave}{extra}}}")
    lines.append("vectors:")
    lines += [f"  v{i}: {{use: v{i}, max_strength: 0.5}}" for i in range(vectors)]
    lines.append("profiles:")
    lines += [f"  p{i}: {{add: {{vector: v{i}, strength: 0.2, ramp: 4}}}}" for i in range(vectors)]
    lines.append("rules:")
    for i in range(rules):
        first, second = draw.sample(range(flags), 2)
        bound = draw.randrange(1, 100) / 100
        when = f'f{first} && !f{second} && {draw.choice(names)} >= {bound} && request.tenant != "t{i % 7}"'
        lines += [f"  - id: r{i}", f"    when: {when}", f"    {_action(i, vectors, draw)}"]
    return "\n".join([*lines, "budget: 0.5", "fallback: stop"]) + "\n"


def _action(i: int, vectors: int, draw: random.Random) -> str:
    vector = f"v{draw.randrange(vectors)}"
    return (
        f"add: {{vector: {vector}, strength: 0.3, half_life: 16, keep_norm: true}}",
        f"subtract: {{vector: {vector}, strength: 0.2, stronger: {{every: 8, by: 0.1}}}}",
        f"ablate: [{{vector: {vector}, strength: 0.5}}]",
        f"clamp: {{vector: {vector}, low: -0.1, high: 0.2}}",
        f"route: {{f{i % 40}: p{i % vectors}, otherwise: p{(i + 1) % vectors}}}",
        "disable: all",
        f"add: {{vector: {vector}, strength: 0.3}}\n    revise: {{tokens: 12, most: 2}}",
        "hold_back: 8",
    )[i % 8]


def elapsed_ms(action: Callable[[], object]) -> float:
    """Return the wall time of one call in milliseconds."""
    started = time.perf_counter()
    action()
    return (time.perf_counter() - started) * 1e3


def refused(text: str) -> int:
    """Return the number of problems for which ``text`` is refused."""
    try:
        parse_policy(text, "large.yaml")
    except PolicyError as error:
        return len(error.problems)
    return 0


def measure(rules: int) -> dict[str, float]:
    """Return every figure by name, in milliseconds."""
    text = policy_text(rules)
    wrong = text.replace("request.tenant", "request.tenat")
    policy = parse_policy(text, "large.yaml")
    outputs = {spec.name: OUTPUTS for spec in policy.classifiers}
    if not refused(wrong):
        raise RuntimeError("a policy with mistakes was loaded")
    jobs: dict[str, Callable[[], object]] = {
        f"load {rules:,} rules": lambda: parse_policy(text, "large.yaml"),
        f"refuse {rules:,} rules, a mistake in each": lambda: refused(wrong),
        f"compile {rules:,} rules": lambda: compile_policy(policy, outputs),
        f"lint {rules:,} rules": lambda: lint(policy),
        "make the JSON Schema": policy_schema,
    }
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            found[name].append(elapsed_ms(job))
    return {f"{name} (ms)": statistics.median(values) for name, values in found.items()}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    figures = measure(arguments.rules)
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:50} {value:9.1f}")


if __name__ == "__main__":
    main()
