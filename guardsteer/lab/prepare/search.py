"""A window for a vector in the way that a policy pushes it, or else in another way that would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from guardsteer.core.policy import ScheduleSpec
from guardsteer.lab.measure.effects import schedule_text
from guardsteer.lab.measure.gates import with_gates
from guardsteer.lab.measure.measuring import Goal, Parts, Study
from guardsteer.lab.measure.memory import Memory
from guardsteer.lab.measure.metrics import metric_named
from guardsteer.lab.metrics.model import bound
from guardsteer.lab.pairs.contrast import Measure
from guardsteer.lab.prepare.needs import Need
from guardsteer.lab.prepare.settings import Settings, bounds_for
from guardsteer.lab.tuning.calibrate import SCHEDULES, Place, Search, calibrate
from guardsteer.lab.tuning.calibration import Calibration
from guardsteer.lab.tuning.sweep import sweep
from guardsteer.steer import Vector

__all__ = ["Found", "WindowFinder"]

_PLACES = 2


@dataclass(frozen=True, slots=True)
class Found:
    """A calibration, whether it publishes or not, and what a person must know of it."""

    calibration: Calibration
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WindowFinder:
    """Sweeps and calibrates on one model; what is in ``memory`` is not computed again."""

    model: Any
    tokenizer: Any
    settings: Settings
    memory: Memory
    progress: Callable[[str], None]

    def find(self, need: Need, vector: Vector, measure: Measure, parts: Parts) -> Found:
        """Return where, how strongly and how well ``vector`` steers as the policy pushes it.

        Where no such push holds, the other schedules are tried as well. Raises ``VectorError`` where no block
        moves the metric, and what ``calibrate`` raises.
        """
        metric = bound(metric_named(measure.metric), self.model, self.tokenizer)
        study = Study(Goal(measure.metric, metric, up=measure.up != need.subtracts), parts)
        bounds = bounds_for(measure, self.settings)
        places = self._places(need, vector, study, measure)
        judged = with_gates(study, of=need.name) if self.settings.gates else study

        def search(schedules: tuple[ScheduleSpec | None, ...]) -> Calibration:
            chosen = self.settings
            wanted = Search(
                places=places,
                strengths=chosen.strengths,
                schedules=schedules,
                subtract=need.subtracts,
                controls=chosen.controls,
                seed=chosen.seed,
            )
            return calibrate(
                self.model,
                self.tokenizer,
                vector,
                judged,
                wanted,
                bounds,
                new_tokens=chosen.new_tokens,
                batch_size=chosen.batch_size,
                progress=self.progress,
                memory=self.memory,
            )

        given = SCHEDULES if self.settings.schedules == "all" else need.schedules
        found = search(given)
        others = tuple(each for each in SCHEDULES if each not in given)
        if found.verdict.publish or not others:
            return Found(found)
        tried = ", ".join(map(schedule_text, given))
        self.progress(f"{need.name}: no window for a push that is {tried}; trying other schedules")
        other = search(others)
        if not other.verdict.publish:
            return Found(found)
        return Found(
            other, (f"no window for a push as the policy has it ({tried}); this one is for another",)
        )

    def _places(self, need: Need, vector: Vector, study: Study, measure: Measure) -> tuple[Place, ...]:
        """Return where to calibrate: at the blocks that the policy names, else where steering helps most."""
        chosen = self.settings
        if need.blocks is not None:
            return tuple(Place(need.blocks, positions) for positions in need.positions)
        swept = sweep(
            self.model,
            self.tokenizer,
            [vector],
            study,
            bounds_for(measure, chosen),
            positions=need.positions,
            strengths=chosen.sweep_strengths,
            subtract=need.subtracts,
            seed=chosen.seed,
            progress=self.progress,
            memory=self.memory,
            new_tokens=chosen.new_tokens,
            batch_size=chosen.batch_size,
        )
        return swept.places(vector.card.site, _PLACES)
