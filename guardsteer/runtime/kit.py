"""Everything that a guard fixed when it was put on: policy, program, readings, slots, probes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guardsteer.classify.guarded import GuardedClassifier
from guardsteer.core.policy import Policy
from guardsteer.host import Fingerprint, Layout
from guardsteer.runtime.probing import PlacedProbe
from guardsteer.runtime.row import RowKit
from guardsteer.steer.deltas import Composer

__all__ = ["Kit"]


@dataclass(frozen=True, slots=True, eq=False)
class Kit:
    """What all generations of a guard share; nothing here changes while the guard is on.

    ``requested`` maps (rule, vector) to the signed strength that the rule asks for, before any cap.
    """

    policy: Policy
    program: Any
    rows: RowKit
    layout: Layout
    fingerprint: Fingerprint
    composer: Composer
    probes: tuple[PlacedProbe, ...]
    fallback: tuple[int, ...]
    classifier_digests: Mapping[str, str]
    requested: Mapping[tuple[int, int], float]

    @property
    def halts(self) -> bool:
        """True where some row may be ended by the guard."""
        return any(rule.halt for rule in self.policy.rules) or self.policy.audit.on_error == "halt"

    @property
    def hooked_blocks(self) -> tuple[int, ...]:
        """Blocks that steer or are probed, in ascending order."""
        probed = {entry.probe.block for entry in self.probes}
        return tuple(sorted({*self.composer.blocks, *probed}))

    def close(self) -> None:
        """End the threads of classifiers with a deadline; for when no generation is under way."""
        for reading in self.rows.readings:
            if isinstance(reading.classifier, GuardedClassifier):
                reading.classifier.close()
