"""The rules of a row under which nothing is decided."""

from __future__ import annotations

from collections.abc import Sequence

from guardsteer.core.plan import Plan

__all__ = ["Resting"]


class Resting:
    """Stands for a row's rules where its policy is off: it hands out one idle plan and reads nothing."""

    __slots__ = ("_idle",)

    changes: tuple[()] = ()

    def __init__(self, idle: Plan) -> None:
        self._idle = idle

    def before(self, _: Sequence[float], sentences: int = 0) -> Plan:  # noqa: ARG002  # the signature of Row
        """Return the idle plan."""
        return self._idle

    def calm(self, _: Sequence[float]) -> None:
        """Return None: there are no scores that could keep to cells."""

    def skip(self) -> None:
        """Do nothing."""

    def take_revisions(self, _: Resting) -> None:
        """Do nothing: no rule takes text back here."""

    def fork(self) -> Resting:
        """Return itself; there is no state."""
        return self
