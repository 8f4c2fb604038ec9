"""What a policy's parts mean to one another: names, references, limits.

Works on the tree, so that a mistake in one part hides none in another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from guardsteer.core.policy import ClassifierSpec, Scope
from guardsteer.errors import GuardsteerError
from guardsteer.rules.conditions import KEYWORDS, REQUEST_KEYS, Names, parse_condition, signal_mistake
from guardsteer.rules.document import Entry, MappingNode, Node, ScalarNode, SequenceNode
from guardsteer.rules.patterns import pattern_mistake
from guardsteer.rules.places import Report, closest, index_within, shown
from guardsteer.rules.syntax import Type

__all__ = ["DEFAULT_TAIL_CHARACTERS", "PATTERN_OUTPUTS", "OutputsOf", "check_meaning"]

OutputsOf: TypeAlias = Callable[[ClassifierSpec], tuple[str, ...]]

PATTERN_OUTPUTS = ("match",)
DEFAULT_TAIL_CHARACTERS = 256
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TITLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SIGNAL = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_]*)")
_INLINE = ("literals", "patterns", "ignore_case", "tail_characters")
_SCOPES: tuple[Scope, ...] = ("prompt", "user", "generation", "all")
_TYPES: dict[str, Type] = {"string": "string", "int": "int", "float": "float", "bool": "bool"}


def check_meaning(report: Report, root: MappingNode, outputs_of: OutputsOf | None) -> None:
    """Add to ``report`` whatever is wrong with the policy below ``root`` beyond its shape."""
    _check_titles(report, root)
    names = Names(
        flags=tuple(_entries(root, "flags")),
        outputs=_check_classifiers(report, root, outputs_of),
        context=_check_context(report, root),
    )
    _check_flags(report, root, names)
    _check_vectors(report, root)
    _check_rules(report, root, names)
    _check_fallback(report, root)


def _entries(node: Node, key: str) -> dict[str, Entry]:
    """Return the entries of the mapping at ``key``; none where it is no mapping."""
    child = _child(node, key)
    return child.entries if isinstance(child, MappingNode) else {}


def _child(node: Node, key: str) -> Node | None:
    entry = node.entries.get(key) if isinstance(node, MappingNode) else None
    return entry.node if entry is not None else None


def _text(node: Node | None) -> ScalarNode | None:
    return node if isinstance(node, ScalarNode) and isinstance(node.value, str) and not node.bad else None


def _number(node: Node | None) -> float | None:
    if not isinstance(node, ScalarNode) or node.bad or isinstance(node.value, bool):
        return None
    return node.value if isinstance(node.value, int | float) else None


def _many(node: Node | None) -> list[Node]:
    if node is None:
        return []
    return node.items if isinstance(node, SequenceNode) else [node]


def _start(node: ScalarNode, report: Report, offset: int) -> int:
    return index_within(report.text, node.start, node.style, str(node.value), offset)


def _check_name(report: Report, name: str, start: int, what: str) -> None:
    if not _IDENTIFIER.fullmatch(name):
        hint = "use up to 64 letters, digits and '_', a letter first"
        report.add(start, f"{shown(name)} cannot be the name of a {what}", hint)
    elif name in KEYWORDS:
        report.add(
            start, f"{shown(name)} is a word of the language and cannot name a {what}", "choose another name"
        )


def _check_titles(report: Report, root: MappingNode) -> None:
    name = _text(_child(root, "name"))
    if name is not None and not _TITLE.fullmatch(name.text):
        hint = "use up to 64 letters, digits, '-', '_' and '.'"
        report.add(name.start, f"{shown(name.text)} cannot be the name of a policy", hint)


def _check_context(report: Report, root: MappingNode) -> dict[str, Type]:
    types: dict[str, Type] = {}
    for key, entry in _entries(root, "context").items():
        _check_name(report, key, entry.start, "request key")
        if key in REQUEST_KEYS:
            report.add(
                entry.start, f"the request key {shown(key)} is always known, as a string", "remove the line"
            )
        word = _text(entry.node)
        types[key] = _TYPES.get(word.text if word else "", "string")
    return types


def _check_classifiers(
    report: Report, root: MappingNode, outputs_of: OutputsOf | None
) -> dict[str, tuple[str, ...] | None]:
    outputs: dict[str, tuple[str, ...] | None] = {}
    flags = _entries(root, "flags")
    for name, entry in _entries(root, "classifiers").items():
        _check_name(report, name, entry.start, "classifier")
        if name in flags:
            line = report.place(flags[name].start)[0]
            report.add(
                entry.start,
                f"{shown(name)} names a classifier and a flag",
                f"the flag is on line {line}; rename one",
            )
        outputs[name] = None
        if isinstance(entry.node, MappingNode):
            outputs[name] = _check_classifier(report, name, entry, entry.node, outputs_of)
    return outputs


def _check_classifier(
    report: Report, name: str, entry: Entry, node: MappingNode, outputs_of: OutputsOf | None
) -> tuple[str, ...] | None:
    inline = [key for key in _INLINE if key in node.entries]
    if "use" in node.entries:
        for key in inline:
            message = f"{shown(key)} is for a classifier written in place, and this one has 'use'"
            report.add(node.entries[key].start, message, f"remove '{key}' or 'use'")
        return _outputs_of_asset(report, name, node, outputs_of)
    if "literals" not in node.entries and "patterns" not in node.entries:
        message = f"the classifier {shown(name)} has nothing to go by"
        report.add(entry.start, message, "add 'use', 'literals' or 'patterns'")
        return None
    _check_inline(report, node)
    return PATTERN_OUTPUTS


def _outputs_of_asset(
    report: Report, name: str, node: MappingNode, outputs_of: OutputsOf | None
) -> tuple[str, ...] | None:
    use, on = _text(_child(node, "use")), _text(_child(node, "on"))
    scope = next((s for s in _SCOPES if on is not None and s == on.text), None)
    if outputs_of is None or use is None or not use.text or scope is None:
        return None
    try:
        return tuple(outputs_of(ClassifierSpec(name=name, on=scope, use=use.text)))
    except GuardsteerError as error:
        told = " ".join(str(error).split())
        report.add(use.start, f"the classifier {shown(use.text)} cannot be used: {told[:500]}")
        return None


def _check_inline(report: Report, node: MappingNode) -> None:
    tail = _number(_child(node, "tail_characters")) or DEFAULT_TAIL_CHARACTERS
    for item in _many(_child(node, "literals")):
        literal = _text(item)
        if literal is not None and len(literal.text) > tail:
            message = f"the literal has {len(literal.text)} characters and could never match"
            report.add(literal.start, message, f"'tail_characters' is {tail:g}; raise it")
    ignore_case = _child(node, "ignore_case")
    folded = not (isinstance(ignore_case, ScalarNode) and ignore_case.value is False)
    for item in _many(_child(node, "patterns")):
        pattern = _text(item)
        mistake = (
            pattern_mistake(pattern.text, ignore_case=folded)
            if pattern is not None and pattern.text
            else None
        )
        if mistake is not None and pattern is not None:
            report.add(_start(pattern, report, mistake.offset), mistake.message, mistake.hint)


def _check_flags(report: Report, root: MappingNode, names: Names) -> None:
    for name, entry in _entries(root, "flags").items():
        _check_name(report, name, entry.start, "flag")
        signal = _text(_child(entry.node, "signal"))
        if signal is not None:
            _check_signal(report, signal, names.outputs)
        enter, leave = _number(_child(entry.node, "enter")), _child(entry.node, "exit")
        value = _number(leave)
        if enter is not None and value is not None and leave is not None and value > enter:
            message = f"'exit' must be at most 'enter', got {value:g} > {enter:g}"
            report.add(leave.start, message, "a flag goes up at 'enter' and down below 'exit'")


def _check_signal(report: Report, node: ScalarNode, outputs: Mapping[str, tuple[str, ...] | None]) -> None:
    match = _SIGNAL.fullmatch(node.text)
    if match is None:
        known = outputs.get(node.text)
        hint = f"write {node.text}.{known[0]}" if known else "write classifier.output"
        report.add(node.start, f"a signal is written classifier.output, got {shown(node.text)}", hint)
        return
    mistake = signal_mistake(match[1], match[2], outputs)
    if mistake is not None:
        offset = 0 if match[1] not in outputs else match.start(2)
        report.add(_start(node, report, offset), *mistake)


def _check_vectors(report: Report, root: MappingNode) -> None:
    for name, entry in _entries(root, "vectors").items():
        _check_name(report, name, entry.start, "vector")
        for key in ("blocks", "positions"):
            seen: set[object] = set()
            for item in _many(_child(entry.node, key)):
                if isinstance(item, ScalarNode):
                    if item.value in seen:
                        report.add(item.start, f"{item.text} is given twice in '{key}'", "remove one")
                    seen.add(item.value)


def _check_rules(report: Report, root: MappingNode, names: Names) -> None:
    rules = _child(root, "rules")
    ids: dict[str, int] = {}
    for node in rules.items if isinstance(rules, SequenceNode) else []:
        if isinstance(node, MappingNode):
            _check_id(report, node, ids)
            _check_when(report, node, names)
            _check_actions(report, node, _entries(root, "vectors"))


def _check_id(report: Report, rule: MappingNode, ids: dict[str, int]) -> None:
    node = _text(_child(rule, "id"))
    if node is None:
        return
    if not _TITLE.fullmatch(node.text):
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
    when = _text(_child(rule, "when"))
    if when is None:
        return
    for mistake in parse_condition(str(when.value), names)[1]:
        report.add(_start(when, report, mistake.offset), mistake.message, mistake.hint)


def _steers(rule: MappingNode) -> Iterator[tuple[str, MappingNode]]:
    for operator in ("add", "subtract"):
        for item in _many(_child(rule, operator)):
            if isinstance(item, MappingNode):
                yield operator, item


def _check_actions(report: Report, rule: MappingNode, vectors: dict[str, Entry]) -> None:
    halt = _child(rule, "halt")
    harmless = halt is None or (isinstance(halt, ScalarNode) and halt.value is False)
    if harmless and not any(key in rule.entries for key in ("add", "subtract", "disable")):
        report.add(rule.start, "the rule does nothing", "add 'add', 'subtract', 'disable' or 'halt: true'")
    steered: dict[str, str] = {}
    for operator, node in _steers(rule):
        vector = _text(_child(node, "vector"))
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
    for item in _many(_child(rule, "disable")):
        vector = _text(item)
        if vector is None:
            continue
        if vector.text != "all":
            _check_vector(report, vector, vectors)
        if steered and (vector.text == "all" or vector.text in steered):
            message = "the rule disables a vector that it also adds or subtracts, so that would never act"
            report.add(vector.start, message, "use two rules")


def _check_vector(report: Report, node: ScalarNode, vectors: dict[str, Entry]) -> None:
    if node.text not in vectors:
        message = f"there is no vector {shown(node.text)}"
        report.add(node.start, message, closest(node.text, list(vectors), "vectors"))


def _check_amount(report: Report, steer: MappingNode, vector: Entry | None) -> None:
    strength, alpha = steer.entries.get("strength"), steer.entries.get("alpha")
    if strength is None and alpha is None:
        report.add(
            steer.start, "how much is missing", "give 'strength' (in units of the block's norm) or 'alpha'"
        )
    if strength is not None and alpha is not None:
        report.add(alpha.start, "both 'strength' and 'alpha' are given", "keep one")
    amount = _number(strength.node) if strength is not None else None
    most = _number(_child(vector.node, "max_strength")) if vector is not None else None
    if strength is not None and amount is not None and most is not None and amount > most:
        line = report.place(vector.start)[0] if vector is not None else 0
        message = f"'strength' is {amount:g}, more than the vector's 'max_strength' {most:g}"
        report.add(strength.node.start, message, f"the vector is on line {line}")


def _check_fallback(report: Report, root: MappingNode) -> None:
    if "fallback" in root.entries:
        return
    hint = "add 'fallback: \"…\"' at the top level, the text that a halted row ends with"
    rules = _child(root, "rules")
    for rule in rules.items if isinstance(rules, SequenceNode) else []:
        halt = _child(rule, "halt")
        if isinstance(halt, ScalarNode) and halt.value is True:
            report.add(halt.start, "a rule that halts needs a fallback text", hint)
    failure = _text(_child(_child(root, "audit") or root, "on_failure"))
    if failure is not None and failure.text == "halt":
        report.add(failure.start, "'on_failure: halt' needs a fallback text", hint)
