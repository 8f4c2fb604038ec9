"""What a vector is judged by: its goal, the prompts, what must not change, and how much it may cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from guardsteer.errors import VectorError
from guardsteer.lab.measure.traits import TraitReader
from guardsteer.lab.metrics.model import bound
from guardsteer.lab.metrics.text import Metric
from guardsteer.lab.pairs.prompts import Prompt

__all__ = ["BOUNDS", "FEWEST_PROMPTS", "Bounds", "Check", "Goal", "Part", "Parts", "Study"]

Part: TypeAlias = Literal["tuning", "test"]

FEWEST_PROMPTS = 8
"""Fewer prompts in a part tell nothing."""


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

    ``prompts``: those it is measured on, None those of the study. ``kept``: only prompts count on which the
    bare model has more than 0, for what a model can lose alone; fewer than ``FEWEST_PROMPTS`` judge nothing.
    """

    name: str
    metric: Metric
    lowest_change: float | None = None
    highest_change: float | None = None
    prompts: Parts | None = None
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Study:
    """What is measured, on which prompts. ``off_target``: prompts that steering should leave alone.

    ``traits``: readers of other traits, whose change on the study's prompts shows side effects.
    """

    goal: Goal
    prompts: Parts
    off_target: Parts | None = None
    checks: tuple[Check, ...] = ()
    traits: tuple[TraitReader, ...] = ()

    def check(self) -> None:
        """Return if the study can tell anything; ``VectorError`` says what is missing, or leaks."""
        mistakes = []
        named = [("prompts", self.prompts), ("off-target prompts", self.off_target)]
        named += [(f"prompts of {check.name}", check.prompts) for check in self.checks]
        for name, parts in named:
            if parts is None:
                continue
            fewest = min(len(parts.tuning), len(parts.test))
            if fewest < FEWEST_PROMPTS:
                mistakes.append(
                    f"{name}: {fewest} in a part, expected at least {FEWEST_PROMPTS} to tune and test"
                )
            leaks = {prompt.text for prompt in parts.tuning} & {prompt.text for prompt in parts.test}
            if leaks:
                mistakes.append(f"{name}: {len(leaks)} are in both parts, such as {min(leaks)!r:.60}")
        names = [check.name for check in self.checks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            mistakes.append(f"checks: {', '.join(twice)} given twice; a check is told by its name")
        if mistakes:
            raise VectorError(
                "the study cannot judge a vector:" + "".join(f"\n  {each}" for each in mistakes)
            )

    def bound(self, model: Any, tokenizer: Any) -> Study:
        """Return the study with the bare model in those of its metrics that need one."""
        return replace(
            self,
            goal=replace(self.goal, metric=bound(self.goal.metric, model, tokenizer)),
            checks=tuple(
                replace(check, metric=bound(check.metric, model, tokenizer)) for check in self.checks
            ),
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a push may cost, and the least that it must bring.

    ``gain`` is in units of the goal's metric, in the wished direction. ``perplexity_ratio``: of the steered
    replies to the bare ones under the bare model. ``repetition_rise``: of the share of repeated word
    triples. ``length_low`` and ``length_high`` bound the ratio of tokens. ``kl_nats``: mean divergence of
    the next token on off-target prompts, by default about what a perplexity ratio of 1.5 is in nats.
    ``side_effect``: change, either way, of the mean probability of
    another trait, where its reader is good enough to go by. None bounds nothing.
    """

    gain: float = 0.05
    perplexity_ratio: float = 1.5
    repetition_rise: float = 0.1
    length_low: float = 0.5
    length_high: float = 2.0
    kl_nats: float | None = 0.4
    side_effect: float | None = None


BOUNDS = Bounds()
