"""What a calibration tries: places, strengths and schedules."""

from __future__ import annotations

from dataclasses import dataclass

from guardsteer.core.policy import Position, ScheduleSpec
from guardsteer.errors import VectorError

__all__ = ["SCHEDULES", "STRENGTHS", "Place", "Search"]

STRENGTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
SCHEDULES: tuple[ScheduleSpec | None, ...] = (
    None,
    ScheduleSpec(half_life=3.0),
    ScheduleSpec(half_life=8.0),
    ScheduleSpec(until_sentence_end=True),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Blocks that a vector acts on together, and at which positions."""

    blocks: tuple[int, ...]
    positions: tuple[Position, ...] = ("last_prompt_token", "generated")


@dataclass(frozen=True, slots=True)
class Search:
    """What is tried. ``strengths`` are positive; with ``subtract`` the vector is subtracted.

    ``controls``: random vectors of equal norm. ``halvings``: how often the gap between the highest usable
    strength and the next one is halved to find the window's end.
    """

    places: tuple[Place, ...]
    strengths: tuple[float, ...] = STRENGTHS
    schedules: tuple[ScheduleSpec | None, ...] = SCHEDULES
    subtract: bool = False
    controls: int = 3
    halvings: int = 2
    seed: int = 0

    def check(self) -> None:
        """Return if there is something to try; ``VectorError`` otherwise."""
        ascending = list(self.strengths) == sorted(set(self.strengths))
        if not (self.places and self.schedules and self.strengths and ascending and self.strengths[0] > 0):
            raise VectorError("a search needs places, schedules and strengths above 0 in ascending order")
        if any(schedule is not None and schedule.every for schedule in self.schedules):
            raise VectorError(
                "a schedule that grows stronger without end has no window; leave out 'stronger'"
            )
        if self.controls < 1:
            raise VectorError(
                f"controls: got {self.controls}, expected at least 1 random vector to compare with"
            )
