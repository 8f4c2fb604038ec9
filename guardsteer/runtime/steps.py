"""One decided step of a row, and what there is to tell of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from guardsteer.core.plan import Plan
from guardsteer.runtime.fragile import Befallen

__all__ = [
    "Note",
    "Step",
    "cleared",
    "first_from",
    "step_at",
    "tokens_of",
    "unsettled",
    "unsteer",
    "with_written",
]


@dataclass(frozen=True, slots=True)
class Note:
    """What changed at a step, kept until the step is certain to stay.

    ``incidents`` tell what befell classifiers.
    """

    changes: tuple[Any, ...]
    signals: tuple[float, ...]
    incidents: tuple[Befallen, ...] = ()


class Step:
    """One decided step; ``key`` identifies the tokens from the prompt up to here, ``written`` counts them.

    ``index`` counts decode iterations: it is ahead of ``written`` where text was taken back. ``complete``
    is False while the step waits for a probe. ``cleared`` belongs to the function of that name. ``anchor``
    counts the tokens up to the last end of a sentence.
    """

    __slots__ = (
        "anchor",
        "cleared",
        "complete",
        "index",
        "key",
        "note",
        "parent",
        "plan",
        "token",
        "written",
    )

    def __init__(
        self, parent: Step | None, index: int, token: int, key: int, plan: Plan, written: int
    ) -> None:
        self.parent = parent
        self.index = index
        self.written = written
        self.cleared = -1
        self.anchor: int = 0 if parent is None else parent.anchor
        self.token = token
        self.key = key
        self.plan = plan
        self.note: Note | None = None
        self.complete = False


def cleared(step: Step | None) -> int:
    """Return how many tokens may be released once ``step`` is decided, by what plans so far hold back.

    Where nothing is held back, the token that was not read yet may be too. What was released stays so.
    """
    waiting: list[Step] = []
    while step is not None and step.cleared < 0:
        waiting.append(step)
        step = step.parent
    released = 0 if step is None else step.cleared
    for later in reversed(waiting):
        plan = later.plan
        if plan.halt < 0 and plan.revise < 0:
            free = later.written + 1 if plan.hold_back < 0 else later.written - plan.hold_back
            released = max(released, free)
        later.cleared = released
    return released


def step_at(newest: Step, last: int) -> Step:
    """Return the step that stood at ``last``: the newest of a chain whose index is not above it."""
    step = newest
    while step.index > last and step.parent is not None:
        step = step.parent
    return step


def with_written(newest: Step, written: int) -> Step:
    """Return the newest step of a chain behind which no more than ``written`` tokens stood."""
    step = newest
    while step.written > written and step.parent is not None:
        step = step.parent
    return step


def first_from(newest: Step, index: int) -> Step:
    """Return the oldest step of a chain whose index is ``index`` or above, the newest if there is none."""
    step = newest
    while step.parent is not None and step.parent.index >= index:
        step = step.parent
    return step


def unsteer(newest: Step, first: int, idle: tuple[float, ...]) -> bool:
    """Take the strengths out of the plans of steps from ``first`` on; return whether there were any."""
    found = False
    step: Step | None = newest
    while step is not None and step.index >= first:
        if any(step.plan.strengths):
            step.plan = replace(step.plan, strengths=idle)
            step.note = step.note or Note((), ())
            found = True
        step = step.parent
    return found


def tokens_of(newest: Step) -> list[int]:
    """Return the tokens that were written up to the end of a chain, in order."""
    tokens: list[int] = []
    step: Step | None = newest
    while step is not None:
        if step.written:
            tokens.append(step.token)
        step = step.parent
    return tokens[::-1]


def unsettled(newest: Step, first: int) -> list[Step]:
    """Return the steps from the oldest that waits for a probe, not before step ``first``, to the newest."""
    chain: list[Step] = []
    waiting = 0
    step: Step | None = newest
    while step is not None and step.index >= first:
        chain.append(step)
        if not step.complete:
            waiting = len(chain)
        step = step.parent
    return chain[:waiting][::-1]
