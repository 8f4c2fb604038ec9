"""What a case expects, out of its YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from guardsteer.cases.fields import Fields
from guardsteer.cases.model import TOLERANCE, Expectation, Span
from guardsteer.core.policy import Operator, Policy
from guardsteer.rules.document import Entry, Node, ScalarNode
from guardsteer.rules.places import closest, shown

__all__ = ["MAX_STEPS", "Known", "read_expectation"]

MAX_STEPS: Final = 100_000
_UP = {"up": True, "down": False}
_FIRES = {"fires": True, "rests": False}
_OPERATORS: Mapping[str, Operator | Literal["none"]] = {
    "add": "add",
    "subtract": "subtract",
    "ablate": "ablate",
    "clamp": "clamp",
    "none": "none",
}
_PLACE = ("at", "from", "to")
_WANTED = ("flags", "rules", "strengths", "operators", "halt", "revise", "hold_back")
_FIELDS = (*_PLACE, *_WANTED, "tolerance")


@dataclass(frozen=True, slots=True)
class Known:
    """The names that cases may use. ``signals`` None: not checked."""

    flags: tuple[str, ...]
    rules: tuple[str, ...]
    vectors: tuple[str, ...]
    signals: tuple[str, ...] | None

    @classmethod
    def of(cls, policy: Policy, outputs: Mapping[str, tuple[str, ...]] | None) -> Known:
        """Return the names of ``policy``, whose classifiers have ``outputs``."""
        signals = None
        if outputs is not None:
            signals = tuple(f"{name}.{output}" for name, some in outputs.items() for output in some)
        return cls(
            flags=tuple(flag.name for flag in policy.flags),
            rules=tuple(rule.id for rule in policy.rules),
            vectors=tuple(vector.name for vector in policy.vectors),
            signals=signals,
        )


def read_expectation(fields: Fields, node: Node, known: Known) -> Expectation:
    """Return one entry of ``expect``."""
    entries = fields.mapping(node, "an expectation", _FIELDS)
    if entries and not any(name in entries for name in _WANTED):
        fields.report.add(node.start, "this expects nothing", f"add one of {', '.join(_WANTED)}")
    given = {name: entry.node for name, entry in entries.items()}
    return Expectation(
        span=_span(fields, node, entries),
        line=fields.report.place(node.start)[0],
        flags={
            name: fields.word(value, f"the flag {shown(name)}", _UP)
            for name, value in _of(fields, given, "flags", "flag", known.flags)
        },
        rules={
            name: fields.word(value, f"the rule {shown(name)}", _FIRES)
            for name, value in _of(fields, given, "rules", "rule", known.rules)
        },
        strengths={
            name: fields.number(value, f"the strength of {shown(name)}")
            for name, value in _of(fields, given, "strengths", "vector", known.vectors)
        },
        operators={
            name: fields.word(value, f"the operator on {shown(name)}", _OPERATORS)
            for name, value in _of(fields, given, "operators", "vector", known.vectors)
        },
        tolerance=fields.number(given["tolerance"], "'tolerance'", 0.0)
        if "tolerance" in given
        else TOLERANCE,
        halt=_by(fields, given, "halt", known),
        revise=_by(fields, given, "revise", known),
        hold_back=_hold_back(fields, given),
    )


def _of(
    fields: Fields, given: Mapping[str, Node], field: str, kind: str, known: tuple[str, ...]
) -> list[tuple[str, Node]]:
    return list(fields.named(given[field], f"'{field}'", kind, known)) if field in given else []


def _span(fields: Fields, node: Node, entries: Mapping[str, Entry]) -> Span:
    if ("at" in entries) == ("from" in entries):
        if entries:
            fields.report.add(
                node.start,
                "an expectation has either 'at' or 'from'",
                "as in 'at: 3', 'at: end' or 'from: 3'",
            )
        return Span(None, None)
    if "at" in entries:
        place = entries["at"].node
        if "to" in entries:
            fields.report.add(entries["to"].start, "'to' goes with 'from'", "write 'from: … to: …'")
        if isinstance(place, ScalarNode) and place.value == "end":
            return Span(None, None)
        step = fields.whole(place, "'at'", 0, MAX_STEPS)
        return Span(step, step)
    first = fields.whole(entries["from"].node, "'from'", 0, MAX_STEPS)
    last = fields.whole(entries["to"].node, "'to'", first, MAX_STEPS) if "to" in entries else None
    return Span(first, last)


def _by(fields: Fields, given: Mapping[str, Node], field: str, known: Known) -> str | bool | None:
    node = given.get(field)
    if node is None:
        return None
    if isinstance(node, ScalarNode) and isinstance(node.value, bool):
        return node.value
    rule = fields.text(node, f"'{field}'")
    if rule and rule not in known.rules:
        fields.report.add(
            node.start, f"the policy has no rule {shown(rule)}", closest(rule, known.rules, "rules")
        )
    return rule


def _tolerance(fields: Fields, given: Mapping[str, Node]) -> float:
    return fields.number(given["tolerance"], "'tolerance'", 0.0) if "tolerance" in given else TOLERANCE


def _hold_back(fields: Fields, given: Mapping[str, Node]) -> int | bool | None:
    node = given.get("hold_back")
    if node is None:
        return None
    if isinstance(node, ScalarNode) and node.value is False:
        return False
    return fields.whole(node, "'hold_back'", 0, MAX_STEPS)
