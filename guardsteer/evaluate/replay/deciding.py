"""Whether two records of a row tell of the same decisions, and at which step they part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from guardsteer.evaluate.compare import Difference, compare_rows, first_apart
from guardsteer.evaluate.timeline import RowRecord

__all__ = ["Decisions", "compare_acts", "compare_decisions"]


@dataclass(frozen=True, slots=True)
class Decisions:
    """Flags, rules and plans of two policies or runs, over steps 0 to ``last``.

    ``flags`` and ``rules``: the first step at which each that differs does. ``plans``: what was done at
    the steps where that differs, under the record (``live``) and in the replay (``candidate``).
    """

    last: int
    flags: Mapping[str, int]
    rules: Mapping[str, int]
    plans: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """True where nothing differs at any step."""
        return not (self.flags or self.rules or self.plans)

    @property
    def parts_at(self) -> int | None:
        """The first step at which anything differs; None where nothing does."""
        return min((*self.flags.values(), *self.rules.values(), *(p.first for p in self.plans)), default=None)


def compare_decisions(recorded: RowRecord, other: RowRecord) -> Decisions:
    """Return where ``other`` was decided differently from ``recorded``, over the steps of the latter."""
    last = recorded.steps
    return Decisions(
        last=last,
        flags=first_apart(recorded.flags, other.flags, last),
        rules=first_apart(recorded.rules, other.rules, last),
        plans=compare_rows(recorded, other).differences,
    )


def compare_acts(recorded: RowRecord, other: RowRecord) -> Decisions:
    """Return where something else was done to ``other`` than to ``recorded``, whatever decided it."""
    return Decisions(
        last=recorded.steps,
        flags={},
        rules={},
        plans=compare_rows(_acted(recorded), _acted(other)).differences,
    )


def _acted(row: RowRecord) -> RowRecord:
    """Return the record without what rules in shadow would have done."""
    return replace(
        row,
        acts=[act for act in row.acts if act.began.mode == "enforce"],
        halts=[halt for halt in row.halts if halt.mode == "enforce"],
        revisions=[each for each in row.revisions if each.mode == "enforce"],
    )
