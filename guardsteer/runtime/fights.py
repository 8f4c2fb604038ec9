"""A warning, when a policy meets its model, of vectors that may act at once and fight there."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from guardsteer.core.policy import Policy, SteerSpec
from guardsteer.errors import VectorsFightWarning
from guardsteer.host import Point
from guardsteer.rules.meetings import Meeting, Meetings
from guardsteer.steer import Vector
from guardsteer.steer.quarrels import ALIKE, Pushed, cosines, quarrel
from guardsteer.steer.slots import Placed

__all__ = ["fights", "warn_of_fights"]

_PUSHES = ("add", "subtract")


def warn_of_fights(policy: Policy, vectors: Mapping[str, Vector], placed: Sequence[Placed]) -> None:
    """Warn by ``VectorsFightWarning`` of every two vectors of ``policy`` that fight."""
    for message in fights(policy, vectors, placed):
        warnings.warn(VectorsFightWarning(message), stacklevel=4)


def fights(policy: Policy, vectors: Mapping[str, Vector], placed: Sequence[Placed]) -> Iterator[str]:
    """Yield for every two vectors that may act at once and fight at a point they share what is wrong.

    ``vectors``, by name, and ``placed`` are those of the policy. Bounds on components (``clamp``) are not
    looked at: whether they bind depends on the state.
    """
    meetings: Meetings | None = None
    for first, second in combinations(placed, 2):
        alike = {p: c for p, c in cosines(first.directions, second.directions).items() if abs(c) >= ALIKE}
        if not alike:
            continue
        meetings = meetings or Meetings(policy)
        points = sorted(alike, key=lambda point: -abs(alike[point]))
        found = (
            (meeting, point, wrong)
            for meeting in meetings.of(first.spec.name, second.spec.name)
            for point in points
            if (wrong := _wrong(policy, vectors, meeting, (first, second), point, alike[point]))
        )
        worst = next(found, None)
        if worst is not None:
            yield _message(policy, *worst)


def _wrong(
    policy: Policy,
    vectors: Mapping[str, Vector],
    meeting: Meeting,
    pair: tuple[Placed, Placed],
    point: Point,
    cosine: float,
) -> str:
    operators = (meeting.first.operator, meeting.second.operator)
    if "clamp" in operators or operators == ("ablate", "ablate"):
        return ""
    if "ablate" in operators:
        return f"one is ablated and so takes away what the other pushes along it (cosine {cosine:+.2f})"
    pushes = [
        Pushed(
            steer.vector, _strongest(policy, steer, each), each.norms[point], _highest(steer, each, vectors)
        )
        for steer, each in zip((meeting.first, meeting.second), pair, strict=True)
    ]
    return quarrel(pushes[0], pushes[1], cosine, policy.budget)


def _strongest(policy: Policy, steer: SteerSpec, placed: Placed) -> float:
    """Return the signed strength that a use can reach, by its schedule and by what requests may choose."""
    strength = (
        steer.strength if steer.strength is not None else (steer.alpha or 0.0) * placed.strength_of_alpha
    )
    most = placed.spec.max_strength
    if steer.schedule is not None and steer.schedule.every is not None and most is not None:
        strength = max(strength, most)
    chosen = [each.high for each in policy.overrides if each.vector == steer.vector]
    strength = max([strength, *chosen])
    strength = strength if most is None else min(strength, most)
    return -strength if steer.operator == "subtract" else strength


def _highest(steer: SteerSpec, placed: Placed, vectors: Mapping[str, Vector]) -> float | None:
    """Return the end of the window that was found for such a use, None where none was."""
    found = vectors[steer.vector].card.recommended
    if found is None or tuple(sorted(found.blocks)) != placed.blocks:
        return None
    if set(found.positions) != set(placed.spec.positions):
        return None
    # A window that was found for a push that decays says nothing about one that stays.
    return None if found.schedule is not None and steer.schedule is None else found.high


def _message(policy: Policy, meeting: Meeting, point: Point, wrong: str) -> str:
    first, second = meeting.first.vector, meeting.second.vector
    if meeting.first_rule == meeting.second_rule:
        who = f"by rule {meeting.first_rule!r}"
    else:
        who = f"by rules {meeting.first_rule!r} and {meeting.second_rule!r}"
    against = "against" in wrong or "ablated" in wrong
    advice = "use one of them, or give the rules conditions that exclude each other"
    advice = advice if against else "lower both, set a budget, or let one act at a time"
    return (
        f"policy {policy.name!r}: vectors {first!r} and {second!r} may act at once at {point}, {who}, and "
        f"{wrong}; {advice} (guardsteer vectors compose measures what they do together)"
    )
