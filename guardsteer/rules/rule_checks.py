"""What is wrong with rules beyond their shape: conditions, vectors, amounts, contradictions."""

from __future__ import annotations

from collections.abc import Iterator

from guardsteer.rules.access import child_of, entries_of, many_of, number_of, start_within, text_of
from guardsteer.rules.conditions import parse_condition
from guardsteer.rules.document import Entry, MappingNode, ScalarNode, SequenceNode
from guardsteer.rules.names import TITLE, Names
from guardsteer.rules.places import Report, closest, shown

__all__ = ["check_rules"]


def check_rules(report: Report, root: MappingNode, names: Names) -> None:
    """Add to ``report`` what is wrong with the rules of the policy below ``root``."""
    rules = child_of(root, "rules")
    vectors = entries_of(root, "vectors")
    ids: dict[str, int] = {}
    for node in rules.items if isinstance(rules, SequenceNode) else []:
        if isinstance(node, MappingNode) and not report.full:
            _check_id(report, node, ids)
            _check_when(report, node, names)
            _check_actions(report, node, vectors)


def _check_id(report: Report, rule: MappingNode, ids: dict[str, int]) -> None:
    node = text_of(child_of(rule, "id"))
    if node is None:
        return
    if not TITLE.fullmatch(node.text):
        hint = "use up to 64 letters, digits, '-', '_' and '.'"
        report.add(node.start, f"{shown(node.text)} cannot be the id of a rule", hint)
    elif node.text in ids:
        line = report.place(ids[node.text])[0]
        report.add(
            node.start, f"the rule id {shown(node.text)} is given twice", f"first on line {line}; rename one"
        )
    else:
        ids[node.text] = node.start


def _check_when(report: Report, rule: MappingNode, names: Names) -> None:
    when = text_of(child_of(rule, "when"))
    if when is None:
        return
    for mistake in parse_condition(str(when.value), names)[1]:
        report.add(start_within(report, when, mistake.offset), mistake.message, mistake.hint)


def _steers(rule: MappingNode) -> Iterator[tuple[str, MappingNode]]:
    for operator in ("add", "subtract"):
        for item in many_of(child_of(rule, operator)):
            if isinstance(item, MappingNode):
                yield operator, item


def _check_actions(report: Report, rule: MappingNode, vectors: dict[str, Entry]) -> None:
    halt = child_of(rule, "halt")
    harmless = halt is None or (isinstance(halt, ScalarNode) and halt.value is False)
    if harmless and not any(key in rule.entries for key in ("add", "subtract", "disable")):
        report.add(rule.start, "the rule does nothing", "add 'add', 'subtract', 'disable' or 'halt: true'")
    steered: dict[str, str] = {}
    for operator, node in _steers(rule):
        vector = text_of(child_of(node, "vector"))
        if vector is None:
            continue
        _check_vector(report, vector, vectors)
        if vector.text in steered:
            before = steered[vector.text]
            message = (
                f"the rule names the vector {shown(vector.text)} twice, in '{before}' and in '{operator}'"
            )
            report.add(vector.start, message, "keep one")
        steered[vector.text] = operator
        _check_amount(report, node, vectors.get(vector.text))
    _check_disabled(report, rule, vectors, steered)


def _check_disabled(
    report: Report, rule: MappingNode, vectors: dict[str, Entry], steered: dict[str, str]
) -> None:
    for item in many_of(child_of(rule, "disable")):
        vector = text_of(item)
        if vector is None:
            continue
        if vector.text != "all":
            _check_vector(report, vector, vectors)
        elif not vectors:
            report.add(vector.start, "there are no vectors to disable", "declare them under 'vectors:'")
        if steered and (vector.text == "all" or vector.text in steered):
            message = "the rule disables a vector that it also adds or subtracts, so that would never act"
            report.add(vector.start, message, "use two rules")


def _check_vector(report: Report, node: ScalarNode, vectors: dict[str, Entry]) -> None:
    if node.text not in vectors:
        message = f"there is no vector {shown(node.text)}"
        report.add(node.start, message, closest(node.text, list(vectors), "vectors"))


def _check_amount(report: Report, steer: MappingNode, vector: Entry | None) -> None:
    strength, alpha = steer.entries.get("strength"), steer.entries.get("alpha")
    if set(steer.entries) == {"vector"}:
        report.add(
            steer.start, "how much is missing", "give 'strength' (in units of the block's norm) or 'alpha'"
        )
    if strength is not None and alpha is not None:
        report.add(alpha.start, "both 'strength' and 'alpha' are given", "keep one")
    amount = number_of(strength.node) if strength is not None else None
    most = number_of(child_of(vector.node, "max_strength")) if vector is not None else None
    if strength is not None and amount is not None and most is not None and amount > most > 0:
        line = report.place(vector.start)[0] if vector is not None else 0
        message = f"'strength' is {amount:g}, more than the vector's 'max_strength' {most:g}"
        report.add(strength.node.start, message, f"the vector is on line {line}")
