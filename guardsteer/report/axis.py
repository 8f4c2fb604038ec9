"""Axes that all lanes of a page share: the steps of a row with their positions, or time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from guardsteer.pages.lanes import Tick

__all__ = ["StepAxis", "TimeAxis", "clock", "step_axis", "time_axis"]

_NS = 1_000_000_000
_MOST_TICKS = 9
_PROMPT_SHARE = 0.3
_NICE = (1, 2, 5)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_WIDTHS_S = (
    1, 2, 5, 10, 15, 30,
    _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE,
    _HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR,
    _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 28 * _DAY,
)  # fmt: skip
_MOST_BUCKETS = 48


@dataclass(frozen=True, slots=True)
class StepAxis:
    """A place for each step of a row, and on the left for the prompt's positions where something acted.

    ``prompt`` counts the positions that only the pass of step 0 goes over, 0 where they are not shown.
    ``first`` is the position of step 0. ``repeats``: text was taken back, so positions come again.
    """

    steps: int
    first: int
    prompt: int
    repeats: bool

    def step(self, step: int) -> float:
        """Return where a step begins, as a share of the width; one beyond the last is 1."""
        return (self._prompt_units + step) / self._units

    def middle(self, step: int) -> float:
        """Return the middle of a step."""
        return (self._prompt_units + step + 0.5) / self._units

    def position(self, position: int) -> float:
        """Return where a position of the prompt begins, positions behind it by their first step."""
        if position >= self.first:
            return self.step(position - self.first)
        return self._prompt_units * position / self.prompt / self._units if self.prompt else 0.0

    def ticks(self) -> Iterator[Tick]:
        """Yield round positions, or round steps where positions repeat."""
        if self.prompt:
            yield Tick(0.0, "0")
        every = _nice(self.steps + 1)
        base = 0 if self.repeats else self.first
        start = -(-base // every) * every
        for number, value in enumerate(range(start, base + self.steps + 1, every)):
            yield Tick(self.middle(value - base), str(value), minor=number % 2 == 1)

    @property
    def label(self) -> str:
        """What the axis counts."""
        return "step" if self.repeats else f"position (step 0: {self.first})"

    @property
    def _prompt_units(self) -> float:
        return min(float(self.prompt), max(4.0, _PROMPT_SHARE * (self.steps + 1))) if self.prompt else 0.0

    @property
    def _units(self) -> float:
        return self._prompt_units + self.steps + 1


def step_axis(steps: int, prompt_tokens: int, *, in_prompt: bool, repeats: bool) -> StepAxis:
    """Return the axis of a row with ``steps`` as its last step."""
    first = max(prompt_tokens - 1, 0)
    return StepAxis(steps, first, first if in_prompt else 0, repeats)


def _nice(count: int) -> int:
    size = 1
    while True:
        for factor in _NICE:
            if count / (size * factor) <= _MOST_TICKS:
                return size * factor
        size *= 10


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """Buckets of ``width_s`` seconds, ``count`` of them, from ``start_ns`` (UTC since 1970) on."""

    start_ns: int
    width_s: int
    count: int

    @property
    def end_ns(self) -> int:
        """Where the last bucket ends."""
        return self.start_ns + self.count * self.width_s * _NS

    def bucket(self, time_ns: int) -> int:
        """Return the bucket of a time; what lies outside counts to the first or the last."""
        place = (time_ns - self.start_ns) // (self.width_s * _NS)
        return min(max(int(place), 0), self.count - 1)

    def place(self, time_ns: int) -> float:
        """Return a time's share of the width."""
        return (time_ns - self.start_ns) / (self.end_ns - self.start_ns)

    def edges(self, bucket: int) -> tuple[float, float]:
        """Return where a bucket begins and ends, as shares of the width."""
        return bucket / self.count, (bucket + 1) / self.count

    def name(self, bucket: int) -> str:
        """Return when a bucket begins."""
        return clock(self.start_ns + bucket * self.width_s * _NS, seconds=self.width_s < _MINUTE)

    def ticks(self) -> Iterator[Tick]:
        """Yield the beginnings of buckets, few enough to be read."""
        every = _nice(self.count * 2) if self.count > 4 else 1
        before = ""
        for number, bucket in enumerate(range(0, self.count, every)):
            day, time = self.name(bucket).split(" ")
            shown = day if self.width_s >= _DAY else time if day == before else f"{day[5:]} {time}"
            before = day
            yield Tick(self.edges(bucket)[0], shown, minor=number % 2 == 1)

    @property
    def width(self) -> str:
        """How long a bucket is, in words."""
        for size, word in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute"), (1, "second")):
            if self.width_s % size == 0:
                number = self.width_s // size
                return word if number == 1 else f"{number} {word}s"
        return f"{self.width_s} seconds"


def time_axis(first_ns: int, last_ns: int) -> TimeAxis:
    """Return buckets of a round length that hold all from ``first_ns`` to ``last_ns``, 48 at most."""
    for width_s in _WIDTHS_S:
        start = first_ns // (width_s * _NS)
        if last_ns // (width_s * _NS) - start < _MOST_BUCKETS:
            break
    else:
        width_s = -(-(last_ns - first_ns) // (_NS * _DAY * (_MOST_BUCKETS - 1))) * _DAY
        start = first_ns // (width_s * _NS)
    count = last_ns // (width_s * _NS) - start + 1
    return TimeAxis(start * width_s * _NS, width_s, int(max(count, 1)))


def clock(time_ns: int, *, seconds: bool = True) -> str:
    """Return a time as ``2026-11-21 09:13:30``, in UTC; as it stands where no calendar has it."""
    try:
        when = datetime.fromtimestamp(time_ns // _NS, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{time_ns} ns"
    return when.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
