"""Dose and response: what more and more of one vector does to replies, beside random vectors of equal norm.

Three examples are made of this: a recipe, what to count in the replies, and the words around it. The place is
chosen by a sweep over tuning prompts; all figures are of other prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from examples.warm_when_hostile import talk
from guardsteer.assets import Catalog
from guardsteer.core.policy import Position
from guardsteer.demo import load_model
from guardsteer.demo.corpus.tickets import Split, draw_tickets
from guardsteer.lab.extraction.extract import extract
from guardsteer.lab.measure.effects import Bench, Push, random_like
from guardsteer.lab.measure.measuring import BOUNDS, Check, Goal, Measured, Parts, Study, measure
from guardsteer.lab.pairs.prompts import Prompt, few, load_prompts
from guardsteer.lab.recipes.recipe import load_recipe
from guardsteer.lab.tuning.calibration import Rung, Saturation, saturation
from guardsteer.lab.tuning.sweep import Spot, sweep

__all__ = ["DEMO", "STRENGTHS", "Dose", "Step", "Trial", "doses", "load", "parts"]

DEMO = "demo"
STRENGTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
_UTTERANCES = talk.HERE / "utterances"
_WHERE: tuple[Position, ...] = ("last_prompt_token", "generated")
_TICKETS = 300


@dataclass(frozen=True, slots=True)
class Trial:
    """A recipe of the catalogue, what its vector should change in replies, and what else is counted.

    ``tuning``: prompts to choose the block on. What is rare in replies needs more of them.
    """

    recipe: str
    goal: Goal
    watched: tuple[Check, ...] = ()
    tuning: int = 60
    strengths: tuple[float, ...] = STRENGTHS


@dataclass(frozen=True, slots=True)
class Step:
    """One strength: what the vector did, what random vectors of its norm did, and the replies."""

    measured: Measured
    random: tuple[Measured, ...]
    replies: tuple[str, ...]

    @property
    def strength(self) -> float:
        """The strength, in units of the block's residual norm."""
        return self.measured.push.strength

    @property
    def rung(self) -> Rung:
        """The step as the lab's calibration holds it, with the bounds that it breaks."""
        gains = tuple(each.gain for each in self.random)
        return Rung(self.measured, gains, self.measured.costs(BOUNDS))


@dataclass(frozen=True, slots=True)
class Dose:
    """The place that the sweep found and every strength there; ``steps[0]`` is strength 0, the bare model."""

    spot: Spot
    prompts: tuple[Prompt, ...]
    steps: tuple[Step, ...] = field(repr=False)

    @property
    def saturation(self) -> Saturation | None:
        """Where more strength stops helping; None where the trait never surely rises."""
        if max(step.measured.gain.low for step in self.steps) <= 0:
            return None
        return saturation([step.rung for step in self.steps[1:]])

    @property
    def low(self) -> Step:
        """The strongest push below the first that breaks a bound."""
        broken = [place for place, step in enumerate(self.steps) if step.rung.costs]
        return self.steps[broken[0] - 1 if broken else -1]

    @property
    def high(self) -> Step:
        """The push nearest to twice the low one, whatever it costs."""
        return min(self.steps, key=lambda step: abs(step.strength - 2 * self.low.strength))

    @property
    def most(self) -> Step:
        """The push with the highest gain, whatever it costs."""
        return max(self.steps, key=lambda step: step.measured.gain.value)


def load(name: str) -> tuple[Any, Any]:
    """Return the model and tokenizer of a folder, or those in the package for ``demo``; ``AssetError``."""
    torch.set_num_threads(1)
    return load_model() if name == DEMO else talk.load(Path(name))


def parts(name: str, tuning: int, test: int, taken: Sequence[str] = ()) -> Parts:
    """Return so many prompts to choose on and to judge on, as far as there are; none is in ``taken``.

    Everyday talk; for the demo model support tickets, those to judge on in wordings that it never read.
    """
    if name == DEMO:
        choose, judge = _tickets("train", 1), _tickets("held_out", 2)
    else:
        choose, judge = (load_prompts(_UTTERANCES / f"{file}.txt") for file in ("calm", "held_out_calm"))
    known = {*taken, *(prompt.text for prompt in judge)}
    return Parts(
        few([prompt for prompt in choose if prompt.text not in known], tuning),
        few([prompt for prompt in judge if prompt.text not in taken], test),
    )


def _tickets(split: Split, seed: int) -> tuple[Prompt, ...]:
    found: dict[str, Prompt] = {}
    for number, ticket in enumerate(draw_tickets(_TICKETS, seed, split)):
        turns = tuple({"role": turn["role"], "content": turn["content"]} for turn in ticket.messages)
        found.setdefault(turns[-1]["content"], Prompt(f"{split}-{number}", turns))
    return tuple(found.values())


def doses(
    model: Any,
    tokenizer: Any,
    trial: Trial,
    prompts: Parts,
    *,
    blocks: Sequence[int] | None = None,
    controls: int = 3,
    new_tokens: int = 40,
    progress: Callable[[str], None] = lambda _: None,
) -> Dose:
    """Return what each strength does on the test prompts, at the place that a sweep on the others found."""
    vector = extract(model, tokenizer, load_recipe(Catalog().find("vectors", trial.recipe)))
    study = Study(trial.goal, prompts, checks=trial.watched)
    sizes: dict[str, Any] = {"new_tokens": new_tokens, "batch_size": 60}
    swept = sweep(
        model, tokenizer, [vector], study, blocks=blocks, positions=(_WHERE,), progress=progress, **sizes
    )
    spot = swept.spots[0]
    random = {f"random-{seed}": random_like(vector, seed) for seed in range(1, controls + 1)}
    steps = []
    with Bench(model, tokenizer, {"vector": vector, **random}, **sizes) as bench:
        for strength in (0.0, *trial.strengths):
            pushes = [Push(name, (spot.block,), strength, _WHERE) for name in bench.vectors]
            (done, replies), *others = [measure(bench, study, "test", push) for push in pushes]
            said = tuple(reply.text for reply in replies)
            steps.append(Step(done, tuple(each for each, _ in others), said))
            progress(f"strength {strength:g}: {trial.goal.name} {done.goal.value:.3f}")
    return Dose(spot, prompts.test, tuple(steps))
