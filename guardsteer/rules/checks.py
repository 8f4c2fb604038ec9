"""What a policy's parts mean to one another: names, references, limits.

Works on the tree, so that a mistake in one part hides none in another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from guardsteer.core.policy import ClassifierSpec, Scope
from guardsteer.errors import GuardsteerError
from guardsteer.rules.access import child_of, entries_of, many_of, number_of, start_within, text_of
from guardsteer.rules.binding_checks import check_binding, check_overrides
from guardsteer.rules.building import DEFAULT_TAIL_CHARACTERS
from guardsteer.rules.combine_checks import COMBINED_OUTPUTS, check_combined, check_combines
from guardsteer.rules.document import Entry, MappingNode, Node, ScalarNode
from guardsteer.rules.flag_checks import check_flags
from guardsteer.rules.names import REQUEST_KEYS, TAKEN_KEYS, TITLE, Names
from guardsteer.rules.naming import check_name
from guardsteer.rules.patterns import pattern_mistake
from guardsteer.rules.places import Report, shown
from guardsteer.rules.rule_checks import check_rules, rules_of
from guardsteer.rules.steer_checks import check_profiles
from guardsteer.rules.syntax import Type

__all__ = ["MAX_PATTERNS", "PATTERN_OUTPUTS", "OutputsOf", "check_meaning"]

OutputsOf: TypeAlias = Callable[[ClassifierSpec], tuple[str, ...]]

PATTERN_OUTPUTS = ("match",)
MAX_PATTERNS = 1000
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
    check_combines(report, root, names.outputs)
    _check_patterns(report, root)
    check_flags(report, root, names)
    _check_vectors(report, root)
    vectors = entries_of(root, "vectors")
    _check_profiles(report, root, vectors)
    check_rules(report, root, names)
    check_overrides(report, root, vectors)
    binding = child_of(root, "binding")
    if isinstance(binding, MappingNode):
        ids = [text_of(child_of(rule, "id")) for rule in rules_of(root)]
        check_binding(report, binding, [node.text for node in ids if node is not None], names.context)
    _check_fallback(report, root)


def _check_titles(report: Report, root: MappingNode) -> None:
    name = text_of(child_of(root, "name"))
    if name is not None and not TITLE.fullmatch(name.text):
        hint = "use up to 64 letters, digits, '-', '_' and '.'"
        report.add(name.start, f"{shown(name.text)} cannot be the name of a policy", hint)


def _check_context(report: Report, root: MappingNode) -> dict[str, Type]:
    types: dict[str, Type] = {}
    for key, entry in entries_of(root, "context").items():
        check_name(report, key, entry.start, "request key")
        if key in REQUEST_KEYS:
            kind = "string" if REQUEST_KEYS[key] == "string" else "list of strings"
            message = f"the request key {shown(key)} is always known, as a {kind}"
            report.add(entry.start, message, "remove the line")
        if key in TAKEN_KEYS:
            message = f"the request key {shown(key)} has a meaning of its own and cannot be declared"
            report.add(entry.start, message, "choose another name")
        word = text_of(entry.node)
        types[key] = _TYPES.get(word.text if word else "", "string")
    return types


def _check_classifiers(
    report: Report, root: MappingNode, outputs_of: OutputsOf | None
) -> dict[str, tuple[str, ...] | None]:
    outputs: dict[str, tuple[str, ...] | None] = {}
    flags = entries_of(root, "flags")
    for name, entry in entries_of(root, "classifiers").items():
        check_name(report, name, entry.start, "classifier")
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
    if "combine" in node.entries:
        check_combined(report, node)
        return COMBINED_OUTPUTS
    if "on" not in node.entries:
        message = f"the classifier {shown(name)} has no 'on'"
        report.add(entry.start, message, "add 'on:'")
    inline = [key for key in _INLINE if key in node.entries]
    if "use" in node.entries:
        for key in inline:
            message = f"{shown(key)} is for a classifier written in place, and this one has 'use'"
            report.add(node.entries[key].start, message, f"remove '{key}' or 'use'")
        _check_read(report, node)
        return _outputs_of_asset(report, name, node, outputs_of)
    if "literals" not in node.entries and "patterns" not in node.entries:
        message = f"the classifier {shown(name)} has nothing to go by"
        report.add(entry.start, message, "add 'use', 'literals', 'patterns' or 'combine'")
        return None
    for key in ("read", "encoder"):
        if key in node.entries:
            message = f"{shown(key)} is for a classifier that reads with an encoder, not for patterns"
            report.add(node.entries[key].start, message, f"remove '{key}'")
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


def _check_read(report: Report, node: MappingNode) -> None:
    read, on = text_of(child_of(node, "read")), text_of(child_of(node, "on"))
    if read is None or on is None or on.text not in _SCOPES:
        return
    if on.text in ("prompt", "user") and read.text != "prompt":
        message = f"{shown(read.text)} says where a generation is read, and this classifier reads a prompt"
        report.add(read.start, message, "remove 'read', or let it read 'on: all'")
    elif on.text == "generation" and read.text == "prompt":
        report.add(read.start, "it reads the generation alone, which has no prompt", "use 'on: prompt'")


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


def _check_vectors(report: Report, root: MappingNode) -> None:
    for name, entry in entries_of(root, "vectors").items():
        check_name(report, name, entry.start, "vector")
        heads, site = child_of(entry.node, "heads"), child_of(entry.node, "site")
        if heads is not None and not (isinstance(site, ScalarNode) and site.value == "heads"):
            hint = "add 'site: heads', or remove it"
            report.add(heads.start, "'heads' is for the site 'heads' alone", hint)
        for key in ("blocks", "positions", "heads"):
            seen: set[object] = set()
            for item in many_of(child_of(entry.node, key)):
                if isinstance(item, ScalarNode):
                    if item.value in seen:
                        report.add(item.start, f"{item.text} is given twice in '{key}'", "remove one")
                    seen.add(item.value)


def _check_profiles(report: Report, root: MappingNode, vectors: dict[str, Entry]) -> None:
    for name, entry in entries_of(root, "profiles").items():
        check_name(report, name, entry.start, "profile")
    check_profiles(report, root, vectors)


def _check_fallback(report: Report, root: MappingNode) -> None:
    if "fallback" in root.entries:
        return
    hint = "add 'fallback: \"…\"' at the top level, the text that a halted row ends with"
    for rule in rules_of(root):
        halt = child_of(rule, "halt")
        if isinstance(halt, ScalarNode) and halt.value is True:
            report.add(halt.start, "a rule that halts needs a fallback text", hint)
        _check_last_resort(report, child_of(rule, "revise"), hint)
    failure = text_of(child_of(child_of(root, "audit") or root, "on_error"))
    if failure is not None and failure.text == "halt":
        report.add(failure.start, "'on_error: halt' needs a fallback text", hint)


def _check_last_resort(report: Report, revise: Node | None, hint: str) -> None:
    if not isinstance(revise, MappingNode):
        return
    then = child_of(revise, "then")
    word = text_of(then)
    if then is None or (word is not None and word.text == "halt"):
        message = "a rule that revises halts once it may revise no more, and needs a fallback text"
        report.add(then.start if then is not None else revise.start, message, f"{hint}, or 'then: continue'")
