"""Several ways of generating, a step of each in turn, so that all meet the same machine within a moment.

A shared machine's pace changes from second to second by more than what is measured. Here every way of
generating (a *lane*) runs in a thread of its own, and its streamer stops it behind each token until it is its
turn again; the order is drawn anew for every step. So the difference of two lanes at one step is that of
steps taken within milliseconds of each other, and its median over many steps moves little. An interval comes
from drawing blocks of consecutive steps with replacement.
"""

from __future__ import annotations

import gc
import random
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

__all__ = ["SKIPPED", "Figure", "Taken", "figure", "lockstep"]

_Name = TypeVar("_Name")

_BLOCK = 16
_DRAWS = 400
SKIPPED = 2
"""Puts before the first step that counts: the prompt, and the token that its pass chose."""


@dataclass(slots=True)
class Taken:
    """Seconds of each step of a lane: on the clock, and of the process's processor time."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


class _Lane(threading.Thread):
    """One call of ``generate`` that waits for its turn behind each token; it is its own streamer."""

    def __init__(self, generate: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        super().__init__(daemon=True)
        self._generate, self._arguments = generate, arguments
        self.turn, self.rest = threading.Semaphore(0), threading.Semaphore(0)
        self.taken = Taken()
        self.done = False
        self.error: BaseException | None = None
        self._puts = 0
        self._begun = (0.0, 0.0)

    def put(self, _: Any) -> None:
        """End a step, and begin the next when it is this lane's turn."""
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        self._puts += 1
        if self._puts > SKIPPED:
            self.taken.wall_s.append(wall_s - self._begun[0])
            self.taken.cpu_s.append(cpu_s - self._begun[1])
        self.rest.release()
        self.turn.acquire()
        self._begun = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """Do nothing: the steps have all been counted."""

    def run(self) -> None:
        torch.set_num_threads(1)
        self.turn.acquire()
        try:
            self._generate(**self._arguments, streamer=self)
        except BaseException as error:
            self.error = error
        self.done = True
        self.rest.release()


def lockstep(
    lanes: Mapping[_Name, Callable[..., Any]], arguments: Mapping[str, Any], seed: int
) -> dict[_Name, Taken]:
    """Return what each lane's steps took; all are called with ``arguments``. Raises what one raised."""
    threads = {name: _Lane(generate, arguments) for name, generate in lanes.items()}
    order, draw = list(threads.values()), random.Random(seed)
    gc.collect()
    for lane in order:
        lane.start()
    while not all(lane.done for lane in order):
        draw.shuffle(order)
        for lane in order:
            if not lane.done:
                lane.turn.release()
                lane.rest.acquire()
    for lane in order:
        lane.join()
        if lane.error is not None:
            raise lane.error
    return {name: lane.taken for name, lane in threads.items()}


@dataclass(frozen=True, slots=True)
class Figure:
    """A median over pairs of steps, with an interval of 95 %."""

    median: float
    low: float
    high: float

    def shown(self, digits: int) -> str:
        """Return it in words."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def figure(values: Sequence[float], seed: int = 0, block: int = _BLOCK) -> Figure:
    """Return the median of ``values``, in the order in which they were taken, and its interval.

    So many as ``block`` in a row are drawn together, since what disturbs one disturbs the next.
    """
    blocks = [values[start : start + block] for start in range(0, len(values), block)]
    draw = random.Random(seed)
    medians = sorted(
        statistics.median([value for block in draw.choices(blocks, k=len(blocks)) for value in block])
        for _ in range(_DRAWS)
    )
    low, high = medians[round(0.025 * _DRAWS)], medians[round(0.975 * _DRAWS) - 1]
    return Figure(statistics.median(values), low, high)
