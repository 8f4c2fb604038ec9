"""What became of a rule's actions over some steps: applied, cut, outranked, disabled, shadowed."""

from __future__ import annotations

from collections.abc import Iterator

from guardsteer.core.policy import Policy, RuleSpec
from guardsteer.evaluate.timeline import Act, RowRecord

__all__ = ["effects_of"]

_DONE = {"add": "added", "subtract": "subtracted", "ablate": "ablated", "clamp": "clamped"}


def effects_of(
    policy: Policy, row: RowRecord, rule: RuleSpec, steps: tuple[int, int], fires: bool, mode: str
) -> Iterator[str]:
    """Yield what ``rule`` did over ``steps`` (first and last), or why it came to nothing."""
    for vector in dict.fromkeys(steer.vector for steer in rule.steer):
        acts = [act for act in row.acts if (act.began.rule, act.began.vector) == (rule.id, vector)]
        mine = [(span, act) for act in acts if (span := _within(row, act, steps)) is not None]
        parts = [_applied(vector, mine)] if mine else []
        if fires:
            for gap in _gaps([span for span, _ in mine], steps):
                why = _why_not(policy, row, rule, vector, gap, mode)
                if not mine:
                    parts.append(f"{vector} left alone: {why or _where(policy, vector)}")
                elif why:
                    parts.append(f"{_steps(gap)}: {why}")
        if parts:
            yield "; ".join(parts)
    if fires:
        yield from _on_the_row(row, rule, steps, "would have " if mode == "shadow" else "")


def _on_the_row(row: RowRecord, rule: RuleSpec, steps: tuple[int, int], would: str) -> Iterator[str]:
    if rule.disable:
        yield f"{would}disabled {', '.join(rule.disable)}"
    if rule.hold_back is not None:
        yield f"{would}held back {rule.hold_back} token(s)"
    if rule.halt:
        halted = any(halt.rule == rule.id and steps[0] <= halt.step <= steps[1] for halt in row.halts)
        yield f"{would}halted the row" if halted else "no halt in the log"
    if rule.revise is not None:
        done = sum(each.rule == rule.id and steps[0] <= each.step <= steps[1] for each in row.revisions)
        yield f"{would}revised {done} time(s)"
    if rule.observe:
        yield "observed"


def _within(row: RowRecord, act: Act, steps: tuple[int, int]) -> tuple[int, int] | None:
    """Return the steps of ``steps`` at which an activation acted."""
    first = max(row.step_at(act.first, act.revised), steps[0])
    last = min(row.steps if act.last is None else row.step_at(act.last, act.revised), steps[1])
    return (first, last) if first <= last else None


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def _gaps(spans: list[tuple[int, int]], steps: tuple[int, int]) -> list[tuple[int, int]]:
    gaps, start = [], steps[0]
    for first, last in _joined(spans):
        if first > start:
            gaps.append((start, first - 1))
        start = last + 1
    return [*gaps, (start, steps[1])] if start <= steps[1] else gaps


def _steps(steps: tuple[int, int]) -> str:
    return f"step {steps[0]}" if steps[0] == steps[1] else f"steps {steps[0]} to {steps[1]}"


def _applied(vector: str, mine: list[tuple[tuple[int, int], Act]]) -> str:
    acts = [act.began for _, act in mine]
    operators = ", ".join(dict.fromkeys(_DONE.get(act.operator, act.operator) for act in acts))
    strengths = [act.applied for act in acts]
    strength = f"{strengths[0]:g}"
    if min(strengths) != max(strengths):
        strength += f" to {strengths[-1]:g}"
    where = " and ".join(map(_steps, _joined([span for span, _ in mine])))
    text = f"{operators} {vector} at {strength}, {where}"
    limits = dict.fromkeys(limit for act in acts for limit in act.limits)
    if limits:
        asked = max((act.requested for act in acts), key=abs)
        text += f", cut from {asked:g} by {' and '.join(limits)}"
    return f"would have {text}" if all(act.mode == "shadow" for act in acts) else text


def _why_not(
    policy: Policy, row: RowRecord, rule: RuleSpec, vector: str, steps: tuple[int, int], mode: str
) -> str:
    """Return why a rule that fires left a vector alone; empty where the vector does not act then at all."""
    if mode == "shadow" and not any(act.began.mode == "shadow" for act in row.acts):
        return "the rule is in shadow"
    for act in row.acts:
        other = next((spec for spec in policy.rules if spec.id == act.began.rule), rule)
        if act.began.vector == vector and other is not rule and _within(row, act, steps):
            return f"{other.id} decided it (priority {other.priority} over {rule.priority})"
    for spec in policy.rules:
        if vector in spec.disable and _fired(row, spec.id, steps):
            return f"{spec.id} disabled it"
    for halt in row.halts:
        if halt.step <= steps[1]:
            return f"{halt.rule} halted the row"
    if not _acts_at(policy, vector, steps):
        return ""
    return "no activation in the log: its strength was 0, or the kill switch was on"


def _fired(row: RowRecord, rule: str, steps: tuple[int, int]) -> bool:
    fires = False
    for turn in row.rules.get(rule, []):
        if turn.step > steps[1]:
            break
        fires = turn.state is True or (turn.step > steps[0] and fires)
    return fires


def _acts_at(policy: Policy, vector: str, steps: tuple[int, int]) -> bool:
    positions = _positions(policy, vector)
    generated, prompt = positions & {"generated", "all"}, positions - {"generated"}
    return bool((generated and steps[1] > 0) or (prompt and steps[0] == 0))


def _where(policy: Policy, vector: str) -> str:
    return f"it acts on {', '.join(sorted(_positions(policy, vector)))} alone"


def _positions(policy: Policy, vector: str) -> set[str]:
    return set(next(spec.positions for spec in policy.vectors if spec.name == vector))
