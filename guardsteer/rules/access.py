"""Looking into a tree that may not have the shape it should have."""

from __future__ import annotations

from guardsteer.rules.document import Entry, MappingNode, Node, ScalarNode, SequenceNode
from guardsteer.rules.places import Report, index_within

__all__ = ["child_of", "entries_of", "many_of", "number_of", "start_within", "text_of"]


def entries_of(node: Node, key: str) -> dict[str, Entry]:
    """Return the entries of the mapping at ``key``; none where it is no mapping."""
    child = child_of(node, key)
    return child.entries if isinstance(child, MappingNode) else {}


def child_of(node: Node, key: str) -> Node | None:
    """Return the value at ``key``, None where there is none."""
    entry = node.entries.get(key) if isinstance(node, MappingNode) else None
    return entry.node if entry is not None else None


def text_of(node: Node | None) -> ScalarNode | None:
    """Return the node if it is a text that has no problem yet."""
    return node if isinstance(node, ScalarNode) and isinstance(node.value, str) and not node.bad else None


def number_of(node: Node | None) -> float | None:
    """Return the value if it is a number."""
    if not isinstance(node, ScalarNode) or node.bad or isinstance(node.value, bool):
        return None
    return node.value if isinstance(node.value, int | float) else None


def many_of(node: Node | None) -> list[Node]:
    """Return the items of a list, or a single node as the only one."""
    if node is None:
        return []
    return node.items if isinstance(node, SequenceNode) else [node]


def start_within(report: Report, node: ScalarNode, offset: int) -> int:
    """Return where in the text character ``offset`` of a scalar's value is written."""
    return index_within(report.text, node.start, node.style, node.text, offset)
