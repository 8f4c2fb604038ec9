"""Vectors used together: how alike they are, what each still does beside the other, and what both cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch

from guardsteer.errors import VectorError
from guardsteer.evaluate import Estimate, ReplyLoss, mean_interval
from guardsteer.host import point_at
from guardsteer.lab.measure.effects import Bench, Push, Reply
from guardsteer.lab.measure.measuring import BOUNDS, Goal, estimate_json, gain_of, perplexity_ratio, push_json
from guardsteer.lab.pairs.prompts import Prompt, prompts_digest
from guardsteer.steer import Vector
from guardsteer.steer.quarrels import Pushed, quarrel
from guardsteer.steer.quarrels import cosines as cosines_at

__all__ = ["Composition", "JointEffect", "Pair", "compose", "cosines"]

_LOST_SHARE = 0.5
_RESAMPLES = 1000
_FEWEST_PROMPTS = 8


@dataclass(frozen=True, slots=True)
class JointEffect:
    """Gains in one vector's goal: of the pair's first alone, its second alone, and both together.

    ``kept`` is together minus the owner of the goal alone, paired over prompts.
    """

    owner: str
    goal: str
    first: Estimate
    second: Estimate
    together: Estimate
    kept: Estimate


@dataclass(frozen=True, slots=True)
class Pair:
    """Two vectors: their cosine at each block that both act on, with the signs of their pushes.

    ``perplexity``: of the replies under the first, the second and both, over that of the bare ones.
    """

    first: str
    second: str
    cosines: dict[int, float]
    effects: tuple[JointEffect, ...]
    perplexity: tuple[Estimate, Estimate, Estimate]


@dataclass(frozen=True, slots=True)
class Composition:
    """All pairs, and in words which of them fight. ``prompts`` counts those it was measured on."""

    pairs: tuple[Pair, ...]
    warnings: tuple[str, ...]
    pushes: Mapping[str, Push]
    prompts: int
    prompts_digest: str

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON holds it."""
        names = ("first", "second", "together")
        pairs = [
            {
                "first": pair.first,
                "second": pair.second,
                "cosines": {str(block): round(value, 5) for block, value in pair.cosines.items()},
                "effects": [
                    {"owner": effect.owner, "goal": effect.goal}
                    | {name: estimate_json(getattr(effect, name)) for name in (*names, "kept")}
                    for effect in pair.effects
                ],
                "perplexity_ratio": dict(zip(names, map(estimate_json, pair.perplexity), strict=True)),
            }
            for pair in self.pairs
        ]
        return {
            "format": "guardsteer.composition/1",
            "prompts": self.prompts,
            "prompts_digest": self.prompts_digest,
            "pushes": {name: push_json(push) for name, push in self.pushes.items()},
            "pairs": pairs,
            "warnings": list(self.warnings),
        }


def cosines(first: Vector, second: Vector, blocks: Sequence[int] | None = None) -> dict[int, float]:
    """Return the cosine of two vectors' directions at each block that both have; one site alone compares."""
    if first.card.site != second.card.site or first.card.width != second.card.width:
        return {}
    found = [
        {
            point_at(block, vector.card.site): torch.tensor(vector.direction(block))
            for block in vector.blocks
            if blocks is None or block in blocks
        }
        for vector in (first, second)
    ]
    return {point.block: cosine for point, cosine in cosines_at(found[0], found[1]).items()}


def compose(
    bench: Bench,
    pushes: Mapping[str, Push],
    goals: Mapping[str, Goal],
    prompts: Sequence[Prompt],
    *,
    together: Sequence[tuple[str, str]] | None = None,
    budget: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Composition:
    """Return how every two of ``pushes`` go together on ``prompts``, or those of ``together`` alone.

    ``pushes`` and ``goals`` are by the names of the uses; each push is as it would be used alone.
    ``budget`` is that of the policy they are for, by which the warnings go; the replies are measured without
    it. Raises ``VectorError`` where there are not two, a goal is missing, or there are too few prompts.
    """
    if len(pushes) < 2 or set(pushes) != set(goals):
        raise VectorError(
            f"composition: got pushes {sorted(pushes)} and goals {sorted(goals)}, expected the same names, "
            "two at least"
        )
    if len(prompts) < _FEWEST_PROMPTS:
        raise VectorError(
            f"composition: got {len(prompts)} prompts, expected at least {_FEWEST_PROMPTS} to tell anything"
        )
    say = progress or (lambda _: None)
    chosen = list(combinations(pushes, 2)) if together is None else list(together)
    alone: dict[str, _Written] = {}
    bare = _Written(bench.bare(prompts), bench.bare_losses(prompts))
    for name in dict.fromkeys(name for pair in chosen for name in pair):
        say(f"{name} alone")
        alone[name] = _written(bench, prompts, [pushes[name]])
    pairs: list[Pair] = []
    warnings: list[str] = []
    for first, second in chosen:
        say(f"{first} with {second}")
        both = _written(bench, prompts, [pushes[first], pushes[second]])
        made = (alone[first], alone[second], both)
        effects = tuple(
            _joint(owner, owner == first, goals[owner], prompts, bare.replies, made)
            for owner in (first, second)
        )
        costs = [perplexity_ratio(bare.losses, each.losses) for each in made]
        shared = _signed(bench, pushes[first], pushes[second])
        pair = Pair(first, second, shared, effects, (costs[0], costs[1], costs[2]))
        pairs.append(pair)
        warnings += [*_fights(bench, pair, pushes, budget), *_losses(pair), *_breaks(pair)]
    return Composition(tuple(pairs), tuple(warnings), dict(pushes), len(prompts), prompts_digest(prompts))


@dataclass(frozen=True, slots=True)
class _Written:
    """What was replied, and how likely the bare model finds it."""

    replies: Sequence[Reply]
    losses: Sequence[ReplyLoss]


def _written(bench: Bench, prompts: Sequence[Prompt], pushes: Sequence[Push]) -> _Written:
    replies = bench.steered(prompts, pushes)
    return _Written(replies, bench.losses(prompts, replies))


def _joint(
    owner: str,
    is_first: bool,
    goal: Goal,
    prompts: Sequence[Prompt],
    bare: Sequence[Reply],
    made: tuple[_Written, _Written, _Written],
) -> JointEffect:
    gains = [gain_of(goal, prompts, bare, each.replies)[1] for each in made]
    own = gains[0] if is_first else gains[1]
    first, second, both, kept = (
        mean_interval(each, resamples=_RESAMPLES) for each in (*gains, gains[2] - own)
    )
    return JointEffect(owner, goal.name, first, second, both, kept)


def _signed(bench: Bench, first: Push, second: Push) -> dict[int, float]:
    shared = [block for block in first.blocks if block in second.blocks]
    found = cosines(bench.vectors[first.vector], bench.vectors[second.vector], shared)
    sign = 1.0 if first.strength * second.strength >= 0 else -1.0
    return {block: sign * value for block, value in found.items()}


def _fights(bench: Bench, pair: Pair, pushes: Mapping[str, Push], budget: float | None) -> list[str]:
    """Return at which blocks the two fight, if they act on a position together."""
    first, second = pushes[pair.first], pushes[pair.second]
    positions = [set(push.positions) for push in (first, second)]
    if not positions[0] & positions[1] and "all" not in positions[0] | positions[1]:
        return []
    sign = 1.0 if first.strength * second.strength >= 0 else -1.0
    found = []
    for block, cosine in pair.cosines.items():
        pushed = [
            Pushed(
                name, push.strength, bench.vectors[push.vector].residual_norm(block), _highest(bench, push)
            )
            for name, push in ((pair.first, first), (pair.second, second))
        ]
        wrong = quarrel(pushed[0], pushed[1], sign * cosine, budget)
        if wrong:
            advice = "use one of them" if "against" in wrong else "lower both, or set a budget"
            found.append(f"{pair.first} and {pair.second} at block {block} {wrong}; {advice}")
    return found


def _highest(bench: Bench, push: Push) -> float | None:
    window = bench.vectors[push.vector].card.recommended
    return None if window is None or set(window.blocks) != set(push.blocks) else window.high


def _losses(pair: Pair) -> list[str]:
    found = []
    for effect in pair.effects:
        other = pair.second if effect.owner == pair.first else pair.first
        alone = effect.first if effect.owner == pair.first else effect.second
        left = (1 - _LOST_SHARE) * alone.value
        if alone.low > 0 and effect.kept.high < 0 and effect.together.value < left:
            found.append(
                f"beside {other}, {effect.owner} keeps {effect.together.value:+.3f} of its gain of "
                f"{alone.value:+.3f} alone; let the policy use one at a time"
            )
    return found


def _breaks(pair: Pair) -> list[str]:
    """Return that the two break the text together, where neither does alone."""
    first, second, both = pair.perplexity
    most = BOUNDS.perplexity_ratio
    if max(first.value, second.value) > most or both.low <= most:
        return []
    return [
        f"together {pair.first} and {pair.second} raise the perplexity of replies to {both.value:.2f} times "
        f"the bare model's, above {most}, and alone to {first.value:.2f} and {second.value:.2f}; lower both"
    ]
