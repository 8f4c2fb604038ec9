"""What a guard adds to a step of ``generate``: against the bare model, step by step in turn, one thread.

``python -m benchmarks.cost [--rounds 8] [--tokens 64] [--twins 3] [--pieces] [--batch-1] [--processes N]
[--json]``. A random Llama of 15M parameters with a vocabulary of 32,000 words, that is made to say words as
frequent as a language's. ``full`` is a policy with 20 rules, 3 text classifiers (word and character
n-grams), 1 probe and 2 vectors on 3 blocks, steering at every step, with an audit on disk. ``idle`` is the
same policy where no rule holds; ``still`` is a policy of one pattern that is never found. ``bare again`` is
the bare model once more: what it differs by is noise. Each of these is there several times (``--twins``),
with the same weights and modules of its own, and a step counts as the median of its twins': equal models in
one process differ by up to 50 us a step, for as long as it lives. Every figure is a median over pairs of
steps taken within milliseconds of each other (``_lockstep`` has how), with an interval of 95 %; ``CPU`` is
processor time of the whole process, which other processes disturb less. What an audit's writing thread
takes falls on all lanes alike there, so whole calls are taken in turn too (``_whole``), which is noisier.
``--pieces`` adds policies that have one part more each. ``--processes`` measures batch 1 alone in so many
fresh processes: the median of their medians, the lowest and the highest.

Then what the text's length costs. ``reply`` is ``full`` with classifiers that read the generation alone:
behind a long prompt it tells that from what the model's longer context leaves of the processor's cache.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from operator import sub
from pathlib import Path
from typing import Any, TypeAlias

import torch

from benchmarks._cost_setting import Saying, Setting, known_words, prompts, said, setting
from benchmarks._cost_text import text_length
from benchmarks._lockstep import Figure, Taken, figure, lockstep
from benchmarks._whole import whole

BARE, AGAIN = "bare", "bare again"
POLICIES = ("still", "idle", "full")
PIECES = ("still", "one", "two", "three", "probed", "idle", "full")

Lane: TypeAlias = tuple[str, int]
"""What generates, and which of its twins."""

_PROMPT = 32


@dataclass(frozen=True, slots=True)
class Added:
    """What a lane's steps took more than the bare model's, and a request as such, in us a row."""

    percent: Figure
    us_step: Figure
    cpu_percent: Figure
    cpu_us_step: Figure
    us_request: float


def compare(
    made: Setting, rows: int, tokens: int, rounds: int, twins: int, names: tuple[str, ...] = POLICIES
) -> dict[str, Any]:
    """Return what each policy adds to a step, and to a request, at a batch of ``rows``."""
    with _lanes(made, names, twins) as lanes:
        kinds = list(dict.fromkeys(kind for kind, _ in lanes))
        found: dict[str, Taken] = {kind: Taken() for kind in kinds}
        requests: dict[str, list[float]] = {kind: [] for kind in kinds}
        for turn in range(rounds):
            took = lockstep(lanes, _arguments(made, rows, said(made, tokens + 1, turn), turn), turn)
            asked = _requests(lanes, made, rows, turn)
            for kind in kinds:
                same = [lane for lane in lanes if lane[0] == kind]
                found[kind].wall_s += _middle([took[lane].wall_s for lane in same])
                found[kind].cpu_s += _middle([took[lane].cpu_s for lane in same])
                requests[kind].append(statistics.median(asked[lane] for lane in same))
    bare = found[BARE]
    return {
        "rows": rows,
        "steps": len(bare.wall_s),
        "bare_us_step": statistics.median(bare.wall_s) * 1e6,
        "bare_cpu_us_step": statistics.median(bare.cpu_s) * 1e6,
        "added": {
            name: _added(found[name], bare, list(map(sub, asked_s, requests[BARE])), rows)
            for name, asked_s in requests.items()
            if name != BARE
        },
    }


def _middle(steps: Sequence[Sequence[float]]) -> list[float]:
    """Return the median of each step over twins."""
    return [statistics.median(step) for step in zip(*steps, strict=True)]


@contextmanager
def _lanes(made: Setting, names: tuple[str, ...], twins: int) -> Iterator[dict[Lane, Callable[..., Any]]]:
    """Give the bare model twice and a guard for each policy, ``twins`` of each; all have been used before."""
    with ExitStack() as stack:
        lanes: dict[Lane, Callable[..., Any]] = {}
        for twin in range(twins):
            lanes[BARE, twin] = made.twin().model.generate
            lanes[AGAIN, twin] = made.twin().model.generate
            for name in names:
                lanes[name, twin] = stack.enter_context(made.twin().guard(name)).generate
        # As in a server that has run for a while: each word has been read, most pairs of words have not.
        lockstep(lanes, _arguments(made, 1, known_words(made)), 0)
        yield lanes


def calls_in_turn(made: Setting, tokens: int, rounds: int) -> dict[str, Figure]:
    """Return what each policy adds to a step in us, its threads included, at a batch of one."""
    with _lanes(made, POLICIES, twins=1) as lanes:
        alone = {kind: generate for (kind, _), generate in lanes.items()}
        return whole(
            alone, lambda turn: _arguments(made, 1, said(made, tokens + 1, turn), turn), rounds, BARE
        )


def _arguments(made: Setting, rows: int, words: Sequence[int], turn: int = 0) -> dict[str, Any]:
    """Return the arguments of a call that says ``words`` behind a prompt of random ones."""
    return {
        **prompts(made, rows, _PROMPT, turn),
        "max_new_tokens": len(words),
        "min_new_tokens": len(words),
        "do_sample": False,
        "logits_processor": [Saying(words, _PROMPT)],
    }


def _requests(
    lanes: Mapping[Lane, Callable[..., Any]], made: Setting, rows: int, turn: int
) -> dict[Lane, float]:
    """Return how many seconds a request for one token took in each lane."""
    # Another prompt than that of the steps, whose words have been read.
    arguments = _arguments(made, rows, said(made, 1, turn), 10_000 + turn)
    found: dict[Lane, float] = {}
    for lane in random.Random(turn).sample(list(lanes), len(lanes)):
        begun = time.perf_counter()
        lanes[lane](**arguments)
        found[lane] = time.perf_counter() - begun
    return found


def _added(own: Taken, bare: Taken, asked_s: list[float], rows: int) -> Added:
    walls = list(zip(own.wall_s, bare.wall_s, strict=True))
    cpus = list(zip(own.cpu_s, bare.cpu_s, strict=True))
    return Added(
        percent=figure([100 * (a / b - 1) for a, b in walls]),
        us_step=figure([1e6 * (a - b) for a, b in walls]),
        cpu_percent=figure([100 * (a / b - 1) for a, b in cpus]),
        cpu_us_step=figure([1e6 * (a - b) for a, b in cpus]),
        us_request=statistics.median(asked_s) * 1e6 / rows,
    )


def spread(processes: int, rounds: int, tokens: int, twins: int) -> dict[str, Any]:
    """Measure batch 1 in fresh processes; return median, lowest and highest of each figure's medians."""
    words = [sys.executable, "-m", "benchmarks.cost", "--batch-1", "--json"]
    words += ["--rounds", str(rounds), "--tokens", str(tokens), "--twins", str(twins)]
    runs = [
        json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)["batch_1"]
        for _ in range(processes)
    ]
    figures: dict[str, Any] = {"processes": processes}
    for name in (AGAIN, *POLICIES):
        for unit in ("percent", "us_step", "cpu_percent", "cpu_us_step"):
            values = sorted(run["added"][name][unit]["median"] for run in runs)
            figures[f"{name}, {unit}"] = [
                round(value, 1) for value in (statistics.median(values), values[0], values[-1])
            ]
    return figures


_TITLES = {
    "": 14,
    "% of a step": 26,
    "us a step": 26,
    "% of its CPU": 26,
    "us of CPU": 26,
    "us a request": 14,
}


def show(result: Mapping[str, Any]) -> str:
    """Return the table of one ``compare``."""
    rows = result["rows"]
    lines = [
        f"batch {rows}: {result['steps']} steps each; a step of the bare model takes "
        f"{result['bare_us_step']:,.0f} us, {result['bare_cpu_us_step']:,.0f} us of CPU. Added (95 %):",
        "".join(f"{title:>{width}}" for title, width in _TITLES.items()),
    ]
    for name, added in result["added"].items():
        told = ((added.percent, 1), (added.us_step, 0), (added.cpu_percent, 1), (added.cpu_us_step, 0))
        cells = "".join(f"{value.shown(digits):>26}" for value, digits in told)
        lines.append(f"  {name:12}{cells}{added.us_request:>14,.0f}")
    if rows > 1:
        each = {name: f"{added.us_step.median / rows:.1f}" for name, added in result["added"].items()}
        lines.append("  us a row and step: " + ", ".join(f"{name} {value}" for name, value in each.items()))
    return "\n".join(lines)


def _as_json(results: Mapping[str, Any]) -> str:
    return json.dumps(results, default=asdict)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--twins", type=int, default=3, help="of each way of generating")
    parser.add_argument("--pieces", action="store_true", help="policies that have one part more each")
    parser.add_argument("--batch-1", action="store_true", help="measure batch 1 alone")
    parser.add_argument("--processes", type=int, metavar="N", help="batch 1 in N fresh processes")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.processes:
        figures = spread(given.processes, given.rounds, given.tokens, given.twins)
        print(json.dumps(figures, indent=None if given.json else 2))
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        made = setting(Path(name))
        names = PIECES if given.pieces else POLICIES
        results: dict[str, Any] = {
            "batch_1": compare(made, 1, given.tokens, given.rounds, given.twins, names)
        }
        if not given.json:
            print(show(results["batch_1"]), flush=True)
        if not given.batch_1:
            results["batch_32"] = compare(made, 32, given.tokens, max(1, given.rounds // 4), given.twins)
            results["calls_in_turn_us_step"] = calls_in_turn(made, given.tokens, 3 * given.rounds)
            results["text_length"] = text_length(made, given.tokens, given.rounds)
    if given.json:
        print(_as_json(results))
    elif not given.batch_1:
        print(show(results["batch_32"]))
        print("batch 1, whole calls in turn, us a step (95 %), what a policy's threads take included:")
        print("  " + ", ".join(f"{n} {f.shown(0)}" for n, f in results["calls_in_turn_us_step"].items()))
        for title, value in results["text_length"].items():
            print(f"  {title}: {value}")


if __name__ == "__main__":
    main()
