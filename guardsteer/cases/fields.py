"""Typed values out of a YAML tree, each mistake noted at its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from guardsteer.rules.document import Entry, MappingNode, Node, ScalarNode, SequenceNode, describe
from guardsteer.rules.places import Report, closest, listed, shown

__all__ = ["Fields"]

_Word = TypeVar("_Word")
_LARGEST = 1e9


class Fields:
    """Reads nodes; whatever is wrong goes to ``report``, and a harmless value comes back."""

    __slots__ = ("report",)

    def __init__(self, report: Report) -> None:
        self.report = report

    def mapping(self, node: Node, what: str, known: Iterable[str] | None = None) -> dict[str, Entry]:
        """Return a mapping's entries, those alone that are ``known`` where that is given."""
        if not isinstance(node, MappingNode):
            self._wrong(node, what, "a mapping")
            return {}
        if known is None:
            return node.entries
        names = list(known)
        for key, entry in node.entries.items():
            if key not in names:
                message = f"{what} has no field {shown(key)}"
                self.report.add(entry.start, message, closest(key, names, "fields"))
        return {key: entry for key, entry in node.entries.items() if key in names}

    def items(self, node: Node, what: str) -> list[Node]:
        """Return a list's items; an empty list is a mistake."""
        if not isinstance(node, SequenceNode):
            self._wrong(node, what, "a list")
            return []
        if not node.items:
            self.report.add(node.start, f"{what} must not be empty")
        return node.items

    def named(
        self, node: Node, what: str, kind: str, known: Iterable[str] | None
    ) -> Iterator[tuple[str, Node]]:
        """Yield a mapping's keys and values; a key that is not ``known`` is a mistake (None: not checked)."""
        names = None if known is None else list(known)
        for key, entry in self.mapping(node, what).items():
            if names is None or key in names:
                yield key, entry.node
            else:
                message = f"the policy has no {kind} {shown(key)}"
                self.report.add(entry.start, message, closest(key, names, f"{kind}s"))

    def text(self, node: Node, what: str) -> str:
        """Return a text."""
        if isinstance(node, ScalarNode) and not node.bad and isinstance(node.value, str):
            return node.value
        self._wrong(node, what, "a text")
        return ""

    def number(self, node: Node, what: str, low: float = -_LARGEST, high: float = _LARGEST) -> float:
        """Return a number from ``low`` to ``high``."""
        if isinstance(node, ScalarNode) and not node.bad and type(node.value) in (int, float):
            value = float(node.value)  # type: ignore[arg-type]  # a number, as was just asked
            if low <= value <= high:
                return value
            self.report.add(node.start, f"{what} must be {low:g} to {high:g}, got {node.text}")
        else:
            self._wrong(node, what, "a number")
        return 0.0

    def whole(self, node: Node, what: str, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``."""
        if isinstance(node, ScalarNode) and not node.bad and type(node.value) is int:
            if low <= node.value <= high:
                return node.value
            bounds = f"{low} to {high}" if low < high else f"{low}"
            self.report.add(node.start, f"{what} must be {bounds}, got {node.text}")
        else:
            self._wrong(node, what, "a whole number")
        return low

    def word(self, node: Node, what: str, words: Mapping[str, _Word]) -> _Word:
        """Return what one of ``words`` stands for."""
        if isinstance(node, ScalarNode) and not node.bad and node.text in words:
            return words[node.text]
        self._wrong(node, what, f"one of {listed(list(words))}" if len(words) > 2 else " or ".join(words))
        return next(iter(words.values()))

    def _wrong(self, node: Node, what: str, expected: str) -> None:
        if not (isinstance(node, ScalarNode) and node.bad):  # else its mistake is noted already
            self.report.add(node.start, f"{what} must be {expected}, got {describe(node)}")
