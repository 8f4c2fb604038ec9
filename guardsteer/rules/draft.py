"""A policy on its way to a program: its conditions as trees, and what must wait for probes."""

from __future__ import annotations

from dataclasses import dataclass, field

from guardsteer.core.policy import Mode, Policy
from guardsteer.rules.blame import Blame
from guardsteer.rules.syntax import Condition, FlagRef, SignalRef, leaves

__all__ = ["Draft"]


@dataclass(slots=True)
class Draft:
    """A policy whose names are resolved; ``modes`` holds each rule's own.

    ``decision`` is the deepest probe in use and its block. ``within_*`` have to wait for it.
    """

    policy: Policy
    blame: Blame
    signal_index: dict[str, int]
    outputs: dict[str, tuple[str, ...]]
    probes: dict[str, int]
    conditions: list[Condition]
    modes: tuple[Mode, ...]
    flag_signals: dict[str, str]
    decision: tuple[int, str] | None = None
    within_rules: set[int] = field(default_factory=set)
    within_vectors: set[str] = field(default_factory=set)

    def of_probe(self, signal: str) -> bool:
        """Return whether a signal comes from a probe."""
        return signal.partition(".")[0] in self.probes

    def signals_of(self, condition: Condition) -> list[str]:
        """Return the signals on which a condition depends, through flags too, in the order of signals."""
        found = set()
        for leaf in leaves(condition):
            if isinstance(leaf, SignalRef):
                found.add(leaf.name)
            elif isinstance(leaf, FlagRef):
                found.add(self.flag_signals[leaf.name])
        return sorted(found, key=self.signal_index.__getitem__)
