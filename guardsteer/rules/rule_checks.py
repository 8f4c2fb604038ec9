"""What is wrong with rules beyond their shape: conditions, actions, contradictions."""

from __future__ import annotations

from guardsteer.rules.access import child_of, entries_of, many_of, start_within, text_of
from guardsteer.rules.conditions import parse_condition
from guardsteer.rules.document import Entry, MappingNode, ScalarNode, SequenceNode
from guardsteer.rules.names import TITLE, Names
from guardsteer.rules.places import Report, shown
from guardsteer.rules.route_checks import check_route
from guardsteer.rules.steer_checks import STEERING, check_steering, check_vector

__all__ = ["check_rules", "rules_of"]

_ACTIONS = (*STEERING, "disable", "revise", "hold_back", "route")
_SWITCHES = ("halt", "observe")


def check_rules(report: Report, root: MappingNode, names: Names) -> None:
    """Add to ``report`` what is wrong with the rules of the policy below ``root``."""
    vectors, profiles = entries_of(root, "vectors"), entries_of(root, "profiles")
    ids: dict[str, int] = {}
    for node in rules_of(root):
        if report.full:
            return
        _check_id(report, node, ids)
        _check_when(report, node, names)
        _check_actions(report, node, vectors)
        if "route" in node.entries:
            check_route(report, node, names, profiles)


def rules_of(root: MappingNode) -> list[MappingNode]:
    """Return the rules that are mappings."""
    rules = child_of(root, "rules")
    items = rules.items if isinstance(rules, SequenceNode) else []
    return [node for node in items if isinstance(node, MappingNode)]


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


def _check_actions(report: Report, rule: MappingNode, vectors: dict[str, Entry]) -> None:
    if not any(key in rule.entries for key in _ACTIONS) and all(_is_off(rule, key) for key in _SWITCHES):
        hint = "add 'add', 'subtract', 'ablate', 'clamp', 'route', 'disable', 'halt: true', 'revise', "
        report.add(rule.start, "the rule does nothing", hint + "'hold_back' or 'observe: true'")
    steered = check_steering(report, rule, vectors)
    _check_disabled(report, rule, vectors, steered)
    revise = child_of(rule, "revise")
    if isinstance(revise, MappingNode):
        _check_revise(report, revise)


def _is_off(rule: MappingNode, key: str) -> bool:
    node = child_of(rule, key)
    return node is None or (isinstance(node, ScalarNode) and node.value is False)


def _check_disabled(
    report: Report, rule: MappingNode, vectors: dict[str, Entry], steered: dict[str, str]
) -> None:
    for item in many_of(child_of(rule, "disable")):
        vector = text_of(item)
        if vector is None:
            continue
        if vector.text != "all":
            check_vector(report, vector, vectors)
        elif not vectors:
            report.add(vector.start, "there are no vectors to disable", "declare them under 'vectors:'")
        if steered and (vector.text == "all" or vector.text in steered):
            message = "the rule disables a vector that it also steers with, so that would never act"
            report.add(vector.start, message, "use two rules")


def _check_revise(report: Report, revise: MappingNode) -> None:
    tokens, back_to = revise.entries.get("tokens"), revise.entries.get("back_to")
    if tokens is None and back_to is None:
        report.add(revise.start, "how much to take back is missing", "give 'tokens' or 'back_to: sentence'")
    if tokens is not None and back_to is not None:
        report.add(max(tokens.start, back_to.start), "both 'tokens' and 'back_to' are given", "keep one")
