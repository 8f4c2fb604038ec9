"""What capturing costs beside the forwards it needs: 800 pairs, all blocks, residual and MLP sites.

``python -m benchmarks.capture [--model PATH] [--pairs N] [--batch-size N] [--rules both] [--agreement]``.
Pairs are those of the demo's recipes; the model is the demo's unless one is named. Windows of bare passes
and of captured ones over the same batches take turns, three times over, in seconds of processor time, so
that a busy machine hardly shows; the ratio's 95 % interval is a bootstrap over windows. ``prepare`` is
rendering and tokenising, which any way of reading pairs has to do. Memory is the highest resident size over
all of it less that with the model loaded and nothing run: most of it is what torch keeps for each shape of
batch, bare or captured. ``--agreement`` also reads all pairs in batches of 1 and of 32 and in 4 shares, and
tells the largest difference of a sum from that of batches of the size given, over the largest sum. All on
one thread.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from guardsteer.assets import Catalog
from guardsteer.cli.models import DTYPES, load_model
from guardsteer.demo import model_path
from guardsteer.evaluate import bootstrap
from guardsteer.host import SITES, find_layout, point_at
from guardsteer.lab.capture.captured import Captured, Shard, capture_pairs, merge_parts
from guardsteer.lab.capture.capturing import WINDOW_BATCHES, Capture, States
from guardsteer.lab.capture.moments import Sums
from guardsteer.lab.capture.positions import ASSISTANT_MEAN, LAST_PROMPT_TOKEN, PositionRule
from guardsteer.lab.pairs.contrast import ContrastPair
from guardsteer.lab.recipes.recipe import load_recipe

MOST_TIMES_BARE = 1.15
MOST_MEGABYTES = 200.0
REPEATS = 3
RECIPES = ("demo-empathy", "demo-sycophancy")
RULES: dict[str, tuple[PositionRule, ...]] = {
    "reply": (ASSISTANT_MEAN,),
    "both": (ASSISTANT_MEAN, LAST_PROMPT_TOKEN),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--pairs", type=int, default=800)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rules", choices=RULES, default="reply")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--agreement", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    pairs: list[ContrastPair] = []
    for name in RECIPES:
        pairs.extend(load_recipe(Catalog().find("vectors", name)).pairs)
    path, pairs = given.model or model_path(), pairs[: given.pairs]
    reader, before = _reader(path, given.dtype, given.batch_size, RULES[given.rules]), _megabytes()
    found = {"model": path.name, "dtype": given.dtype, **measure(reader, pairs)}
    found["megabytes"] = _peak_megabytes() - before
    if given.agreement:
        found |= agreement(reader, pairs)
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(f"{name:<22} {value:,.3g}" if isinstance(value, float) else f"{name:<22} {value}")
    return int(found["times_bare_high"] > MOST_TIMES_BARE or found["megabytes"] > MOST_MEGABYTES)


def measure(captured: Capture, pairs: Sequence[ContrastPair]) -> dict[str, Any]:
    """Return seconds of bare and captured passes, and their ratio."""
    bare, rules, batch_size = replace(captured, points=()), captured.rules, captured.batch_size
    width = captured.layout.width
    sums = {(point, rule.name): Sums.empty(width) for point in captured.points for rule in rules}

    def add(states: States) -> None:
        sums[states.point, states.rule.name].add(states)

    captured.run(pairs[:batch_size], add)
    prepare_s, chunk = 0.0, batch_size * WINDOW_BATCHES // 2
    rows: list[list[float]] = []
    for place, first in enumerate([*range(0, len(pairs), chunk)] * REPEATS):
        started = time.process_time()
        readings = list(captured.preparer.pairs(enumerate(pairs[first : first + chunk])))
        prepare_s += time.process_time() - started
        seconds = {}
        turns = [("bare", bare), ("captured", captured)]
        for name, capture in turns if place % 2 else reversed(turns):
            started = time.process_time()
            capture.read(readings, add)
            seconds[name] = time.process_time() - started
        rows.append([seconds["bare"], seconds["captured"]])
    times = bootstrap(np.array(rows), _ratio)
    totals = np.sum(rows, axis=0) / REPEATS
    return {
        "pairs": len(pairs),
        "points": len(captured.points),
        "rules": [rule.name for rule in rules],
        "batch_size": batch_size,
        "prepare_s": prepare_s / REPEATS,
        "bare_s": float(totals[0]),
        "captured_s": float(totals[1]),
        "times_bare": times.value,
        "times_bare_low": times.low,
        "times_bare_high": times.high,
    }


def agreement(reader: Capture, pairs: Sequence[ContrastPair]) -> dict[str, float]:
    """Return how far other batches and shares move a sum, over the largest sum at its point."""

    def read(size: int, shard: Shard) -> Captured:
        return capture_pairs(replace(reader, batch_size=size), pairs, model="m", shard=shard)

    whole = read(reader.batch_size, Shard())
    four = merge_parts([read(reader.batch_size, Shard(index, 4)) for index in range(1, 5)])
    others = {"batches_of_1": read(1, Shard()), "batches_of_32": read(32, Shard()), "shards_of_4": four}
    return {
        name: max(
            float(np.abs(sums.states - other.sums[key].states).max() / np.abs(sums.states).max())
            for key, sums in whole.sums.items()
        )
        for name, other in others.items()
    }


def _reader(path: Path, dtype: str, batch_size: int, rules: tuple[PositionRule, ...]) -> Capture:
    model, tokenizer = load_model(path, dtype)
    layout = find_layout(model)
    sites = [site for site in SITES if site in ("mlp", "block_output")]
    points = tuple(point_at(block, site) for block in range(layout.n_blocks) for site in sites)
    return Capture(model, tokenizer, layout, points, rules, batch_size)


def _ratio(rows: NDArray[np.float64]) -> float:
    bare, captured = rows.sum(axis=0)
    return float(captured / bare)


def _megabytes() -> float:
    """Return what is resident now, or the most so far where the system does not tell."""
    told = Path("/proc/self/statm")
    if not told.exists():
        return _peak_megabytes()
    return int(told.read_text().split()[1]) * resource.getpagesize() / 1e6


def _peak_megabytes() -> float:
    # Linux counts in units of 1024 bytes, macOS in bytes.
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6


if __name__ == "__main__":
    raise SystemExit(main())
