"""What is wrong with steering beyond its shape: vectors, amounts, bounds, schedules."""

from __future__ import annotations

from collections.abc import Iterator

from guardsteer.rules.access import child_of, entries_of, many_of, number_of, text_of
from guardsteer.rules.document import Entry, MappingNode, ScalarNode
from guardsteer.rules.places import Report, closest, shown

__all__ = ["STEERING", "check_profiles", "check_steering", "check_vector", "missing"]

STEERING = ("add", "subtract", "ablate", "clamp")
_ANY_AMOUNT = frozenset(("vector", "keep_norm", "ramp", "half_life", "stronger", "until"))
_ANY_BOUND = frozenset(("vector", "keep_norm", "until"))


def check_steering(report: Report, holder: MappingNode, vectors: dict[str, Entry]) -> dict[str, str]:
    """Check the steering of a rule or profile; return each vector that it names, with the operator."""
    steered: dict[str, str] = {}
    for operator, node in _steers(holder):
        if operator in ("add", "subtract"):
            _check_amount(report, node)
        elif operator == "clamp":
            _check_bounds(report, node)
        vector = text_of(child_of(node, "vector"))
        if vector is None:
            continue
        check_vector(report, vector, vectors)
        if vector.text in steered:
            places = f"in '{steered[vector.text]}' and in '{operator}'"
            report.add(vector.start, f"the vector {shown(vector.text)} is named twice, {places}", "keep one")
        steered[vector.text] = operator
        if operator in ("add", "subtract"):
            _check_cap(report, node, vectors.get(vector.text))
    return steered


def _steers(holder: MappingNode) -> Iterator[tuple[str, MappingNode]]:
    for operator in STEERING:
        for item in many_of(child_of(holder, operator)):
            if isinstance(item, MappingNode):
                yield operator, item


def check_vector(report: Report, node: ScalarNode, vectors: dict[str, Entry]) -> None:
    """Add a problem where there is no such vector."""
    missing(report, node, vectors, "vector")


def missing(report: Report, node: ScalarNode, known: dict[str, Entry], what: str) -> bool:
    """Add a problem where ``known`` has no such name; return whether it has none."""
    if node.text in known:
        return False
    report.add(node.start, f"there is no {what} {shown(node.text)}", closest(node.text, known, f"{what}s"))
    return True


def _check_amount(report: Report, steer: MappingNode) -> None:
    strength, alpha = steer.entries.get("strength"), steer.entries.get("alpha")
    if "vector" in steer.entries and steer.entries.keys() <= _ANY_AMOUNT:
        hint = "give 'strength' (in units of the block's norm) or 'alpha'"
        report.add(steer.start, "how much is missing", hint)
    if strength is not None and alpha is not None:
        report.add(alpha.start, "both 'strength' and 'alpha' are given", "keep one")


def _check_cap(report: Report, steer: MappingNode, vector: Entry | None) -> None:
    strength = child_of(steer, "strength")
    amount = number_of(strength)
    most = number_of(child_of(vector.node, "max_strength")) if vector is not None else None
    if strength is not None and amount is not None and most is not None and amount > most > 0:
        line = report.place(vector.start)[0] if vector is not None else 0
        message = f"'strength' is {amount:g}, more than the vector's 'max_strength' {most:g}"
        report.add(strength.start, message, f"the vector is on line {line}")


def _check_bounds(report: Report, steer: MappingNode) -> None:
    if "vector" in steer.entries and steer.entries.keys() <= _ANY_BOUND:
        report.add(steer.start, "a bound is missing", "give 'low', 'high' or both")
    low, high = number_of(child_of(steer, "low")), number_of(child_of(steer, "high"))
    if low is not None and high is not None and low > high:
        message = f"'low' must be at most 'high', got {low:g} > {high:g}"
        report.add(steer.entries["low"].node.start, message, "exchange them")


def check_profiles(report: Report, root: MappingNode, vectors: dict[str, Entry]) -> None:
    """Check the steering of every profile."""
    for entry in entries_of(root, "profiles").values():
        if isinstance(entry.node, MappingNode) and not report.full:
            check_steering(report, entry.node, vectors)
