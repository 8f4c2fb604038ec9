"""How the strength of one use of a vector goes while its rule fires."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from guardsteer.core.policy import Operator, ScheduleSpec, SteerSpec

__all__ = ["SPENT", "Use"]

SPENT = 0.01
"""The share from which on what decays by half-lives is 0, so that it takes finitely many values."""


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a vector by a rule.

    ``magnitude`` is what the rule asks for before any bound, in units of the operator; ``most`` bounds it
    and what a schedule makes of it. ``sign`` is -1.0 for ``subtract``, else 1.0.
    """

    channel: int
    operator: Operator
    magnitude: float
    most: float = math.inf
    sign: float = 1.0
    schedule: ScheduleSpec | None = None

    @classmethod
    def of(cls, steer: SteerSpec, channel: int, magnitude: float, max_strength: float | None) -> Use:
        """Return the use ``steer``, whose strength is ``magnitude``; a share is never above 1."""
        pushes = steer.operator in ("add", "subtract")
        most = 1.0 if not pushes else math.inf if max_strength is None else max_strength
        sign = -1.0 if steer.operator == "subtract" else 1.0
        return cls(channel, steer.operator, magnitude, most, sign, steer.schedule)

    @property
    def requested(self) -> float:
        """The signed strength that the rule asks for, before any bound or schedule."""
        return self.sign * self.magnitude

    def overridden(self, magnitude: float) -> Use:
        """Return the use at another strength; at 0.0 it stays 0.0, whatever the schedule."""
        if self.operator not in ("add", "subtract"):
            return self
        return replace(self, magnitude=magnitude, schedule=self.schedule if magnitude else None)

    def strength(self, age: int = 0, ended: bool = False) -> float:
        """Return the signed strength ``age`` steps after the rule began to fire.

        ``ended`` says whether the sentence in which it began has ended. A ramp is at ``1 / ramp`` at age
        0 and whole at age ``ramp - 1``.
        """
        value = self._value(age, ended)
        if value <= 0.0:
            return 0.0
        return self.sign * (1.0 if self.operator == "clamp" else value)

    def _value(self, age: int, ended: bool) -> float:
        schedule = self.schedule
        if schedule is None:
            return min(self.magnitude, self.most)
        if ended and schedule.until_sentence_end:
            return 0.0
        value = self.magnitude
        if schedule.every is not None:
            value += schedule.by * (age // schedule.every)
        value = min(value, self.most)
        if schedule.ramp is not None and age + 1 < schedule.ramp:
            value *= (age + 1) / schedule.ramp
        if schedule.half_life is not None:
            left = _left(age, schedule.half_life)
            value = value * left if left > SPENT else 0.0
        return value

    def rests(self, age: int, ended: bool) -> bool:
        """Return whether the strength stays what it is at this ``age`` as long as the rule fires."""
        schedule = self.schedule
        if schedule is None or (ended and schedule.until_sentence_end):
            return True
        if schedule.half_life is not None:
            return _left(age, schedule.half_life) <= SPENT
        if schedule.until_sentence_end or (schedule.ramp is not None and age + 1 < schedule.ramp):
            return False
        if schedule.every is None or schedule.by == 0.0:
            return True
        return self.magnitude + schedule.by * (age // schedule.every) >= self.most


def _left(age: int, half_life: float) -> float:
    return math.exp2(-age / half_life)
