"""Where to steer: every block, site and set of positions, ranked by what steering there does to replies.

A block may separate a trait well and yet, when it is pushed, move behaviour not at all or backwards. So
places are ranked by the measured gain at equal relative strength, with what it costs; how well a place
separates is told beside it and decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from guardsteer.core.policy import Position, Site
from guardsteer.errors import VectorError
from guardsteer.evaluate import Estimate
from guardsteer.host import fingerprint
from guardsteer.lab.measure.effects import Bench, Push, random_like
from guardsteer.lab.measure.measuring import BOUNDS, Bounds, Measured, Study, estimate_json, measure
from guardsteer.lab.measure.memory import Memory
from guardsteer.lab.tuning.calibrate import Place
from guardsteer.steer import Vector, check_binding

__all__ = [
    "POSITIONS",
    "STRENGTHS",
    "Outcome",
    "Spot",
    "Sweep",
    "line",
    "outcome_of",
    "rank_of",
    "sweep",
    "table",
]

Outcome: TypeAlias = Literal["helps", "costs too much", "no effect", "wrong way"]
"""``wrong way``: replies move away from the goal, the whole interval below zero."""

POSITIONS: tuple[tuple[Position, ...], ...] = (
    ("last_prompt_token",),
    ("generated",),
    ("last_prompt_token", "generated"),
)
STRENGTHS = (0.2, 0.4, 0.6)


@dataclass(frozen=True, slots=True)
class Spot:
    """One place that was tried, by the best of the strengths tried there.

    ``cohens_d``: how well the vector separates its contrast pairs at the block, None where unknown.
    """

    site: Site
    block: int
    measured: Measured
    control: Estimate
    costs: tuple[str, ...]
    cohens_d: float | None
    outcome: Outcome

    @property
    def place(self) -> Place:
        """The block and positions, as ``calibrate`` takes them."""
        return Place(self.measured.push.blocks, self.measured.push.positions)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON holds them."""
        return {
            "site": self.site,
            "block": self.block,
            "outcome": self.outcome,
            "cohens_d": self.cohens_d,
            "random_gain": estimate_json(self.control),
            "costs": list(self.costs),
            **self.measured.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Sweep:
    """All places in order, the best first. ``digests``: of the vector of each site."""

    spots: tuple[Spot, ...]
    goal: str
    digests: dict[str, str]

    @property
    def recommended(self) -> tuple[Spot, ...]:
        """The places that help, the best first; none where steering helps nowhere."""
        return tuple(spot for spot in self.spots if spot.outcome == "helps")

    def places(self, site: Site, most: int) -> tuple[Place, ...]:
        """Return the best ``most`` places of a site to calibrate at; ``VectorError`` where nothing moves.

        Places that help come first, then those that cost too much, which another strength or a schedule
        that decays may bring within bounds.
        """
        worth = ("helps", "costs too much")
        found = tuple(spot.place for spot in self.spots if spot.site == site and spot.outcome in worth)
        if not found:
            best = max(self.spots, key=lambda spot: spot.measured.gain.value)
            raise VectorError(
                f"no block of {site} moves {self.goal!r} the right way; the best gain is "
                f"{best.measured.gain.value:+.3f} at block {best.block} ({best.outcome})"
            )
        return found[:most]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON holds it."""
        spots = [spot.to_json() for spot in self.spots]
        return {"format": "guardsteer.sweep/1", "goal": self.goal, "vectors": self.digests, "spots": spots}

    def save(self, folder: Path) -> Path:
        """Write ``sweep.json`` into ``folder`` and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "sweep.json"
        path.write_text(json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        return path


def sweep(
    model: Any,
    tokenizer: Any,
    vectors: Sequence[Vector],
    study: Study,
    bounds: Bounds = BOUNDS,
    *,
    blocks: Sequence[int] | None = None,
    positions: Sequence[tuple[Position, ...]] = POSITIONS,
    strengths: Sequence[float] = STRENGTHS,
    subtract: bool = False,
    seed: int = 0,
    new_tokens: int = 48,
    batch_size: int = 32,
    progress: Callable[[str], None] = lambda _: None,
    memory: Memory | None = None,
) -> Sweep:
    """Return every place ranked by its effect on the tuning prompts; the test prompts are left alone.

    ``vectors``: one for each site. ``blocks``: some of the vectors' blocks, by default all. ``strengths``:
    tried at each place, in units of the residual norm there; the best within bounds counts. What is in
    ``memory`` is not computed again. Raises
    ``VectorError`` for a study that cannot tell or no vector, and what ``guardsteer.wrap`` raises.
    """
    study.check()
    sites = [vector.card.site for vector in vectors]
    if not sites or len(set(sites)) != len(sites) or not strengths or min(strengths) <= 0:
        raise VectorError(f"a sweep needs one vector for each site and strengths above 0; got sites {sites}")
    identity = fingerprint(model, tokenizer)
    for vector in vectors:
        check_binding(vector, identity)
    bench_vectors: dict[str, Vector] = {}
    for vector in vectors:
        bench_vectors |= {vector.card.site: vector, f"{vector.card.site}-random": random_like(vector, seed)}
    spots: list[Spot] = []
    sign = -1.0 if subtract else 1.0
    with Bench(
        model, tokenizer, bench_vectors, new_tokens=new_tokens, batch_size=batch_size, memory=memory
    ) as bench:
        for vector in vectors:
            chosen = [block for block in vector.blocks if blocks is None or block in blocks]
            for block in chosen:
                for where in positions:
                    pushes = [Push(vector.card.site, (block,), sign * s, where) for s in strengths]
                    spots.append(_spot(bench, study, bounds, vector, block, pushes))
                    progress(line(spots[-1]))
    if not spots:
        raise VectorError(f"blocks: the vectors have none of {list(blocks or ())}")
    return Sweep(
        spots=tuple(sorted(spots, key=rank_of, reverse=True)),
        goal=study.goal.name,
        digests={vector.card.site: vector.digest for vector in vectors},
    )


def _spot(
    bench: Bench, study: Study, bounds: Bounds, vector: Vector, block: int, pushes: Sequence[Push]
) -> Spot:
    tried = [measure(bench, study, "tuning", push)[0] for push in pushes]
    costs = {found.push: found.costs(bounds, study.checks) for found in tried}
    whole = [found for found in tried if not costs[found.push]]
    best = max(whole or tried, key=lambda found: found.gain.value)
    push = best.push
    random = Push(f"{push.vector}-random", push.blocks, push.strength, push.positions)
    control = measure(bench, study, "tuning", random, whole=False)[0].gain
    return Spot(
        site=vector.card.site,
        block=block,
        measured=best,
        control=control,
        costs=costs[push],
        cohens_d=next((row.cohens_d for row in vector.card.separation if row.block == block), None),
        outcome=outcome_of(best.gain, control, costs[push], bounds),
    )


def outcome_of(gain: Estimate, control: Estimate, costs: Sequence[str], bounds: Bounds) -> Outcome:
    """Return what came of a place by its gain, that of a random vector there, and the bounds it broke."""
    if gain.high < 0:
        return "wrong way"
    if gain.low <= max(0.0, control.value) or gain.value < bounds.gain:
        return "no effect"
    return "costs too much" if costs else "helps"


def rank_of(spot: Spot) -> tuple[int, float, float]:
    """Return what places are sorted by: the outcome, then the gain, then the lower perplexity."""
    order: dict[Outcome, int] = {"helps": 3, "costs too much": 2, "no effect": 1, "wrong way": 0}
    return order[spot.outcome], spot.measured.gain.value, -spot.measured.perplexity_ratio.value


def line(spot: Spot) -> str:
    """Return a place and its figures in one line."""
    found = spot.measured
    return (
        f"{spot.site} {spot.block}, {'+'.join(found.push.positions)}, strength {found.push.strength:g}: gain "
        f"{found.gain.value:+.3f}, random {spot.control.value:+.3f}, perplexity "
        f"x{found.perplexity_ratio.value:.2f}: {spot.outcome}"
    )


def table(found: Sweep) -> list[str]:
    """Return the places and their figures as lines of one table, the best first."""
    heads = (
        "block",
        "site",
        "positions",
        "strength",
        "gain (95 %)",
        "random",
        "perplexity",
        "Cohen d",
        "outcome",
    )
    rows = [heads, *(_row(spot) for spot in found.spots)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _row(spot: Spot) -> tuple[str, ...]:
    found, gain = spot.measured, spot.measured.gain
    return (
        str(spot.block),
        spot.site,
        "+".join(found.push.positions),
        f"{found.push.strength:g}",
        f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})",
        f"{spot.control.value:+.3f}",
        f"x{found.perplexity_ratio.value:.2f}",
        "-" if spot.cohens_d is None else f"{spot.cohens_d:.2f}",
        "; ".join((spot.outcome, *spot.costs)),
    )
