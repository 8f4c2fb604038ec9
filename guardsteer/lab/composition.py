"""Vectors used together: how alike they are, and whether one keeps its effect beside the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from guardsteer.errors import VectorError
from guardsteer.evaluate import Estimate, mean_interval
from guardsteer.lab.effects import Bench, Push
from guardsteer.lab.measuring import Goal, estimate_json, gain_of
from guardsteer.lab.prompts import Prompt
from guardsteer.steer import Vector

__all__ = ["Composition", "JointEffect", "Pair", "compose", "cosines"]

_ALIKE = 0.5
_LOST_SHARE = 0.5
_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class JointEffect:
    """Gains in one vector's goal: of the pair's first alone, its second alone, and both together.

    ``kept`` is together minus the owner of the goal alone, paired over prompts.
    """

    goal: str
    first: Estimate
    second: Estimate
    together: Estimate
    kept: Estimate


@dataclass(frozen=True, slots=True)
class Pair:
    """Two vectors: their cosine at each block that both act on, with the signs of their pushes."""

    first: str
    second: str
    cosines: dict[int, float]
    effects: tuple[JointEffect, ...]


@dataclass(frozen=True, slots=True)
class Composition:
    """All pairs, and in words which of them fight."""

    pairs: tuple[Pair, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON holds it."""
        pairs = [
            {
                "first": pair.first,
                "second": pair.second,
                "cosines": {str(block): round(value, 5) for block, value in pair.cosines.items()},
                "effects": [
                    {"goal": effect.goal}
                    | {
                        name: estimate_json(getattr(effect, name))
                        for name in ("first", "second", "together", "kept")
                    }
                    for effect in pair.effects
                ],
            }
            for pair in self.pairs
        ]
        return {"format": "guardsteer.composition/1", "pairs": pairs, "warnings": list(self.warnings)}


def cosines(first: Vector, second: Vector, blocks: Sequence[int] | None = None) -> dict[int, float]:
    """Return the cosine of two vectors' directions at each block that both have; one site alone compares."""
    if first.card.site != second.card.site or first.card.width != second.card.width:
        return {}
    shared = [
        block for block in first.blocks if block in second.blocks and (blocks is None or block in blocks)
    ]
    return {block: float(first.direction(block) @ second.direction(block)) for block in shared}


def compose(
    bench: Bench, pushes: Mapping[str, Push], goals: Mapping[str, Goal], prompts: Sequence[Prompt]
) -> Composition:
    """Return how every two of ``pushes`` go together on ``prompts``.

    ``pushes`` and ``goals`` are by the vectors' names; each push is as it would be used alone. Raises
    ``VectorError`` where there are not two, or a goal is missing.
    """
    if len(pushes) < 2 or set(pushes) != set(goals):
        raise VectorError(
            f"composition: got pushes {sorted(pushes)} and goals {sorted(goals)}, expected the same two"
        )
    alone = {name: bench.steered(prompts, [push]) for name, push in pushes.items()}
    bare = bench.bare(prompts)
    pairs, warnings = [], []
    for first, second in combinations(pushes, 2):
        both = bench.steered(prompts, [pushes[first], pushes[second]])
        effects = []
        for owner in (first, second):
            goal = goals[owner]
            gains = [
                gain_of(goal, prompts, bare, replies)[1] for replies in (alone[first], alone[second], both)
            ]
            own = gains[0] if owner == first else gains[1]
            estimates = [mean_interval(each, resamples=_RESAMPLES) for each in (*gains, gains[2] - own)]
            effects.append(JointEffect(goal.name, *estimates))
        pair = Pair(first, second, _signed(bench, pushes[first], pushes[second]), tuple(effects))
        pairs.append(pair)
        warnings.extend(_warnings(pair))
    return Composition(tuple(pairs), tuple(warnings))


def _signed(bench: Bench, first: Push, second: Push) -> dict[int, float]:
    shared = [block for block in first.blocks if block in second.blocks]
    found = cosines(bench.vectors[first.vector], bench.vectors[second.vector], shared)
    sign = 1.0 if first.strength * second.strength >= 0 else -1.0
    return {block: sign * value for block, value in found.items()}


def _warnings(pair: Pair) -> list[str]:
    found = []
    for block, cosine in pair.cosines.items():
        if cosine <= -_ALIKE:
            found.append(
                f"{pair.first} and {pair.second} push against each other at block {block} "
                f"(cosine {cosine:+.2f}); use one of them, or bound them by a budget"
            )
        elif cosine >= _ALIKE:
            found.append(
                f"{pair.first} and {pair.second} push almost the same way at block {block} "
                f"(cosine {cosine:+.2f}): together they are stronger than either window "
                "allows; lower both or set a budget"
            )
    for owner, effect in zip((pair.first, pair.second), pair.effects, strict=True):
        other = pair.second if owner == pair.first else pair.first
        alone = effect.first if owner == pair.first else effect.second
        left = (1 - _LOST_SHARE) * alone.value
        if alone.low > 0 and effect.kept.high < 0 and effect.together.value < left:
            found.append(
                f"beside {other}, {owner} keeps {effect.together.value:+.3f} of its gain of "
                f"{alone.value:+.3f} in {effect.goal}; let the policy use one at a time"
            )
    return found
