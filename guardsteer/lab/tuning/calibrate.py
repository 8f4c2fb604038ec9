"""How strongly to steer, where and for how long: found on tuning prompts, judged on test prompts.

Strengths are tried in each place and for each schedule. A strength is usable where the goal is approached
by enough, clearly more than by random vectors of equal norm, and no bound is broken. The window is the run of
usable strengths around the recommended one. What is published must hold once more on the test prompts,
which nothing was chosen on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from guardsteer.core.policy import ScheduleSpec
from guardsteer.evaluate import Estimate
from guardsteer.host import fingerprint
from guardsteer.lab.measure.effects import Bench, Push, Reply, random_like, schedule_text
from guardsteer.lab.measure.measuring import (
    BOUNDS,
    Bounds,
    Measured,
    Part,
    Study,
    completed,
    measure,
    unjudged,
)
from guardsteer.lab.measure.memory import Memory
from guardsteer.lab.measure.side_effects import SideEffect, side_effects
from guardsteer.lab.pairs.prompts import prompts_digest
from guardsteer.lab.tuning.calibration import Calibration, Rung, Verdict, Window, examples_of, saturation
from guardsteer.lab.tuning.search import SCHEDULES, STRENGTHS, Place, Search
from guardsteer.steer import Vector, check_binding

__all__ = ["SCHEDULES", "STRENGTHS", "Place", "Search", "calibrate", "line"]

_VECTOR = "vector"
_CANDIDATES = 3
_HOPELESS_RATIO = 2.0
_ROUNDING = 0.01


def calibrate(
    model: Any,
    tokenizer: Any,
    vector: Vector,
    study: Study,
    search: Search,
    bounds: Bounds = BOUNDS,
    *,
    new_tokens: int = 48,
    batch_size: int = 32,
    progress: Callable[[str], None] = lambda _: None,
    memory: Memory | None = None,
) -> Calibration:
    """Return the window of ``vector`` on ``model``, or why it has none; ``.publish(vector)`` gives the card.

    ``progress`` is told of every setting that was tried; what is in ``memory`` is not computed again.
    Raises ``VectorError`` for a study or search that cannot tell, ``BindingError`` for a vector of another
    model, and what ``guardsteer.wrap`` raises.
    """
    study.check()
    search.check()
    study = study.bound(model, tokenizer)
    identity = fingerprint(model, tokenizer)
    check_binding(vector, identity)
    controls = {f"random-{n}": random_like(vector, search.seed + n) for n in range(search.controls)}
    vectors = {_VECTOR: vector, **controls}
    with Bench(
        model, tokenizer, vectors, new_tokens=new_tokens, batch_size=batch_size, memory=memory
    ) as bench:
        run = _Run(bench, study, search, bounds, tuple(controls), progress)
        found = run.calibrate()
    return replace(
        found,
        vector=vector.name,
        vector_digest=vector.digest,
        model=identity.short,
        goal=study.goal.name,
        up=study.goal.up,
        bounds=bounds,
        prompts={part: prompts_digest(study.prompts.of(part)) for part in ("tuning", "test")},
        seed=search.seed,
    )


@dataclass(slots=True)
class _Run:
    bench: Bench
    study: Study
    search: Search
    bounds: Bounds
    controls: tuple[str, ...]
    progress: Callable[[str], None]
    tried: dict[Push, Rung] = field(default_factory=dict)
    said: dict[Push, tuple[Reply, ...]] = field(default_factory=dict)
    whole: set[Push] = field(default_factory=set)

    def calibrate(self) -> Calibration:
        ladders = [
            self._climb(place, schedule)
            for place in self.search.places
            for schedule in self._schedules(place)
        ]
        ranked = sorted(ladders, key=self._worth, reverse=True)
        for ladder in ranked[:_CANDIDATES]:
            if self._worth(ladder)[0] <= 0:
                break
            rungs = self._refined([self._controlled(rung) for rung in ladder])
            chosen = self._recommended(rungs)
            if chosen is not None:
                return self._judged(rungs, chosen)
        rungs = [self._controlled(rung) for rung in ranked[0]]
        return self._result(rungs, None, None, self._why_none(rungs))

    def _schedules(self, place: Place) -> tuple[ScheduleSpec | None, ...]:
        # A push on the prompt alone is over before any schedule makes a difference.
        lasting = {"generated", "all"} & set(place.positions)
        return self.search.schedules if lasting else (None,)

    def _climb(self, place: Place, schedule: ScheduleSpec | None) -> list[Rung]:
        """Try strengths upwards, until the model breaks twice in a row."""
        rungs: list[Rung] = []
        for strength in self.search.strengths:
            rungs.append(self._try(self._push(place, schedule, strength)))
            if len(rungs) > 1 and all(self._broken(rung.measured) for rung in rungs[-2:]):
                break
        return rungs

    def _push(self, place: Place, schedule: ScheduleSpec | None, strength: float) -> Push:
        signed = -strength if self.search.subtract else strength
        return Push(_VECTOR, place.blocks, signed, place.positions, schedule)

    def _broken(self, found: Measured) -> bool:
        return found.perplexity_ratio.value > _HOPELESS_RATIO * self.bounds.perplexity_ratio

    def _try(self, push: Push) -> Rung:
        if push not in self.tried:
            found, replies = measure(self.bench, self.study, "tuning", push, whole=False)
            # What is broken already, or brings nothing, need not be asked what else it costs.
            if not self._costs(found) and self._enough(found):
                found = completed(self.bench, self.study, "tuning", found, replies)
                self.whole.add(push)
            self.said[push] = replies
            costs = self._costs(found)
            self.tried[push] = Rung(found, (), costs)
            self.progress(line(found, costs))
        return self.tried[push]

    def _worth(self, ladder: Sequence[Rung]) -> tuple[float, float]:
        """Return the best gain at a sure price, then the perplexity that it costs, the less the better."""
        whole = [
            rung for rung in ladder if not rung.costs and self._enough(rung.measured) and self._sure(rung)
        ]
        if not whole:
            return 0.0, 0.0
        best = max(whole, key=lambda rung: rung.measured.gain.value)
        return round(best.measured.gain.value, 2), -best.measured.perplexity_ratio.value

    def _controlled(self, rung: Rung) -> Rung:
        """Return ``rung`` with the gains of random vectors, and with all that it costs."""
        if rung.controls:
            return rung
        found = rung.measured
        if found.push not in self.whole:
            found = completed(self.bench, self.study, "tuning", found, self.said[found.push])
        return Rung(found, self._random(found.push, "tuning"), self._costs(found))

    def _random(self, push: Push, part: Part) -> tuple[Estimate, ...]:
        """Return the gains of random vectors in the place of the vector."""
        pushes = [replace(push, vector=name) for name in self.controls]
        return tuple(measure(self.bench, self.study, part, each, whole=False)[0].gain for each in pushes)

    def _refined(self, rungs: list[Rung]) -> list[Rung]:
        """Halve the gap above the highest usable strength, and that below the lowest."""
        for upwards in (True, False):
            for _ in range(self.search.halvings if upwards else 1):
                usable = [place for place, rung in enumerate(rungs) if self._usable(rung)]
                edge = (max(usable) + 1 if upwards else min(usable) - 1) if usable else -1
                if not 0 <= edge < len(rungs):
                    break
                inner = rungs[edge - 1 if upwards else edge + 1].measured.push
                middle = (inner.strength + rungs[edge].measured.push.strength) / 2
                rung = self._controlled(self._try(replace(inner, strength=round(middle, 4))))
                rungs = sorted([*rungs, rung], key=lambda each: each.strength)
        return rungs

    def _costs(self, found: Measured) -> tuple[str, ...]:
        return found.costs(self.bounds, self.study.checks, self.study.traits)

    def _enough(self, found: Measured) -> bool:
        return found.gain.value >= self.bounds.gain and found.gain.low > 0

    def _sure(self, rung: Rung) -> bool:
        return rung.measured.perplexity_ratio.high <= self.bounds.perplexity_ratio

    def _usable(self, rung: Rung) -> bool:
        return self._enough(rung.measured) and not rung.costs and rung.beats_random

    def _recommended(self, rungs: Sequence[Rung]) -> Rung | None:
        """Return the usable strength that brings most and whose price is sure to be within its bound."""
        sure = [rung for rung in rungs if self._usable(rung) and self._sure(rung)]
        if not sure:
            return None
        best = max(rung.measured.gain.value for rung in sure)
        return next(rung for rung in sure if rung.measured.gain.value >= best - _ROUNDING)

    def _window(self, rungs: Sequence[Rung], chosen: Rung) -> Window:
        place = list(rungs).index(chosen)
        low = high = place
        while low > 0 and self._usable(rungs[low - 1]):
            low -= 1
        while high + 1 < len(rungs) and self._usable(rungs[high + 1]):
            high += 1
        return Window(rungs[low].strength, chosen.strength, rungs[high].strength)

    def _judged(self, rungs: list[Rung], chosen: Rung) -> Calibration:
        """Judge the chosen strength on the test prompts."""
        push = chosen.measured.push
        found, replies = measure(self.bench, self.study, "test", push)
        held_out = Rung(found, self._random(push, "test"), self._costs(found))
        self.progress(f"test: {line(found, held_out.costs)}")
        window = self._window(rungs, chosen)
        reasons = tuple(f"on the test prompts: {each}" for each in self._wrong(held_out))
        result = self._result(rungs, window, held_out, reasons)
        prompts = self.study.prompts.test
        shown = examples_of(
            [prompt.text for prompt in prompts], self.bench.bare(prompts), [(chosen.strength, replies)]
        )
        return replace(result, test_examples=shown)

    def _wrong(self, rung: Rung) -> Iterable[str]:
        gain = rung.measured.gain
        if not self._enough(rung.measured):
            yield f"gain {_spread(gain)}, expected {self.bounds.gain:g} or more"
        if not rung.beats_random:
            yield (
                f"gain {gain.value:+.3f} (from {gain.low:+.3f}) is not clearly above random vectors, "
                f"which reach {max(each.value for each in rung.controls):+.3f}"
            )
        yield from rung.costs

    def _why_none(self, rungs: Sequence[Rung]) -> tuple[str, ...]:
        gains = [rung.measured.gain.value for rung in self.tried.values()]
        if max(gains) < self.bounds.gain:
            backwards = min(gains) <= -self.bounds.gain and max(gains) < self.bounds.gain / 2
            turned = "; it moves the other way: try the other sign" if backwards else ""
            return (
                f"no strength reaches a gain of {self.bounds.gain:g}; the most is {max(gains):+.3f}{turned}",
            )
        return tuple(
            f"strength {rung.strength:g}: {'; '.join(self._wrong(rung)) or 'price not sure'}"
            for rung in rungs
        )

    def _result(
        self, rungs: list[Rung], window: Window | None, held_out: Rung | None, reasons: tuple[str, ...]
    ) -> Calibration:
        prompts = self.study.prompts.tuning
        said = [(rung.strength, self.said[rung.measured.push]) for rung in rungs]
        return Calibration(
            trials=tuple(self.tried.values()),
            curve=tuple(rungs),
            window=window,
            held_out=held_out,
            saturation=saturation(rungs),
            verdict=Verdict(not reasons and window is not None, reasons),
            side_effects=self._side_effects(rungs, held_out),
            unjudged=tuple(
                note for part in ("tuning", "test") for note in unjudged(self.bench, self.study, part)
            ),
            examples=examples_of([prompt.text for prompt in prompts], self.bench.bare(prompts), said),
        )

    def _side_effects(self, rungs: Sequence[Rung], held_out: Rung | None) -> tuple[SideEffect, ...]:
        """Return the side effects of the push that was judged, else of the one that promised most."""
        if held_out is not None:
            return side_effects(self.bench, self.study, "test", held_out.measured, self.controls)
        best = max(rungs, key=lambda rung: (bool(rung.measured.traits), rung.measured.gain.value))
        return side_effects(self.bench, self.study, "tuning", best.measured, self.controls)


def _spread(found: Estimate) -> str:
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def line(found: Measured, costs: Sequence[str]) -> str:
    """Return a push and its figures in one line."""
    push = found.push
    blocks, positions = ", ".join(map(str, push.blocks)), "+".join(push.positions)
    told = [f"gain {_spread(found.gain)}, perplexity x{found.perplexity_ratio.value:.2f}", *costs]
    where = f"blocks {blocks}, {positions}, {schedule_text(push.schedule)}, strength {push.strength:g}"
    return f"{where}: {'; '.join(told)}"
