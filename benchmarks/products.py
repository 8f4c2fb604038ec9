"""What one probe's products cost past torch and by torch: in a loop, and between two blocks of a pass.

``python -m benchmarks.products [--passes 150] [--json]``. A random Llama of 15M parameters, one thread. Each
way is taken behind the second block in turn, in an order drawn anew; the figure is the median, less that of
doing nothing there. Then wider states and batches in a loop, and how many of 32 rows have another product in
their batch than alone.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks._cost_setting import setting
from guardsteer.host.products import EXCHANGE

_SHAPES = ((1, 288), (32, 288), (1, 4096), (32, 4096))

Way = Callable[..., Any]


def ways(weight: Tensor) -> dict[str, Way]:
    """Return the ways to the products of states with ``weight: [1, width]``, as lists of numbers."""
    exchange = EXCHANGE
    if exchange is None:
        raise SystemExit("the extension is not in use here: guardsteer doctor says why")

    def by_torch(hidden: Tensor) -> Any:
        found = torch.nn.functional.linear(hidden, weight)
        return found.tolist() if found.shape == (*hidden.shape[:2], 1) else None

    return {"past torch": lambda hidden: exchange.products(hidden, weight), "by torch": by_torch}


def between_blocks(passes: int) -> dict[str, float]:
    """Return the microseconds of each way behind the second block of a pass."""
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        model = setting(Path(folder)).twin().model
        block = model.model.layers[1]
        inner: Way = block.forward
        ids = torch.tensor([[5]])
        tried = {**ways(torch.randn(1, model.config.hidden_size)), "nothing": lambda _: None}
        took: dict[str, list[float]] = {name: [] for name in tried}
        draw, chosen = random.Random(0), ""

        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden = inner(*args, **kwargs)
            begun = time.perf_counter()
            tried[chosen](hidden)
            took[chosen].append((time.perf_counter() - begun) * 1e6)
            return hidden

        block.forward = forward
        for _ in range(passes):
            for chosen in draw.sample(list(tried), len(tried)):  # noqa: B007  # the block's forward reads it
                model(input_ids=ids, use_cache=False)
    found = {name: statistics.median(times) for name, times in took.items()}
    nothing = found.pop("nothing")
    return {name: round(each - nothing, 1) for name, each in found.items()}


def in_a_loop(rows: int, width: int) -> dict[str, float]:
    """Return the microseconds of each way for ``rows`` states, over and over."""
    hidden, number = torch.randn(rows, 1, width), max(20, 2_000_000 // (rows * width))
    return {
        name: round(min(timeit.repeat(partial(way, hidden), number=number, repeat=5)) / number * 1e6, 1)
        for name, way in ways(torch.randn(1, width)).items()
    }


def unlike_alone(rows: int = 32, width: int = 288) -> dict[str, int]:
    """Return for each way how many rows have another product in a batch than alone."""
    hidden = torch.randn(rows, 1, width)
    return {
        name: sum(way(hidden)[row] != way(hidden[row : row + 1])[0] for row in range(rows))
        for name, way in ways(torch.randn(1, width)).items()
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passes", type=int, default=150)
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found: dict[str, Any] = {
        "between blocks, us": between_blocks(given.passes),
        **{f"in a loop, {rows} of {width}, us": in_a_loop(rows, width) for rows, width in _SHAPES},
        "of 32 rows unlike alone": unlike_alone(),
    }
    if given.json:
        print(json.dumps(found))
        return
    for name, each in found.items():
        print(f"{name:28}" + ", ".join(f"{way} {figure}" for way, figure in each.items()))


if __name__ == "__main__":
    main()
