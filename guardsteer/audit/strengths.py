"""What acted on each token, rebuilt from the records of a request alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from guardsteer.audit.records import StoredEvent
from guardsteer.core.events import ActivationBegan, ActivationEnded, RequestStarted, RowRevised

__all__ = ["Activation", "activations_of", "strengths_of"]


@dataclass(frozen=True, slots=True)
class Activation:
    """A vector that acted on the positions from ``first`` to ``last``, both steered; ``began`` says how.

    ``last`` None: the log ends before the activation does, because the process was killed or goes on.
    """

    began: ActivationBegan
    first: int
    last: int | None

    @property
    def name(self) -> str:
        """The vector, behind its operator unless it is added or subtracted."""
        began = self.began
        return began.vector if began.operator in ("add", "subtract") else f"{began.operator} {began.vector}"

    @property
    def strength(self) -> float:
        """What was applied at each of these positions, in units of the block's residual norm."""
        return self.began.applied

    def covers(self, position: int) -> bool:
        """Tell whether it acted at ``position``; where ``last`` is None, at ``first`` for certain alone."""
        return self.first <= position <= (self.first if self.last is None else self.last)


def activations_of(
    trail: Iterable[StoredEvent], *, sequence: int = 0, track: str = "", mode: str = "enforce"
) -> tuple[Activation, ...]:
    """Return what acted on one row, in the order in which it began; nothing of what was taken back.

    ``trail`` are the records of one request, as ``guardsteer.audit.trail`` returns them. ``mode`` "shadow":
    what would have acted. ``track``: the name of a candidate. Where an id was used again, the last request
    of that name counts.
    """
    found: list[Activation] = []
    for stored in trail:
        event = stored.event
        if isinstance(event, RowRevised):
            # A candidate goes back with the row in force. What drops nothing or is in shadow undoes nothing.
            undoes = event.dropped > 0 and event.mode == "enforce"
            if undoes and (event.sequence, event.track) == (sequence, ""):
                found = _taken_back(found, event.position - 1)
            continue
        if not isinstance(event, ActivationBegan | ActivationEnded | RequestStarted):
            continue
        if (event.sequence, event.track) != (sequence, track):
            continue
        if isinstance(event, RequestStarted):
            found = []
        elif event.mode != mode:
            continue
        elif isinstance(event, ActivationBegan):
            found.append(Activation(event, event.position, None))
        else:
            _end(found, event)
    return tuple(found)


def strengths_of(
    trail: Iterable[StoredEvent], *, sequence: int = 0, track: str = "", mode: str = "enforce"
) -> dict[int, dict[str, float]]:
    """Return, by position, the strength that each vector acted with; without positions where nothing did.

    Positions count the row's own tokens from 0, prompt first. Strengths go by the vector's name where it is
    added or subtracted, else by operator and name ("ablate malice"): both may act at once. The arguments
    are those of ``activations_of``, which also says by which rule, at which blocks and with which alphas.
    """
    strengths: dict[int, dict[str, float]] = {}
    for activation in activations_of(trail, sequence=sequence, track=track, mode=mode):
        last = activation.first if activation.last is None else activation.last
        for position in range(activation.first, last + 1):
            strengths.setdefault(position, {})[activation.name] = activation.strength
    return dict(sorted(strengths.items()))


def _end(found: list[Activation], event: ActivationEnded) -> None:
    """Close the activation that ``event`` ends; one whose beginning is not in the records is not known."""
    for place in reversed(range(len(found))):
        under_way = found[place]
        began = under_way.began
        told = (began.vector, began.operator, began.rule, began.position)
        if under_way.last is None and told == (event.vector, event.operator, event.rule, event.first):
            found[place] = replace(under_way, last=event.last)
            return


def _taken_back(found: Iterable[Activation], end: int) -> list[Activation]:
    """Return what is left of activations when the positions from ``end`` on are decided anew."""
    return [
        replace(activation, last=None if activation.last is None else min(activation.last, end - 1))
        for activation in found
        if activation.first < end
    ]
