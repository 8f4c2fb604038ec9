"""What a calibration found, as a value: to save, to show, and to publish on a vector's card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from guardsteer.errors import VectorError
from guardsteer.evaluate import Estimate
from guardsteer.lab.measure.effects import Reply
from guardsteer.lab.measure.measuring import BOUNDS, Bounds, Measured, estimate_json
from guardsteer.lab.measure.side_effects import SideEffect
from guardsteer.steer import Recommendation, Vector, recommend
from guardsteer.steer.artifact import Schedule

__all__ = [
    "Calibration",
    "Example",
    "Rung",
    "Saturation",
    "Verdict",
    "Window",
    "examples_of",
    "saturation",
]

_EXAMPLES = 4
_FLAT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Rung:
    """One strength: its figures, the gains of random vectors there, and the bounds that it breaks."""

    measured: Measured
    controls: tuple[Estimate, ...]
    costs: tuple[str, ...]

    @property
    def strength(self) -> float:
        """The strength without its sign."""
        return abs(self.measured.push.strength)

    @property
    def beats_random(self) -> bool:
        """True where the whole interval of the gain is above what every random vector reached."""
        return bool(self.controls) and self.measured.gain.low > max(each.value for each in self.controls)

    def to_json(self, *, traits: bool = False) -> dict[str, Any]:
        """Return the figures as JSON holds them."""
        controls = [estimate_json(each) for each in self.controls]
        return {**self.measured.to_json(traits=traits), "random_gains": controls, "costs": list(self.costs)}


@dataclass(frozen=True, slots=True)
class Window:
    """Usable strengths, without their sign: every strength tried from ``low`` to ``high`` kept its bounds."""

    low: float
    recommended: float
    high: float


@dataclass(frozen=True, slots=True)
class Saturation:
    """Where more strength stops helping.

    ``turns``: beyond ``strength`` the gain falls, its interval below the best gain. ``flat``: all further
    strength adds less than a tenth of the best gain. ``none``: it still rises at the strongest push.
    ``never``: at no strength does the gain's interval lie above zero, so there is nothing to saturate.
    """

    kind: Literal["none", "flat", "turns", "never"]
    strength: float
    gain: float

    def __str__(self) -> str:
        ends = {
            "none": "still rising at",
            "flat": "more does not help beyond",
            "turns": "turns beyond",
            "never": "no strength helps, the best is",
        }
        return f"{ends[self.kind]} {self.strength:g} (gain {self.gain:+.3f})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the vector may be published, and if not, why."""

    publish: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt with the bare reply and the reply at each strength."""

    prompt: str
    bare: str
    steered: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """All that was tried, the curve of the best place and schedule, and what came of it.

    ``trials`` are on tuning prompts; ``curve`` has the random controls; ``held_out`` is the recommended
    strength on the test prompts, None where no strength was worth it. ``side_effects`` are of that push, or
    of the one that promised most on the tuning prompts. ``unjudged`` says which checks could not be.
    ``prompts`` are digests.
    """

    trials: tuple[Rung, ...]
    curve: tuple[Rung, ...]
    window: Window | None
    held_out: Rung | None
    saturation: Saturation
    verdict: Verdict
    examples: tuple[Example, ...]
    test_examples: tuple[Example, ...] = ()
    side_effects: tuple[SideEffect, ...] = ()
    unjudged: tuple[str, ...] = ()
    vector: str = ""
    vector_digest: str = ""
    model: str = ""
    goal: str = ""
    up: bool = True
    bounds: Bounds = BOUNDS
    prompts: dict[str, str] = field(default_factory=dict)
    seed: int = 0

    def recommendation(self) -> Recommendation:
        """Return what goes on the card; ``VectorError`` says why a vector that failed has none."""
        if self.window is None or self.held_out is None or not self.verdict.publish:
            reasons = "".join(f"\n  {reason}" for reason in self.verdict.reasons)
            raise VectorError(f"vector {self.vector!r} is not published:{reasons}")
        push = self.held_out.measured.push
        given = push.schedule
        schedule = None
        if given is not None:
            schedule = Schedule(
                ramp=given.ramp, half_life=given.half_life, until_sentence_end=given.until_sentence_end
            )
        return Recommendation(
            blocks=push.blocks,
            positions=push.positions,
            low=self.window.low,
            recommended=self.window.recommended,
            high=self.window.high,
            schedule=schedule,
        )

    def publish(self, vector: Vector) -> Vector:
        """Return ``vector`` with its window on the card.

        Raises ``VectorError`` where it failed its bounds, or is not the one that was calibrated.
        """
        if vector.digest != self.vector_digest:
            raise VectorError(f"vector {vector.name!r} is not the one that was calibrated; calibrate it")
        return recommend(vector, self.recommendation())

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON holds it."""
        return {
            "format": "guardsteer.calibration/1",
            "vector": self.vector,
            "vector_digest": self.vector_digest,
            "model": self.model,
            "goal": {"metric": self.goal, "direction": "up" if self.up else "down"},
            "bounds": asdict(self.bounds),
            "prompts": dict(self.prompts),
            "seed": self.seed,
            "published": self.verdict.publish,
            "reasons": list(self.verdict.reasons),
            "window": None if self.window is None else asdict(self.window),
            "saturation": asdict(self.saturation),
            "held_out": None if self.held_out is None else self.held_out.to_json(),
            "side_effects": [effect.to_json() for effect in self.side_effects],
            "unjudged": list(self.unjudged),
            "curve": [rung.to_json(traits=True) for rung in self.curve],
            "trials": [rung.to_json() for rung in self.trials],
            "examples": [asdict(example) for example in self.examples],
            "test_examples": [asdict(example) for example in self.test_examples],
        }

    def save(self, folder: Path) -> Path:
        """Write ``calibration.json`` into ``folder`` and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "calibration.json"
        path.write_text(json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        return path


def examples_of(
    prompts: Sequence[str], bare: Sequence[Reply], said: Sequence[tuple[float, Sequence[Reply]]]
) -> tuple[Example, ...]:
    """Return a few prompts, evenly chosen, with their replies; ``said``: those at each strength."""
    step = max(1, len(prompts) // _EXAMPLES)
    return tuple(
        Example(
            prompts[row], bare[row].text, tuple((strength, replies[row].text) for strength, replies in said)
        )
        for row in range(0, len(prompts), step)[:_EXAMPLES]
    )


def saturation(rungs: Sequence[Rung]) -> Saturation:
    """Return where more strength stops helping, on a curve in ascending strength."""
    gains = [rung.measured.gain for rung in rungs]
    best = max(range(len(gains)), key=lambda place: gains[place].value)
    if all(gain.low <= 0 for gain in gains):
        return Saturation("never", rungs[best].strength, gains[best].value)
    if any(later.high < gains[best].value for later in gains[best + 1 :]):
        return Saturation("turns", rungs[best].strength, gains[best].value)
    knee = next(
        (
            place
            for place in range(len(gains) - 1)
            if gains[place].value > 0
            and all(
                later.value - gains[place].value < _FLAT_SHARE * gains[best].value
                for later in gains[place + 1 :]
            )
        ),
        None,
    )
    if knee is not None:
        return Saturation("flat", rungs[knee].strength, gains[knee].value)
    return Saturation("none", rungs[best].strength, gains[best].value)
