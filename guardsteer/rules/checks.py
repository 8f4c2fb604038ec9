"""What a policy's parts mean to one another: names, references, limits.

Works on the tree, so that a mistake in one part hides none in another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from guardsteer.core.policy import ClassifierSpec, Scope
from guardsteer.errors import GuardsteerError
from guardsteer.rules.access import child_of, entries_of, many_of, number_of, start_within, text_of
from guardsteer.rules.document import Entry, MappingNode, ScalarNode, SequenceNode
from guardsteer.rules.names import IDENTIFIER, KEYWORDS, REQUEST_KEYS, TITLE, Names, signal_mistake
from guardsteer.rules.patterns import pattern_mistake
from guardsteer.rules.places import Report, shown
from guardsteer.rules.rule_checks import check_rules
from guardsteer.rules.syntax import Type

__all__ = ["DEFAULT_TAIL_CHARACTERS", "MAX_PATTERNS", "PATTERN_OUTPUTS", "OutputsOf", "check_meaning"]

OutputsOf: TypeAlias = Callable[[ClassifierSpec], tuple[str, ...]]

PATTERN_OUTPUTS = ("match",)
DEFAULT_TAIL_CHARACTERS = 256
MAX_PATTERNS = 1000
_SIGNAL = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_]*)")
_INLINE = ("literals", "patterns", "ignore_case", "tail_characters")
_SCOPES: tuple[Scope, ...] = ("prompt", "user", "generation", "all")
_TYPES: dict[str, Type] = {"string": "string", "int": "int", "float": "float", "bool": "bool"}


def check_meaning(report: Report, root: MappingNode, outputs_of: OutputsOf | None) -> None:
    """Add to ``report`` whatever is wrong with the policy below ``root`` beyond its shape."""
    _check_titles(report, root)
    names = Names(
        flags=entries_of(root, "flags"),
        outputs=_check_classifiers(report, root, outputs_of),
        context=_check_context(report, root),
    )
    _check_patterns(report, root)
    _check_flags(report, root, names)
    _check_vectors(report, root)
    check_rules(report, root, names)
    _check_fallback(report, root)


def _check_name(report: Report, name: str, start: int, what: str) -> None:
    if not IDENTIFIER.fullmatch(name):
        hint = "use up to 64 letters, digits and '_', a letter first"
        report.add(start, f"{shown(name)} cannot be the name of a {what}", hint)
    elif name in KEYWORDS:
        report.add(
            start, f"{shown(name)} is a word of the language and cannot name a {what}", "choose another name"
        )


def _check_titles(report: Report, root: MappingNode) -> None:
    name = text_of(child_of(root, "name"))
    if name is not None and not TITLE.fullmatch(name.text):
        hint = "use up to 64 letters, digits, '-', '_' and '.'"
        report.add(name.start, f"{shown(name.text)} cannot be the name of a policy", hint)


def _check_context(report: Report, root: MappingNode) -> dict[str, Type]:
    types: dict[str, Type] = {}
    for key, entry in entries_of(root, "context").items():
        _check_name(report, key, entry.start, "request key")
        if key in REQUEST_KEYS:
            report.add(
                entry.start, f"the request key {shown(key)} is always known, as a string", "remove the line"
            )
        word = text_of(entry.node)
        types[key] = _TYPES.get(word.text if word else "", "string")
    return types


def _check_classifiers(
    report: Report, root: MappingNode, outputs_of: OutputsOf | None
) -> dict[str, tuple[str, ...] | None]:
    outputs: dict[str, tuple[str, ...] | None] = {}
    flags = entries_of(root, "flags")
    for name, entry in entries_of(root, "classifiers").items():
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
    use, on = text_of(child_of(node, "use")), text_of(child_of(node, "on"))
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
    tail = number_of(child_of(node, "tail_characters")) or DEFAULT_TAIL_CHARACTERS
    for item in many_of(child_of(node, "literals")):
        literal = text_of(item)
        if literal is not None and len(literal.text) > tail:
            message = f"the literal has {len(literal.text)} characters and could never match"
            report.add(literal.start, message, f"'tail_characters' is {tail:g}; raise it")


def _check_patterns(report: Report, root: MappingNode) -> None:
    count = 0
    for entry in entries_of(root, "classifiers").values():
        ignore_case = child_of(entry.node, "ignore_case")
        folded = not (isinstance(ignore_case, ScalarNode) and ignore_case.value is False)
        for pattern in map(text_of, many_of(child_of(entry.node, "patterns"))):
            if pattern is None or not pattern.text:
                continue
            count += 1
            if count > MAX_PATTERNS:
                message = f"a policy has at most {MAX_PATTERNS} patterns; this is one more"
                report.add(pattern.start, message, "use 'literals' for plain words, or a trained classifier")
                return
            mistake = pattern_mistake(pattern.text, ignore_case=folded)
            if mistake is not None:
                report.add(start_within(report, pattern, mistake.offset), mistake.message, mistake.hint)


def _check_flags(report: Report, root: MappingNode, names: Names) -> None:
    for name, entry in entries_of(root, "flags").items():
        if report.full:
            return
        _check_name(report, name, entry.start, "flag")
        signal = text_of(child_of(entry.node, "signal"))
        if signal is not None:
            _check_signal(report, signal, names.outputs)
        enter, leave = number_of(child_of(entry.node, "enter")), child_of(entry.node, "exit")
        value = number_of(leave)
        if enter is not None and value is not None and leave is not None and value > enter >= 0:
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
        report.add(start_within(report, node, 0), *mistake)


def _check_vectors(report: Report, root: MappingNode) -> None:
    for name, entry in entries_of(root, "vectors").items():
        _check_name(report, name, entry.start, "vector")
        for key in ("blocks", "positions"):
            seen: set[object] = set()
            for item in many_of(child_of(entry.node, key)):
                if isinstance(item, ScalarNode):
                    if item.value in seen:
                        report.add(item.start, f"{item.text} is given twice in '{key}'", "remove one")
                    seen.add(item.value)


def _check_fallback(report: Report, root: MappingNode) -> None:
    if "fallback" in root.entries:
        return
    hint = "add 'fallback: \"…\"' at the top level, the text that a halted row ends with"
    rules = child_of(root, "rules")
    for rule in rules.items if isinstance(rules, SequenceNode) else []:
        halt = child_of(rule, "halt")
        if isinstance(halt, ScalarNode) and halt.value is True:
            report.add(halt.start, "a rule that halts needs a fallback text", hint)
    failure = text_of(child_of(child_of(root, "audit") or root, "on_error"))
    if failure is not None and failure.text == "halt":
        report.add(failure.start, "'on_error: halt' needs a fallback text", hint)
