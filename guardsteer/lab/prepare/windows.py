"""Whether a policy pushes a vector within the window on its card, and in the way that the window is for.

A window belongs to positions and to a schedule: strengths that are fine for a push that decays may be far too
much for one that stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guardsteer.core.policy import Policy, Position, ScheduleSpec, SteerSpec, VectorSpec
from guardsteer.lab.measure.effects import schedule_text
from guardsteer.steer import Recommendation
from guardsteer.steer.artifact import Schedule

__all__ = ["Use", "findings", "inside", "outside", "unmeasured", "uses_of"]


@dataclass(frozen=True, slots=True)
class Use:
    """One push of a vector by a rule.

    ``strength``: the most that it reaches, None where it grows without end; ``alpha`` in its place where the
    policy gives a raw coefficient.
    """

    rule: str
    vector: str
    positions: tuple[Position, ...]
    strength: float | None
    alpha: float | None
    schedule: ScheduleSpec | None

    def __str__(self) -> str:
        how = f"alpha {self.alpha:g}" if self.alpha is not None else "without end"
        if self.strength is not None:
            how = f"{self.strength:g}"
        return f"rule {self.rule!r} pushes {self.vector} by {how}"


def uses_of(policy: Policy, specs: Sequence[VectorSpec]) -> tuple[Use, ...]:
    """Return every push of the policy with one of its vectors ``specs``, in order."""
    by_name = {spec.name: spec for spec in specs}
    return tuple(
        use
        for rule in policy.rules
        for steer in rule.steer
        if steer.vector in by_name and steer.operator in ("add", "subtract")
        for use in _uses(rule.id, steer, by_name[steer.vector])
    )


def _uses(rule: str, steer: SteerSpec, spec: VectorSpec) -> Iterator[Use]:
    given = (rule, spec.name, spec.positions)
    if steer.strength is None:
        yield Use(*given, None, steer.alpha, steer.schedule)
        return
    if steer.strength:
        yield Use(*given, steer.strength, None, steer.schedule)
    if steer.schedule is not None and steer.schedule.every is not None:
        yield Use(*given, spec.max_strength, None, steer.schedule)


def outside(use: Use, window: Recommendation, norms: Sequence[float] = ()) -> str:
    """Return why ``use`` is outside ``window``; "" where it is not.

    ``norms``: residual norms of the window's blocks, by which an alpha becomes a strength; without them an
    alpha is not judged. A push that lasts less long, or at fewer positions, than the window's may be weaker
    than its low end.
    """
    strength = use.strength
    if use.alpha is not None:
        if not norms:
            return ""
        strength = use.alpha * len(norms) / sum(norms)
    told = f"its window on blocks {', '.join(map(str, window.blocks))} is {window.low:g} to {window.high:g}"
    told += f", best {window.recommended:g}, {_said(window.schedule)}"
    if strength is None or strength > window.high * (1 + 1e-6):
        return f"{use}, which is too strong: {told}"
    if not _no_longer(use.schedule, window.schedule):
        return f"{use}, {schedule_text(use.schedule)}, which lasts too long: {told}"
    if strength < window.low * (1 - 1e-6) and not unmeasured(use, window):
        return f"{use}, which is too weak to do anything: {told}"
    return ""


def unmeasured(use: Use, window: Recommendation) -> str:
    """Return in what ``use`` differs from what the window was found for, "" where in nothing."""
    parts = []
    if set(use.positions) != set(window.positions):
        parts.append(f"at {' + '.join(use.positions)} (found at {' + '.join(window.positions)})")
    if _as_schedule(use.schedule) != (window.schedule or Schedule()):
        parts.append(f"{schedule_text(use.schedule)} (found {_said(window.schedule)})")
    return f"{use} {' and '.join(parts)}: its window was found for another push" if parts else ""


def findings(
    uses: Sequence[Use], window: Recommendation, norms: Sequence[float] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what is outside ``window``, and what of the rest nothing measured."""
    beyond = [outside(use, window, norms) for use in uses]
    rest = [unmeasured(use, window) for use, wrong in zip(uses, beyond, strict=True) if not wrong]
    return tuple(filter(None, beyond)), tuple(filter(None, dict.fromkeys(rest)))


def inside(uses: Sequence[Use], window: Recommendation, norms: Sequence[float] = ()) -> tuple[str, ...]:
    """Return the pushes that are within ``window`` and such as it was found for."""
    return tuple(
        dict.fromkeys(
            f"{use} (window {window.low:g} to {window.high:g})"
            for use in uses
            if not outside(use, window, norms) and not unmeasured(use, window)
        )
    )


def _no_longer(used: ScheduleSpec | None, found: Schedule | None) -> bool:
    """Tell whether a push with schedule ``used`` is sure to last no longer than one with ``found``."""
    limits = found or Schedule()
    half_life = used.half_life if used is not None else None
    fades = limits.half_life is None or (half_life is not None and half_life <= limits.half_life)
    ends = not limits.until_sentence_end or (used is not None and used.until_sentence_end)
    return fades and ends


def _as_schedule(given: ScheduleSpec | None) -> Schedule:
    if given is None:
        return Schedule()
    return Schedule(ramp=given.ramp, half_life=given.half_life, until_sentence_end=given.until_sentence_end)


def _said(schedule: Schedule | None) -> str:
    if schedule is None:
        return schedule_text(None)
    fields = schedule.model_dump()
    return schedule_text(ScheduleSpec(**fields))
