"""What one push does: the trait beside everything that it must not cost, each figure with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardsteer.errors import VectorError
from guardsteer.evaluate import Estimate, ReplyLoss, bootstrap, mean_interval
from guardsteer.lab.effects import Bench, Push, Reply, schedule_text
from guardsteer.lab.metrics import Metric, check_scores, repetition
from guardsteer.lab.prompts import Prompt

__all__ = [
    "BOUNDS",
    "Bounds",
    "Check",
    "Goal",
    "Measured",
    "Part",
    "Parts",
    "Study",
    "gain_of",
    "measure",
    "push_json",
]

Part: TypeAlias = Literal["tuning", "test"]

_RESAMPLES = 1000
_FEWEST_PROMPTS = 8
_REPEATS = repetition(3)


@dataclass(frozen=True, slots=True)
class Parts:
    """Prompts to choose on (``tuning``) and prompts to judge on (``test``); no prompt may be in both."""

    tuning: tuple[Prompt, ...]
    test: tuple[Prompt, ...]

    def of(self, part: Part) -> tuple[Prompt, ...]:
        """Return the prompts of one part."""
        return self.tuning if part == "tuning" else self.test


@dataclass(frozen=True, slots=True)
class Goal:
    """The trait: a metric of replies that should go up, or down where ``up`` is False."""

    name: str
    metric: Metric
    up: bool = True


@dataclass(frozen=True, slots=True)
class Check:
    """Another trait or task, and how far its mean may change; None is no bound, the change is told anyway.

    ``prompts``: those it is measured on, None those of the study.
    """

    name: str
    metric: Metric
    lowest_change: float | None = None
    highest_change: float | None = None
    prompts: Parts | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """What is measured, on which prompts. ``off_target``: prompts that steering should leave alone."""

    goal: Goal
    prompts: Parts
    off_target: Parts | None = None
    checks: tuple[Check, ...] = ()

    def check(self) -> None:
        """Return if the study can tell anything; ``VectorError`` says what is missing, or leaks."""
        mistakes = []
        named = [("prompts", self.prompts), ("off-target prompts", self.off_target)]
        named += [(f"prompts of {check.name}", check.prompts) for check in self.checks]
        for name, parts in named:
            if parts is None:
                continue
            fewest = min(len(parts.tuning), len(parts.test))
            if fewest < _FEWEST_PROMPTS:
                mistakes.append(
                    f"{name}: {fewest} in a part, expected at least {_FEWEST_PROMPTS} to tune and test"
                )
            leaks = {prompt.text for prompt in parts.tuning} & {prompt.text for prompt in parts.test}
            if leaks:
                mistakes.append(f"{name}: {len(leaks)} are in both parts, such as {min(leaks)!r:.60}")
        if mistakes:
            raise VectorError(
                "the study cannot judge a vector:" + "".join(f"\n  {each}" for each in mistakes)
            )


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a push may cost, and the least that it must bring.

    ``gain`` is in units of the goal's metric, in the wished direction. ``perplexity_ratio``: of the steered
    replies to the bare ones under the bare model. ``repetition_rise``: of the share of repeated word
    triples. ``length_low`` and ``length_high`` bound the ratio of tokens. ``kl_nats``: mean divergence of
    the next token on off-target prompts; None bounds nothing.
    """

    gain: float = 0.05
    perplexity_ratio: float = 1.5
    repetition_rise: float = 0.1
    length_low: float = 0.5
    length_high: float = 2.0
    kl_nats: float | None = None


BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of one push over one part's prompts, each with a 95 % bootstrap interval over prompts.

    ``gain`` is positive where the goal was approached. ``changes`` are of the checks' means.
    """

    push: Push
    goal: Estimate
    gain: Estimate
    perplexity_ratio: Estimate
    repetition_rise: Estimate
    length_ratio: Estimate
    kl_nats: Estimate | None = None
    changes: dict[str, Estimate] = field(default_factory=dict)

    def costs(self, bounds: Bounds, checks: Sequence[Check] = ()) -> tuple[str, ...]:
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
        return tuple(text for wrong, text in broken if wrong)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON holds them, rounded to five places."""
        found: dict[str, Any] = {"push": push_json(self.push)}
        for name in ("goal", "gain", "perplexity_ratio", "repetition_rise", "length_ratio", "kl_nats"):
            value = getattr(self, name)
            found[name] = None if value is None else estimate_json(value)
        return found | {"changes": {name: estimate_json(change) for name, change in self.changes.items()}}


def measure(
    bench: Bench, study: Study, part: Part, push: Push, *, whole: bool = True
) -> tuple[Measured, tuple[Reply, ...]]:
    """Return what ``push`` does on one part of the study's prompts, and the replies.

    Without ``whole``, divergence and checks on prompts of their own are left out: enough for a control.
    """
    prompts = study.prompts.of(part)
    bare, after = bench.bare(prompts), bench.steered(prompts, [push])
    goal, gain = gain_of(study.goal, prompts, bare, after)
    losses = (bench.bare_losses(prompts), bench.losses(prompts, after))
    before, now = (_REPEATS(prompts, _texts(replies)) for replies in (bare, after))
    lengths = np.array([[len(a.ids), len(b.ids)] for a, b in zip(bare, after, strict=True)], dtype=np.float64)
    found = Measured(
        push=push,
        goal=mean_interval(goal, resamples=_RESAMPLES),
        gain=mean_interval(gain, resamples=_RESAMPLES),
        perplexity_ratio=_perplexity_ratio(*losses),
        repetition_rise=mean_interval(np.subtract(now, before), resamples=_RESAMPLES),
        length_ratio=bootstrap(lengths, _length_ratio, resamples=_RESAMPLES),
        kl_nats=_divergence(bench, study, part, push) if whole else None,
        changes={
            check.name: _change(bench, study, check, part, push, after)
            for check in study.checks
            if whole or check.prompts is None
        },
    )
    return found, after


def gain_of(
    goal: Goal, prompts: Sequence[Prompt], bare: Sequence[Reply], after: Sequence[Reply]
) -> tuple[list[float], NDArray[np.float64]]:
    """Return the goal's metric of each reply in ``after``, and how much nearer each came to the goal."""
    scores = [
        check_scores(goal.name, goal.metric(prompts, _texts(replies)), len(prompts))
        for replies in (bare, after)
    ]
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


def _change(
    bench: Bench, study: Study, check: Check, part: Part, push: Push, after: Sequence[Reply]
) -> Estimate:
    prompts = study.prompts.of(part)
    if check.prompts is not None:
        prompts = check.prompts.of(part)
        after = bench.steered(prompts, [push])
    moved = gain_of(Goal(check.name, check.metric), prompts, bench.bare(prompts), after)[1]
    return mean_interval(moved, resamples=_RESAMPLES)


def _perplexity_ratio(bare: Sequence[ReplyLoss], after: Sequence[ReplyLoss]) -> Estimate:
    rows = np.array([[a.nats, a.tokens, b.nats, b.tokens] for a, b in zip(bare, after, strict=True)])

    def ratio(drawn: NDArray[np.float64]) -> float:
        nats, tokens, nats_after, tokens_after = drawn.sum(axis=0)
        # Bounded, since a collapsed model's ratio would be beyond what JSON and a plot can hold.
        return math.exp(min(nats_after / max(tokens_after, 1) - nats / max(tokens, 1), 20.0))

    return bootstrap(rows, ratio, resamples=_RESAMPLES)


def _length_ratio(drawn: NDArray[np.float64]) -> float:
    bare, after = drawn.sum(axis=0)
    return float(after / max(bare, 1.0))
