"""What one push does: the trait beside everything that it must not cost, each figure with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardsteer.evaluate import Estimate, ReplyLoss, bootstrap, mean_interval
from guardsteer.lab.measure.effects import Bench, Push, Reply, schedule_text
from guardsteer.lab.measure.study import BOUNDS, FEWEST_PROMPTS, Bounds, Check, Goal, Part, Parts, Study
from guardsteer.lab.measure.traits import TraitReader
from guardsteer.lab.metrics.register import scored
from guardsteer.lab.metrics.text import repetition
from guardsteer.lab.pairs.prompts import Prompt

__all__ = [
    "BOUNDS",
    "Bounds",
    "Check",
    "Goal",
    "Measured",
    "Part",
    "Parts",
    "Study",
    "completed",
    "gain_of",
    "measure",
    "perplexity_ratio",
    "push_json",
    "trait_changes",
    "unjudged",
]

_RESAMPLES = 1000
_REPEATS = repetition(3)


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of one push over one part's prompts, each with a 95 % bootstrap interval over prompts.

    ``gain`` is positive where the goal was approached. ``changes`` are of the checks' means, ``traits`` of
    the mean probabilities that the study's readers give.
    """

    push: Push
    goal: Estimate
    gain: Estimate
    perplexity_ratio: Estimate
    repetition_rise: Estimate
    length_ratio: Estimate
    kl_nats: Estimate | None = None
    changes: dict[str, Estimate] = field(default_factory=dict)
    traits: dict[str, Estimate] = field(default_factory=dict)

    def costs(
        self, bounds: Bounds, checks: Sequence[Check] = (), traits: Sequence[TraitReader] = ()
    ) -> tuple[str, ...]:
        """Return which bounds are broken, in words; the gain is not among them."""
        ratio, length = self.perplexity_ratio.value, self.length_ratio.value
        broken = [
            (
                ratio > bounds.perplexity_ratio,
                f"perplexity ratio {ratio:.2f} above {bounds.perplexity_ratio:g}",
            ),
            (
                self.repetition_rise.value > bounds.repetition_rise,
                f"repetition up by {self.repetition_rise.value:.3f}, above {bounds.repetition_rise:g}",
            ),
            (length < bounds.length_low, f"length ratio {length:.2f} below {bounds.length_low:g}"),
            (length > bounds.length_high, f"length ratio {length:.2f} above {bounds.length_high:g}"),
        ]
        if self.kl_nats is not None and bounds.kl_nats is not None:
            moved = self.kl_nats.value
            broken.append(
                (moved > bounds.kl_nats, f"off-target KL {moved:.3f} above {bounds.kl_nats:g} nats")
            )
        for check in checks:
            if check.name not in self.changes:
                continue
            change = self.changes[check.name].value
            low, high = check.lowest_change, check.highest_change
            broken.append(
                (low is not None and change < low, f"{check.name} changed by {change:+.3f}, below {low}")
            )
            broken.append(
                (high is not None and change > high, f"{check.name} changed by {change:+.3f}, above {high}")
            )
        for reader in traits:
            if bounds.side_effect is not None and reader.reliable and reader.name in self.traits:
                change, most = self.traits[reader.name].value, bounds.side_effect
                broken.append((abs(change) > most, f"{reader.name} moved by {change:+.3f}, beyond {most:g}"))
        return tuple(text for wrong, text in broken if wrong)

    def to_json(self, *, traits: bool = False) -> dict[str, Any]:
        """Return the figures as JSON holds them, rounded to five places; of other ``traits`` if wanted."""
        found: dict[str, Any] = {"push": push_json(self.push)}
        for name in ("goal", "gain", "perplexity_ratio", "repetition_rise", "length_ratio", "kl_nats"):
            value = getattr(self, name)
            found[name] = None if value is None else estimate_json(value)
        for name in ("changes", "traits") if traits else ("changes",):
            found[name] = {of: estimate_json(change) for of, change in getattr(self, name).items()}
        return found


def measure(
    bench: Bench, study: Study, part: Part, push: Push, *, whole: bool = True
) -> tuple[Measured, tuple[Reply, ...]]:
    """Return what ``push`` does on one part of the study's prompts, and the replies.

    Without ``whole``, divergence, checks on prompts of their own and other traits are left out: enough for a
    control, and to see that a push is not worth more; ``completed`` adds them.
    """
    prompts = study.prompts.of(part)
    bare, after = bench.bare(prompts), bench.steered(prompts, [push])
    goal, gain = gain_of(study.goal, prompts, bare, after)
    losses = (bench.bare_losses(prompts), bench.losses(prompts, after))
    before, now = (_REPEATS(prompts, _texts(replies)) for replies in (bare, after))
    lengths = np.array([[len(a.ids), len(b.ids)] for a, b in zip(bare, after, strict=True)], dtype=np.float64)
    own = [check for check in study.checks if check.prompts is None]
    found = Measured(
        push=push,
        goal=mean_interval(goal, resamples=_RESAMPLES),
        gain=mean_interval(gain, resamples=_RESAMPLES),
        perplexity_ratio=perplexity_ratio(*losses),
        repetition_rise=mean_interval(np.subtract(now, before), resamples=_RESAMPLES),
        length_ratio=bootstrap(lengths, _length_ratio, resamples=_RESAMPLES),
        changes=_changes(bench, study, own, part, push, after),
    )
    return (completed(bench, study, part, found, after) if whole else found), after


def completed(bench: Bench, study: Study, part: Part, found: Measured, after: Sequence[Reply]) -> Measured:
    """Return ``found`` with all that ``measure`` leaves out where it need not be whole."""
    elsewhere = [check for check in study.checks if check.prompts is not None]
    return replace(
        found,
        kl_nats=_divergence(bench, study, part, found.push),
        changes={**found.changes, **_changes(bench, study, elsewhere, part, found.push, after)},
        traits=trait_changes(bench, study, part, after),
    )


def trait_changes(bench: Bench, study: Study, part: Part, after: Sequence[Reply]) -> dict[str, Estimate]:
    """Return how much the mean of each reader of the study's traits differs from the bare model's."""
    prompts = study.prompts.of(part)
    bare = bench.bare(prompts)
    return {
        reader.name: mean_interval(
            gain_of(Goal(reader.name, reader), prompts, bare, after)[1], resamples=_RESAMPLES
        )
        for reader in study.traits
    }


def unjudged(bench: Bench, study: Study, part: Part) -> tuple[str, ...]:
    """Return which checks the bare model passes too seldom for a loss to tell anything, in words."""
    found = []
    for check in study.checks:
        prompts = (check.prompts or study.prompts).of(part)
        if check.kept and (kept := len(_kept(bench, check, prompts))) < FEWEST_PROMPTS:
            found.append(
                f"{check.name}: on the {part} prompts the bare model has {kept} of {len(prompts)}, fewer "
                f"than {FEWEST_PROMPTS}, so that a loss is not judged"
            )
    return tuple(found)


def gain_of(
    goal: Goal, prompts: Sequence[Prompt], bare: Sequence[Reply], after: Sequence[Reply]
) -> tuple[list[float], NDArray[np.float64]]:
    """Return the goal's metric of each reply in ``after``, and how much nearer each came to the goal."""
    scores = [scored(goal.name, goal.metric, prompts, _texts(replies)) for replies in (bare, after)]
    change = np.subtract(scores[1], scores[0])
    return scores[1], change if goal.up else -change


def push_json(push: Push) -> dict[str, Any]:
    """Return a push as JSON holds it, its schedule in words beside its numbers."""
    return {
        "blocks": list(push.blocks),
        "positions": list(push.positions),
        "strength": push.strength,
        "schedule": None if push.schedule is None else asdict(push.schedule),
        "for": schedule_text(push.schedule),
    }


def estimate_json(found: Estimate) -> dict[str, float | int]:
    """Return an estimate as JSON holds it."""
    ends = {name: round(getattr(found, name), 5) for name in ("value", "low", "high")}
    return {**ends, "rows": found.rows}


def _texts(replies: Sequence[Reply]) -> list[str]:
    return [reply.text for reply in replies]


def _divergence(bench: Bench, study: Study, part: Part, push: Push) -> Estimate | None:
    if study.off_target is None:
        return None
    return mean_interval(bench.divergences(study.off_target.of(part), [push]), resamples=_RESAMPLES)


def _changes(
    bench: Bench,
    study: Study,
    checks: Sequence[Check],
    part: Part,
    push: Push,
    after: Sequence[Reply],
) -> dict[str, Estimate]:
    found = {}
    for check in checks:
        prompts, replies = study.prompts.of(part), after
        if check.prompts is not None:
            prompts = check.prompts.of(part)
            replies = bench.steered(prompts, [push])
        rows = _kept(bench, check, prompts) if check.kept else list(range(len(prompts)))
        if check.kept and len(rows) < FEWEST_PROMPTS:
            continue
        moved = gain_of(Goal(check.name, check.metric), prompts, bench.bare(prompts), replies)[1]
        found[check.name] = mean_interval(moved[rows], resamples=_RESAMPLES)
    return found


def _kept(bench: Bench, check: Check, prompts: Sequence[Prompt]) -> list[int]:
    scores = scored(check.name, check.metric, prompts, _texts(bench.bare(prompts)))
    return [row for row, score in enumerate(scores) if score > 0]


def perplexity_ratio(bare: Sequence[ReplyLoss], after: Sequence[ReplyLoss]) -> Estimate:
    """Return the perplexity of replies over that of the bare ones, both under the bare model."""
    rows = np.array([[a.nats, a.tokens, b.nats, b.tokens] for a, b in zip(bare, after, strict=True)])

    def ratio(drawn: NDArray[np.float64]) -> float:
        nats, tokens, nats_after, tokens_after = drawn.sum(axis=0)
        # Bounded, since a collapsed model's ratio would be beyond what JSON and a plot can hold.
        return math.exp(min(nats_after / max(tokens_after, 1) - nats / max(tokens, 1), 20.0))

    return bootstrap(rows, ratio, resamples=_RESAMPLES)


def _length_ratio(drawn: NDArray[np.float64]) -> float:
    bare, after = drawn.sum(axis=0)
    return float(after / max(bare, 1.0))
