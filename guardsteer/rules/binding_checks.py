"""What is wrong with a binding and with overrides beyond their shape."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from guardsteer.rules.access import child_of, entries_of, many_of, number_of, text_of
from guardsteer.rules.document import Entry, MappingNode, ScalarNode
from guardsteer.rules.names import REQUEST_KEYS
from guardsteer.rules.places import Report, closest, shown
from guardsteer.rules.steer_checks import check_vector
from guardsteer.rules.syntax import Type

__all__ = ["REQUEST_ID", "check_binding", "check_overrides"]

REQUEST_ID = "request.request"


def check_binding(
    report: Report, binding: MappingNode, rules: Collection[str], context: Mapping[str, Type]
) -> None:
    """Add what is wrong with ``binding`` of a policy with these rule ids and declared request keys."""
    for rule, entry in entries_of(binding, "rules").items():
        if rule not in rules:
            report.add(entry.start, f"there is no rule {shown(rule)}", closest(rule, rules, "rules"))
    rollout = child_of(binding, "rollout")
    by = text_of(child_of(rollout, "by")) if rollout is not None else None
    if by is not None:
        _check_key(report, by, {**REQUEST_KEYS, **context})
    _check_arms(report, binding)


def _check_key(report: Report, by: ScalarNode, types: Mapping[str, Type]) -> None:
    if by.text == REQUEST_ID:
        return
    head, _, key = by.text.partition(".")
    texts = [f"request.{name}" for name, kind in types.items() if kind == "string"]
    if head == "request" and key in types:
        if types[key] != "string":
            kind = "a list" if types[key] == "labels" else f"of type {types[key]}"
            hint = "use another key" if types[key] == "labels" else "declare it as string under 'context:'"
            report.add(by.start, f"a rollout goes by a text, and {shown(by.text)} is {kind}", hint)
        return
    message = f"a rollout goes by a key of the request, got {shown(by.text)}"
    report.add(by.start, message, closest(by.text, [REQUEST_ID, *texts], "keys"))


def _check_arms(report: Report, binding: MappingNode) -> None:
    arms = [item for item in map(text_of, many_of(child_of(binding, "arms"))) if item is not None]
    if arms and "rollout" not in binding.entries:
        message = "'arms' needs a 'rollout' that tells them apart"
        report.add(binding.entries["arms"].start, message, "add 'rollout: {percent: …}'")
    if len(arms) == 2 and arms[0].text == arms[1].text:
        report.add(arms[1].start, f"{shown(arms[1].text)} names both arms", "rename one")


def check_overrides(report: Report, root: MappingNode, vectors: dict[str, Entry]) -> None:
    """Add what is wrong with the entries of ``overrides``."""
    seen: dict[tuple[str, str | None], int] = {}
    for entry in many_of(child_of(root, "overrides")):
        vector = text_of(child_of(entry, "vector"))
        if not isinstance(entry, MappingNode) or report.full:
            continue
        most = None
        if vector is not None:
            check_vector(report, vector, vectors)
            declared = vectors.get(vector.text)
            most = number_of(child_of(declared.node, "max_strength")) if declared is not None else None
            _check_once(report, entry, vector, seen)
        _check_bounds(report, entry, most)


def _check_bounds(report: Report, entry: MappingNode, most: float | None) -> None:
    low, high = number_of(child_of(entry, "from")), number_of(child_of(entry, "to"))
    if low is not None and high is not None and low > high:
        message = f"'from' must be at most 'to', got {low:g} > {high:g}"
        report.add(entry.entries["from"].node.start, message, "exchange them")
    if high is not None and most is not None and high > most > 0:
        message = f"'to' is {high:g}, more than the vector's 'max_strength' {most:g}"
        report.add(entry.entries["to"].node.start, message, "lower it, or raise 'max_strength'")


def _check_once(
    report: Report, entry: MappingNode, vector: ScalarNode, seen: dict[tuple[str, str | None], int]
) -> None:
    tenants = [item for item in map(text_of, many_of(child_of(entry, "tenants"))) if item is not None]
    keys: list[tuple[str | None, int]] = [(tenant.text, tenant.start) for tenant in tenants]
    if "tenants" not in entry.entries:
        keys = [(None, vector.start)]
    for name, place in keys:
        key = (vector.text, name)
        if key in seen:
            whose = f"the tenant {shown(name)}" if name is not None else "any request"
            line = report.place(seen[key])[0]
            message = f"the bounds of {shown(vector.text)} for {whose} are given twice"
            report.add(place, message, f"first on line {line}; keep one")
        seen.setdefault(key, place)
