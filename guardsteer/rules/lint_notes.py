"""Warnings about a policy that can be loaded, each at its place in the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from guardsteer.core.policy import Policy
from guardsteer.rules.document import MappingNode, ScalarNode, compose, find
from guardsteer.rules.places import Report
from guardsteer.rules.routing import loc_in_file

__all__ = ["Kind", "LintWarning", "Notes"]

Kind: TypeAlias = Literal[
    "unreachable",
    "beaten",
    "fight",
    "dead-part",
    "unused",
    "thresholds",
    "no-effect",
    "no-budget",
    "vectors-fight",
]
"""``unreachable``: a rule's condition is never true. ``beaten``: another rule always takes its place.
``fight``: another rule always takes one of its vectors. ``dead-part``: a part of a condition is never or
always true. ``unused``: a name that nothing uses. ``thresholds``: flags of one signal whose order turns
round, and thresholds that are always reached. ``no-effect``: a field that changes nothing where it
stands. ``no-budget``: several vectors at one place with no bound on their sum. ``vectors-fight``: on the
model at hand, vectors push against each other, or the same way beyond their windows."""


@dataclass(frozen=True, slots=True)
class LintWarning:
    """Something in a policy that is not wrong but surely not meant; ``line`` 0: the place is not known."""

    kind: Kind
    file: str
    line: int
    column: int
    message: str
    hint: str = ""
    source: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: warning: {self.message}"
        if self.hint:
            text += f" ({self.hint})"
        if self.source:
            text += f"\n    {self.source}\n    {' ' * max(self.column - 1, 0)}^"
        return text


class Notes:
    """Collects warnings; finds their places in the policy's own text."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._report = Report(policy.source, policy.text.removeprefix("\ufeff"))
        root = compose(self._report)
        self.root = root if isinstance(root, MappingNode) else MappingNode(0)
        self._kinds: dict[tuple[int, int, str], Kind] = {}

    @property
    def full(self) -> bool:
        """True once there are more warnings than are listed."""
        return self._report.full

    def add(
        self, kind: Kind, loc: Sequence[int | str], message: str, hint: str = "", *, key: bool = False
    ) -> None:
        """Note a warning at ``loc`` of the document, with ``key`` at the key and not at its value."""
        place, _ = loc_in_file(self.policy, self.root, loc)
        node, key_start, _ = find(self.root, place)
        start = key_start if key_start >= 0 and (key or not isinstance(node, ScalarNode)) else node.start
        self._report.add(start, message, hint)
        self._kinds.setdefault((*self._report.place(start), message), kind)

    def warnings(self) -> tuple[LintWarning, ...]:
        """Return what was noted, in the file's order."""
        found = []
        for p in self._report.problems():
            kind = self._kinds.get((p.line, p.column, p.message), "no-effect")
            line, column = (p.line, p.column) if self.policy.text else (0, 0)
            found.append(LintWarning(kind, p.file, line, column, p.message, p.hint, p.source))
        return tuple(found)
