"""Everything that a guard fixed when it was put on: policy, program, readings, slots, probes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from guardsteer.classify.pace.guarded import GuardedClassifier
from guardsteer.core.policy import Policy, RuleSpec
from guardsteer.host import Fingerprint, Layout, Point, outputs_of_blocks
from guardsteer.rules.rollout import may_enforce
from guardsteer.runtime.probing import PlacedProbe
from guardsteer.runtime.row import RowKit
from guardsteer.steer.composing import Composer

__all__ = ["Kit"]


@dataclass(frozen=True, slots=True, eq=False)
class Kit:
    """What all generations of a guard share; nothing here changes while the guard is on.

    ``requested`` maps (rule, channel) to the signed strength that the rule asks for, before any cap.
    ``candidates`` run beside it in shadow, by name.
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
    candidates: Mapping[str, Kit] = field(default_factory=dict)

    @property
    def acts(self) -> bool:
        """True where the policy is enforced on some request."""
        return may_enforce(self.policy.binding)

    @property
    def acting(self) -> tuple[RuleSpec, ...]:
        """The rules that have an effect on some request."""
        rules = zip(self.policy.rules, self.program.modes, strict=True)
        return tuple(rule for rule, mode in rules if mode == "enforce") if self.acts else ()

    @property
    def halts(self) -> bool:
        """True where some row may be ended by the guard."""
        for rule in self.acting:
            if rule.halt or (rule.revise is not None and rule.revise.then == "halt"):
                return True
        return self.acts and self.policy.audit.on_error == "halt"

    @property
    def revises(self) -> bool:
        """True where text of some row may be taken back."""
        return any(rule.revise is not None for rule in self.acting)

    @property
    def holds(self) -> bool:
        """True where text of some row may be held back."""
        return any(rule.hold_back is not None for rule in self.acting)

    @property
    def points(self) -> tuple[Point, ...]:
        """Points that steer or are probed, for candidates too, in the order in which a pass reaches them."""
        probes = [entry.probe for kit in (self, *self.candidates.values()) for entry in kit.probes]
        probed = outputs_of_blocks(probe.block for probe in probes)
        return tuple(sorted({*self.composer.points, *probed}))

    def close(self) -> None:
        """End the threads of classifiers with a deadline; for when no generation is under way."""
        for kit in (self, *self.candidates.values()):
            for reading in kit.rows.readings:
                if isinstance(reading.classifier, GuardedClassifier):
                    reading.classifier.close()
