"""What a push does to the other traits of the library, held against random pushes of equal norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from guardsteer.evaluate import Estimate
from guardsteer.lab.measure.effects import Bench
from guardsteer.lab.measure.measuring import Measured, Part, Study, estimate_json, trait_changes

__all__ = ["SideEffect", "side_effects"]


@dataclass(frozen=True, slots=True)
class SideEffect:
    """The change of a reader's mean probability for one other trait.

    ``controls``: the same of random pushes. ``auroc``: how well the reader tells that trait's held-out pairs
    apart; ``reliable``: well enough to go by.
    """

    trait: str
    change: Estimate
    controls: tuple[float, ...]
    auroc: float | None
    reliable: bool

    @property
    def moved(self) -> bool:
        """True where the reader is reliable and the whole interval is further out than any random push."""
        low, high = self.change.low, self.change.high
        nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
        return self.reliable and nearest > max(map(abs, self.controls), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        told = {"trait": self.trait, "change": estimate_json(self.change), "moved": self.moved}
        random = [round(value, 5) for value in self.controls]
        reader = {"reader_auroc": self.auroc, "reader_reliable": self.reliable}
        return {**told, "random_changes": random, **reader}


def side_effects(
    bench: Bench, study: Study, part: Part, found: Measured, controls: Sequence[str]
) -> tuple[SideEffect, ...]:
    """Return what the push of ``found`` did to the study's traits, the largest change first.

    ``controls``: the bench's names of random vectors, which are pushed in its place. Nothing where ``found``
    was measured without other traits.
    """
    if not found.traits:
        return ()
    prompts = study.prompts.of(part)
    pushes = [replace(found.push, vector=name) for name in controls]
    random = [trait_changes(bench, study, part, bench.steered(prompts, [push])) for push in pushes]
    made = [
        SideEffect(
            trait=reader.name,
            change=found.traits[reader.name],
            controls=tuple(control[reader.name].value for control in random),
            auroc=reader.auroc,
            reliable=reader.reliable,
        )
        for reader in study.traits
    ]
    return tuple(sorted(made, key=lambda effect: abs(effect.change.value), reverse=True))
