"""What a token costs a row for its combinations, beside what their members cost anyway.

    python -m benchmarks.combinations [--tokens 20000] [--rounds 9] [--json]

Microseconds a token (process CPU time) and bytes allocated that stay, of one row's combinations over scores
that are in place: the highest of two, the mean of four, a stack of four, and all three together. Medians of
the rounds. One thread.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
import tracemalloc

from guardsteer.classify.combined.combination import Blend, Stack
from guardsteer.runtime.joining import Joined, Joining, Joint

__all__ = ["blends", "main", "measure"]


def blends() -> dict[str, tuple[Blend, ...]]:
    """Return what is measured, by name."""
    stack = Stack(((1.3,), (0.5,), (0.7,), (0.4,)), (-0.5,), (-1.0, -1.0, -2.0, -2.0), "sigmoid")
    most, mean, weighed = Blend("max", 2, 1), Blend("mean", 4, 1), Blend("stack", 4, 1, "closed", stack)
    return {
        "highest of two": (most,),
        "mean of four": (mean,),
        "stack of four": (weighed,),
        "all three": (most, mean, weighed),
    }


def measure(made: tuple[Blend, ...], tokens: int) -> tuple[float, int]:
    """Return the microseconds a token and the bytes that stay allocated after ``tokens`` tokens."""
    draw = random.Random(0)
    joined = tuple(
        Joined(str(place), 4 + place, 5 + place, blend, tuple(range(blend.members)))
        for place, blend in enumerate(made)
    )
    signals = [draw.random() for _ in range(4 + len(made))]
    joint, _ = Joint.begin(Joining(joined), lambda _: "", signals)
    drawn = [draw.random() for _ in range(997)]
    began = time.process_time_ns()
    for step in range(tokens):
        signals[step % 4] = drawn[step % 997]
        joint.read(" a", signals)
    whole_us = (time.process_time_ns() - began) / 1e3
    began = time.process_time_ns()
    for step in range(tokens):
        signals[step % 4] = drawn[step % 997]
    bare_us = (time.process_time_ns() - began) / 1e3
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(1_000):
        joint.read(" a", signals)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (whole_us - bare_us) / tokens, after - before


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in blends()}
    for _ in range(args.rounds):
        for name, made in blends().items():
            found[name].append(measure(made, args.tokens))
    medians = {
        name: (statistics.median(us for us, _ in rounds), int(statistics.median(kept for _, kept in rounds)))
        for name, rounds in found.items()
    }
    if args.json:
        print(json.dumps({name: {"us": us, "kept_bytes": kept} for name, (us, kept) in medians.items()}))
        return 0
    for name, (us, kept) in medians.items():
        print(f"{name:<16} {us:6.2f} µs a token, {kept} bytes kept after 1,000 more")
    return 0


if __name__ == "__main__":
    sys.exit(main())
