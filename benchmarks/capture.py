"""What capturing costs beside the forwards it needs: 800 pairs, all blocks, residual and MLP sites.

``python -m benchmarks.capture [--model PATH] [--pairs N] [--batch-size N] [--rules both]``. Pairs are
those of the demo's recipes; the model is the demo's unless one is named. Windows of bare passes and of
captured ones over the same batches take turns, so that a busy machine slows both alike. ``prepare`` is
rendering and tokenising, which any way of reading pairs has to do. Memory is the highest resident size
less that with the model loaded and one batch run. All on one thread.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from guardsteer.assets import Catalog
from guardsteer.cli.models import load_model
from guardsteer.demo import model_path
from guardsteer.host import SITES, find_layout, point_at
from guardsteer.lab.capturing import WINDOW_BATCHES, Capture, States
from guardsteer.lab.contrast import ContrastPair
from guardsteer.lab.moments import Sums
from guardsteer.lab.positions import ASSISTANT_MEAN, LAST_PROMPT_TOKEN, PositionRule
from guardsteer.lab.recipe import load_recipe

MOST_TIMES_BARE = 1.15
MOST_MEGABYTES = 200.0
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
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = measure(given.model or model_path(), given.pairs, given.batch_size, RULES[given.rules])
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(f"{name:<22} {value:,.3f}" if isinstance(value, float) else f"{name:<22} {value}")
    return int(found["times_bare"] > MOST_TIMES_BARE or found["megabytes"] > MOST_MEGABYTES)


def measure(path: Path, n_pairs: int, batch_size: int, rules: tuple[PositionRule, ...]) -> dict[str, Any]:
    """Return seconds of bare and captured passes, their ratio, and megabytes over the model's own."""
    pairs: list[ContrastPair] = []
    for name in RECIPES:
        pairs.extend(load_recipe(Catalog().find("vectors", name)).pairs)
    pairs = pairs[:n_pairs]
    model, tokenizer = load_model(path)
    layout = find_layout(model)
    sites = [site for site in SITES if site in ("mlp", "block_output")]
    points = tuple(point_at(block, site) for block in range(layout.n_blocks) for site in sites)
    captured = Capture(model, tokenizer, layout, points, rules, batch_size)
    bare = Capture(model, tokenizer, layout, (), rules, batch_size)
    sums = {(point, rule.name): Sums.empty(layout.width) for point in points for rule in rules}

    def add(states: States) -> None:
        sums[states.point, states.rule.name].add(states)

    bare.run(pairs[:batch_size], add)
    before = _peak_megabytes()
    seconds = {"prepare": 0.0, "bare": 0.0, "captured": 0.0}
    chunk = batch_size * WINDOW_BATCHES // 2
    for place, first in enumerate(range(0, len(pairs), chunk)):
        started = time.perf_counter()
        readings = list(captured.preparer.pairs(enumerate(pairs[first : first + chunk])))
        seconds["prepare"] += time.perf_counter() - started
        turns = [("bare", bare), ("captured", captured)]
        for name, capture in turns if place % 2 else reversed(turns):
            started = time.perf_counter()
            capture.read(readings, add)
            seconds[name] += time.perf_counter() - started
    return {
        "model": path.name,
        "pairs": len(pairs),
        "points": len(points),
        "rules": [rule.name for rule in rules],
        "batch_size": batch_size,
        **{f"{name}_s": value for name, value in seconds.items()},
        "times_bare": seconds["captured"] / seconds["bare"],
        "megabytes": _peak_megabytes() - before,
    }


def _peak_megabytes() -> float:
    # Linux counts in kilobytes, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    raise SystemExit(main())
