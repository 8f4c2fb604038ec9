"""Several ways of generating, a whole call of each in turn, so that each one's threads are its own cost.

Step by step in turn (``_lockstep``), what a lane does beside its steps, in a thread that writes its audit
for example, falls on whichever lane is at its turn. Here it falls on the lane that brings it. The price is
noise: calls lie seconds apart, and a shared machine's pace changes meanwhile. So a lane's figure of a round
is the median of its steps there, less that of the bare model in the same round.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from benchmarks._lockstep import SKIPPED, Figure, figure

__all__ = ["whole"]


class _Ticks:
    """A streamer that notes when tokens come."""

    def __init__(self) -> None:
        self.at_s: list[float] = []

    def put(self, _: Any) -> None:
        """Note the moment."""
        self.at_s.append(time.perf_counter())

    def end(self) -> None:
        """Do nothing: the call is over."""


def whole(
    lanes: Mapping[str, Callable[..., Any]],
    arguments: Callable[[int], Mapping[str, Any]],
    rounds: int,
    bare: str,
) -> dict[str, Figure]:
    """Return what a step of each lane takes more than one of the lane ``bare``, in us.

    ``arguments`` gives those of a round, the same for each lane; the order is drawn anew for every round.
    """
    found: dict[str, list[float]] = {name: [] for name in lanes}
    for turn in range(rounds):
        given = arguments(turn)
        for name in random.Random(turn).sample(list(lanes), len(lanes)):
            ticks = _Ticks()
            lanes[name](**given, streamer=ticks)
            at_s = ticks.at_s[SKIPPED:]
            steps_s = [after - before for before, after in pairwise(at_s)]
            found[name].append(statistics.median(steps_s) * 1e6)
    return {
        name: figure([own - other for own, other in zip(took, found[bare], strict=True)], block=1)
        for name, took in found.items()
        if name != bare
    }
