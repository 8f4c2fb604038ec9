"""One decided step of a row, and what there is to tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from guardsteer.core.plan import Plan
from guardsteer.runtime.fragile import Befallen

__all__ = ["Note", "Step"]


@dataclass(frozen=True, slots=True)
class Note:
    """What changed at a step, kept until the step is certain to stay.

    ``incidents`` tell what befell classifiers.
    """

    changes: tuple[Any, ...]
    signals: tuple[float, ...]
    incidents: tuple[Befallen, ...] = ()


class Step:
    """One decided step; ``key`` identifies the tokens from the prompt up to here.

    ``complete`` is False while the step waits for a probe.
    """

    __slots__ = ("complete", "index", "key", "note", "parent", "plan", "token")

    def __init__(self, parent: Step | None, index: int, token: int, key: int, plan: Plan) -> None:
        self.parent = parent
        self.index = index
        self.token = token
        self.key = key
        self.plan = plan
        self.note: Note | None = None
        self.complete = False
