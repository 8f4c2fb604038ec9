"""Places for mistakes that show only when a loaded policy meets its classifiers and vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from guardsteer.core.digests import digest_bytes
from guardsteer.core.policy import Policy
from guardsteer.errors import PolicyError, Problem
from guardsteer.rules.document import Node, ScalarNode, compose, find
from guardsteer.rules.places import Report, index_within
from guardsteer.rules.routing import loc_in_file

__all__ = ["Blame"]


class Blame:
    """Collects problems of a policy; reads its file again for the exact place, if that is still the same."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._problems: list[Problem] = []
        self._report: Report | None = None
        self._root: Node | None = None

    def add(
        self, loc: Sequence[int | str], message: str, hint: str = "", *, line: int = 0, offset: int = 0
    ) -> None:
        """Note a problem at ``loc`` of the document, ``offset`` characters into its text.

        ``line`` stands in where the file is gone or has changed.
        """
        self._read()
        if self._report is None or self._root is None:
            self._problems.append(Problem(self.policy.source, line, 1 if line else 0, message, hint))
            return
        loc, offset = loc_in_file(self.policy, self._root, loc, offset)
        node = find(self._root, loc)[0]
        index = node.start
        if isinstance(node, ScalarNode):
            index = index_within(self._report.text, node.start, node.style, node.text, offset)
        self._report.add(index, message, hint)

    def _read(self) -> None:
        if self._report is not None or self._problems:
            return
        try:
            data = Path(self.policy.source).read_bytes()
        except (OSError, ValueError):
            return
        if digest_bytes(data) != self.policy.digest:
            return
        report = Report(self.policy.source, data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"))
        self._root = compose(report)
        self._report = report if self._root is not None else None

    def raise_if_any(self) -> None:
        """Raise ``PolicyError`` with what was noted, if anything was."""
        problems = [*self._problems, *(self._report.problems() if self._report is not None else [])]
        if problems:
            raise PolicyError(problems)
