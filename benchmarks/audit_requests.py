"""What the audit costs a request whatever its length: what is recorded once for a call, and its text.

    python -m benchmarks.audit_requests --json

Times are of the thread that generates, unless they say otherwise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks._cost_setting import model, tokenizer
from guardsteer.audit import open_journal
from guardsteer.audit.text import Kept, SubjectKeys, open_text_store
from guardsteer.runtime.keeping import Keeper
from guardsteer.runtime.provenance import call_of

KEY = b"the key of a benchmark, no secret"
TOKENS = 500
TEXTS = 2_000


def median_us(action: Callable[[], object], prepare: Callable[[], object] = lambda: None) -> float:
    """Return the median microseconds of ``action`` over 500 calls, ``prepare`` before each not counted."""
    times_us = []
    for _ in range(500):
        prepare()
        start_ns = time.perf_counter_ns()
        action()
        times_us.append((time.perf_counter_ns() - start_ns) / 1e3)
    return round(statistics.median(times_us), 1)


def calls(made: Any) -> dict[str, float]:
    """Return what it costs to read what a record says of a call."""
    found: dict[str, float] = {}
    for name, sampled, prepare in (
        ("greedy", False, lambda: None),
        ("sampled, seed just set", True, lambda: torch.manual_seed(1)),
        ("sampled, generator in use", True, lambda: torch.rand(1)),
    ):
        kwargs = {"max_new_tokens": 64, "do_sample": sampled, "temperature": 0.7}
        config, _ = made._prepare_generation_config(None, **kwargs)
        read = partial(call_of, made, config, kwargs, rows=1, width=TOKENS)
        found[f"call_us, {name}"] = median_us(read, prepare)
    return found


def texts(spoken: Any, directory: Path) -> dict[str, float]:
    """Return what it costs to hand over a text of 500 tokens, and how many a second are durable."""
    tokens = tuple(torch.randint(300, len(spoken), (TOKENS,)).tolist())
    with open_journal(directory / "log", key=KEY) as journal:
        store = open_text_store(journal, SubjectKeys(directory / "keys"))
        split = Keeper(store, spoken).split

        def kept(number: int) -> Kept:
            return Kept(f"subject {number % 100}", f"t-{number}", "prompt", f"r-{number}", 0, tokens, split)

        times_us = []
        start_s = time.perf_counter()
        for number in range(TEXTS):
            text = kept(number)
            before_ns = time.perf_counter_ns()
            store.keep(text)
            times_us.append((time.perf_counter_ns() - before_ns) / 1e3)
        store.flush(60)
        journal.flush()
        elapsed_s = time.perf_counter() - start_s
        store.close()
    size = sum(path.stat().st_size for path in (directory / "log" / "text").iterdir())
    return {
        "keep_us, median": round(statistics.median(times_us), 1),
        "keep_us, 99th percentile": round(statistics.quantiles(times_us, n=100)[98], 1),
        "texts_per_s, durable, by the store's thread": round(TEXTS / elapsed_s),
        "bytes_per_token": round(size / TEXTS / TOKENS, 1),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--directory", type=Path, help="a folder on a real disk (default: a temporary one)")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    spoken = tokenizer()
    with tempfile.TemporaryDirectory(dir=args.directory) as folder:
        figures = {**calls(model(len(spoken))), **texts(spoken, Path(folder))}
    if args.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<45} {value:>12,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
