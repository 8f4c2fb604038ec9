"""Merkle tree over a stream's lines, as transparency logs build it (RFC 6962, section 2.1).

Leaf ``i`` is line ``i`` of the stream without its newline. A range keeps only the roots of the largest
whole subtrees within it, so it stays small whatever it spans, and two that touch join into one: segments
can be hashed apart, and in parallel.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

__all__ = ["EMPTY_ROOT", "Range", "leaf_hash"]

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(line: bytes) -> bytes:
    """Return the hash of a leaf: one line without its newline."""
    return sha256(b"\0" + line).digest()


class Range:
    """The leaves ``begin`` to ``end``, as the roots of the largest whole subtrees within.

    ``nodes`` are (level, index at that level, hash), left to right.
    """

    __slots__ = ("begin", "end", "nodes")

    def __init__(self, begin: int = 0, end: int = 0, nodes: Iterable[tuple[int, int, bytes]] = ()) -> None:
        self.begin = begin
        self.end = max(begin, end)
        self.nodes = list(nodes)

    def copy(self) -> Range:
        """Return a range that grows apart from this one."""
        return Range(self.begin, self.end, self.nodes)

    def append(self, leaf: bytes) -> None:
        """Add the hash of the leaf that follows."""
        self._put(0, self.end, leaf)
        self.end += 1

    def join(self, other: Range) -> None:
        """Add the range that begins where this one ends; raises ``ValueError`` for any other."""
        if other.begin != self.end:
            raise ValueError(f"a range from {other.begin} does not follow one to {self.end}")
        for level, index, node in other.nodes:
            self._put(level, index, node)
        self.end = other.end

    def root(self) -> bytes:
        """Return the root of the tree of all leaves; raises ``ValueError`` where the first are missing."""
        if self.begin:
            raise ValueError(f"a range from {self.begin} has no root: the leaves before it are missing")
        if not self.nodes:
            return EMPTY_ROOT
        root = self.nodes[-1][2]
        for _, _, node in reversed(self.nodes[:-1]):
            root = sha256(b"\1" + node + root).digest()
        return root

    def _put(self, level: int, index: int, node: bytes) -> None:
        nodes = self.nodes
        while index & 1 and nodes and nodes[-1][0] == level:
            node = sha256(b"\1" + nodes.pop()[2] + node).digest()
            level += 1
            index >>= 1
        nodes.append((level, index, node))
