"""What is wrong with a rule that routes beyond its shape."""

from __future__ import annotations

from guardsteer.rules.access import child_of, entries_of, text_of
from guardsteer.rules.conditions import parse_condition
from guardsteer.rules.document import Entry, MappingNode
from guardsteer.rules.names import Names
from guardsteer.rules.places import Report, closest, shown
from guardsteer.rules.routing import OTHERWISE, routed_condition
from guardsteer.rules.steer_checks import missing

__all__ = ["check_route"]

_BESIDE = frozenset(("id", "when", "priority", "route", "observe", "on_error"))


def check_route(report: Report, rule: MappingNode, names: Names, profiles: dict[str, Entry]) -> None:
    """Add what is wrong with the entry ``route`` of ``rule``."""
    routes = entries_of(rule, "route")
    for key, entry in rule.entries.items():
        if key not in _BESIDE and key in _ACTIONS:
            message = f"a rule that routes does nothing else, and this one has '{key}'"
            report.add(entry.start, message, "use two rules")
    for place, (key, entry) in enumerate(routes.items()):
        if key == OTHERWISE:
            _check_otherwise(report, entry, place, len(routes))
        elif key not in names.flags:
            hint = closest(key, names.flags, "flags")
            report.add(entry.start, f"there is no flag {shown(key)} to route by", hint)
        profile = text_of(entry.node)
        if profile is not None:
            missing(report, profile, profiles, "profile")
    _check_condition(report, rule, names, list(routes))


_ACTIONS = frozenset(("add", "subtract", "ablate", "clamp", "disable", "halt", "revise", "hold_back"))


def _check_otherwise(report: Report, entry: Entry, place: int, count: int) -> None:
    if count == 1:
        report.add(entry.start, "a route needs a flag", "add one before 'otherwise', or use 'add'")
    elif place < count - 1:
        report.add(entry.start, "'otherwise' must come last", "it is taken when no flag of the route is up")


def _check_condition(report: Report, rule: MappingNode, names: Names, keys: list[str]) -> None:
    """Look for limits that the condition keeps alone and breaks together with the flags of its routes."""
    when = text_of(child_of(rule, "when"))
    if when is None or not keys or not all(key in names.flags for key in keys[:-1]):
        return
    if keys[-1] != OTHERWISE and keys[-1] not in names.flags:
        return
    if parse_condition(str(when.value), names)[1]:
        return
    start = rule.entries["route"].start
    for mistake in parse_condition(routed_condition(str(when.value), keys, keys[-1]), names)[1]:
        report.add(start, f"with the flags of its routes {mistake.message}", mistake.hint)
