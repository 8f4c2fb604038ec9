"""A YAML text as a tree of nodes that know their place.

Built from the parser's events, so aliases are never expanded, nothing is constructed, and depth is
bounded without recursion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from guardsteer.rules.places import Report, clipped, shown
from guardsteer.rules.scalars import Value, resolve
from guardsteer.rules.yaml_errors import add_syntax_error

__all__ = [
    "MAX_DEPTH",
    "Entry",
    "MappingNode",
    "Node",
    "ScalarNode",
    "SequenceNode",
    "compose",
    "describe",
    "find",
    "plain",
]

MAX_DEPTH = 32
_MOST_BAD_CHARACTERS = 20
# Tabs, control characters, line breaks other than LF and CRLF, byte order marks, surrogates,
# noncharacters, and the marks that make a text look other than it is (Boucher and Anderson, 2021).
_BAD_CHARACTER = re.compile(
    "[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]|\r(?!\n)"
)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class ScalarNode:
    """A word, number or text; ``bad`` marks one whose problem was already reported."""

    start: int
    text: str
    value: Value
    style: str
    bad: bool = False


@dataclass(slots=True)
class SequenceNode:
    """A list."""

    start: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Entry:
    """One key of a mapping with its value."""

    start: int
    node: Node


@dataclass(slots=True)
class MappingNode:
    """A mapping; keys are their text."""

    start: int
    entries: dict[str, Entry] = field(default_factory=dict)


Node: TypeAlias = ScalarNode | SequenceNode | MappingNode


@dataclass(slots=True)
class _Frame:
    node: MappingNode | SequenceNode
    key: ScalarNode | None = None
    key_missing: bool = False


class _Stop(Exception):
    """The rest of the document cannot be read; the reason was reported."""


def compose(report: Report, *, loader: Any = None) -> Node | None:
    """Return the root of the one document in ``report.text``; None where there is none.

    Problems go to ``report``. ``loader`` is a PyYAML loader class; by default the C one if there is one.
    """
    for count, match in enumerate(_BAD_CHARACTER.finditer(report.text)):
        if count == _MOST_BAD_CHARACTERS:
            break
        report.add(match.start(), *_about_character(match.group()))
    if report:
        return None
    try:
        return _Composer(report).compose(yaml.parse(report.text, Loader=loader or _LOADER))
    except _Stop:
        return None
    except yaml.MarkedYAMLError as error:
        add_syntax_error(report, error)
    return None


def _about_character(character: str) -> tuple[str, str]:
    if character == "\t":
        return "a tab is not allowed", "use spaces, or \\t within double quotes"
    name = f"U+{ord(character):04X}"
    return f"the character {name} is not allowed", "remove it, or write it as an escape within double quotes"


class _Composer:
    """Builds the tree from events, with a stack of its own."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.root: Node | None = None
        self.stack: list[_Frame] = []
        self.documents = 0

    def compose(self, events: Iterator[Any]) -> Node | None:
        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._attach(self._scalar(event))
            elif kind is yaml.MappingStartEvent:
                self._open(event, MappingNode(event.start_mark.index))
            elif kind is yaml.SequenceStartEvent:
                self._open(event, SequenceNode(event.start_mark.index))
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._attach(self.stack.pop().node)
            elif kind is yaml.AliasEvent:
                index = event.start_mark.index
                self.report.add(
                    index,
                    "aliases are not allowed",
                    "write the value out, or quote text that begins with '*'",
                )
                self._attach(ScalarNode(index, "", "", "", bad=True))
            elif kind is yaml.DocumentStartEvent:
                self._begin_document(event)
        return self.root

    def _begin_document(self, event: Any) -> None:
        self.documents += 1
        index = event.start_mark.index
        if self.documents > 1:
            self.report.add(index, "a policy is one document; a second one begins here", "remove the '---'")
            raise _Stop
        if event.version or event.tags:
            self.report.add(index, "YAML directives are not allowed", "remove the line that begins with '%'")

    def _open(self, event: Any, node: MappingNode | SequenceNode) -> None:
        if len(self.stack) >= MAX_DEPTH:
            self.report.add(node.start, f"the document is nested more than {MAX_DEPTH} levels deep")
            raise _Stop
        self._refuse_properties(event)
        self.stack.append(_Frame(node))

    def _refuse_properties(self, event: Any) -> bool:
        index = event.start_mark.index
        if event.anchor is not None:
            self.report.add(
                index, "anchors are not allowed", "write values out, or quote text that begins with '&'"
            )
        if event.tag is not None:
            self.report.add(
                index, f"the tag {shown(event.tag)} is not allowed", "put text that begins with '!' in quotes"
            )
        return event.anchor is not None or event.tag is not None

    def _scalar(self, event: Any) -> ScalarNode:
        index, text, style = event.start_mark.index, event.value, event.style or ""
        if self._refuse_properties(event):
            return ScalarNode(index, text, text, style, bad=True)
        return ScalarNode(index, text, text, style)

    def _resolved(self, node: ScalarNode) -> ScalarNode:
        if node.style == "" and not node.bad:
            node.value, message, hint = resolve(node.text)
            if node.value is None and self.stack:
                message, hint = "a value is missing", "give one, or remove the key"
            if message:
                node.bad = True
                self.report.add(node.start, message, hint)
        return node

    def _attach(self, node: Node) -> None:
        if not self.stack:
            self.root = self._resolved(node) if isinstance(node, ScalarNode) else node
            return
        frame = self.stack[-1]
        if isinstance(frame.node, SequenceNode):
            frame.node.items.append(self._resolved(node) if isinstance(node, ScalarNode) else node)
        elif frame.key is None and not frame.key_missing:
            self._take_key(frame, node)
        else:
            self._take_value(
                frame, frame.node, self._resolved(node) if isinstance(node, ScalarNode) else node
            )

    def _take_key(self, frame: _Frame, node: Node) -> None:
        if not isinstance(node, ScalarNode):
            self.report.add(node.start, "a key must be a word, not a list or mapping")
        elif node.text == "<<" and node.style == "":
            self.report.add(node.start, "merge keys are not allowed", "write the values out")
        elif node.text == "":
            self.report.add(node.start, "a key is missing before ':'")
        elif not node.bad:
            frame.key = node
            return
        frame.key_missing = True

    def _take_value(self, frame: _Frame, mapping: MappingNode, value: Node) -> None:
        key, frame.key, frame.key_missing = frame.key, None, False
        if key is None:
            return
        first = mapping.entries.get(key.text)
        if first is None:
            mapping.entries[key.text] = Entry(key.start, value)
        else:
            line = self.report.place(first.start)[0]
            self.report.add(
                key.start, f"the key {shown(key.text)} is given twice", f"first on line {line}; keep one"
            )


def find(root: Node, loc: Sequence[int | str]) -> tuple[Node, int, bool]:
    """Return the deepest node on the way to ``loc``, where its key begins, and whether it is ``loc`` itself.

    The key's place is -1 for an item of a list and for the root.
    """
    node, key_start, reached = root, -1, True
    for part in loc:
        if isinstance(node, MappingNode) and isinstance(part, str) and part in node.entries:
            entry = node.entries[part]
            node, key_start = entry.node, entry.start
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.items):
            node, key_start = node.items[part], -1
        elif isinstance(part, int):
            continue  # a single value that stands for a list of one
        else:
            reached = False
            break
    return node, key_start, reached


def plain(node: Node) -> Any:
    """Return the node as dicts, lists and scalars."""
    if isinstance(node, ScalarNode):
        return node.value
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    return {key: plain(entry.node) for key, entry in node.entries.items()}


def describe(node: Node) -> str:
    """Return what a node is, for ``got …`` in a message."""
    if isinstance(node, SequenceNode):
        return "a list"
    if isinstance(node, MappingNode):
        return "a mapping"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return node.text
    if isinstance(node.value, str):
        return f"the text {shown(node.value)}"
    return f"the number {clipped(node.text)}"
