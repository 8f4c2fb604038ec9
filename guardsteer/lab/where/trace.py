"""Causal tracing: which block and position carries what a cue does to the next reply.

Two runs are compared that differ in a cue alone; the effect is how much likelier the cue makes the reply
with the trait than the reply without it, in nats. Then one run is repeated with the other's states at one
block and some positions (activation patching: Vig et al., 2020; causal tracing: Meng et al., 2022):

- ``restored``: the run without the trait, given the states of the run with it; 1 restores all of the effect,
  so these states are enough for it;
- ``lost``: the run with the trait, given the states of the run without it; 1 loses all of it, so nothing
  goes round these states.

Read them as Heimersheim and Nanda (2024) advise: differences of log probabilities, both directions, and no
sum over cells, since what one place carries the next block carries on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from guardsteer.core.digests import digest_bytes
from guardsteer.core.policy import Site
from guardsteer.errors import VectorError
from guardsteer.evaluate import Estimate, bootstrap, mean_interval
from guardsteer.host import Point, fingerprint
from guardsteer.lab.extraction.extract import find_place_to_read
from guardsteer.lab.measure.measuring import estimate_json
from guardsteer.lab.pairs.contrast import FEWEST_PAIRS, ContrastPair, Part, Recipe, pairs_digest
from guardsteer.lab.where.pairs import Cue, couples, cue_of
from guardsteer.lab.where.patching import NEGATIVE, POSITIVE, Runs, Scores

__all__ = ["Cell", "Trace", "line", "trace"]

_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Cell:
    """What the states at one point and segment carry: shares of the effect, each over ``rows`` pairs."""

    point: Point
    segment: str
    restored: Estimate
    lost: Estimate

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON holds them."""
        figures = {"restored": estimate_json(self.restored), "lost": estimate_json(self.lost)}
        return {"block": self.point.block, "site": self.point.site, "segment": self.segment, **figures}


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace of one recipe in one model.

    ``positive`` and ``negative``: how much likelier, in nats, the reply with the trait is than the one
    without it, under either cue; ``effect`` is their difference, and ``right`` the share of pairs in which
    it is above zero. ``cells`` are empty where the interval of ``effect`` is not above zero: there is
    nothing to trace.
    """

    recipe: str
    cue: Cue
    effect: Estimate
    positive: Estimate
    negative: Estimate
    right: float
    cells: tuple[Cell, ...]
    left_out: tuple[str, ...] = ()
    part: str = ""
    data: str = ""
    model: str = ""
    seed: int = 0

    @property
    def segments(self) -> tuple[str, ...]:
        """The names of the segments, in the order of the prompt."""
        return tuple(dict.fromkeys(cell.segment for cell in self.cells))

    @property
    def ranked(self) -> tuple[Cell, ...]:
        """The cells by the lesser of what they restore and what is lost without them, the best first."""
        return tuple(sorted(self.cells, key=lambda cell: -min(cell.restored.value, cell.lost.value)))

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON holds it."""
        return {
            "format": "guardsteer.trace/1",
            "recipe": self.recipe,
            "part": self.part,
            "data": self.data,
            "model": self.model,
            "seed": self.seed,
            "cue": self.cue,
            "effect": estimate_json(self.effect),
            "positive": estimate_json(self.positive),
            "negative": estimate_json(self.negative),
            "right": round(self.right, 5),
            "left_out": list(self.left_out),
            "cells": [cell.to_json() for cell in self.cells],
        }

    def save(self, folder: Path) -> Path:
        """Write ``trace.json`` into ``folder`` and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "trace.json"
        path.write_text(json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        return path


def trace(
    model: Any,
    tokenizer: Any,
    recipe: Recipe,
    *,
    part: Part = "extraction",
    cue: Cue | None = None,
    sites: Sequence[Site] = ("block_output",),
    blocks: Sequence[int] | None = None,
    last: int = 0,
    limit: int = 64,
    batch_size: int = 32,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Trace:
    """Return what each block and segment of the prompt carries of the effect of the recipe's cue.

    ``cue``: the pairs' system lines, or an earlier reply; by default system lines where there are some.
    ``last``: so many last tokens of the prompt are traced one by one as well. ``limit``: at most so many
    pairs of ``part``, chosen by a digest of their ids. ``progress`` is told passes done and passes to do.
    Raises ``VectorError`` for pairs that cannot be compared and for numbers out of range, ``TurnsError`` for
    a chat template that cannot be followed, and what ``extract`` raises for a model that cannot be read.
    """
    if limit < FEWEST_PAIRS or batch_size < 1 or last < 0:
        told = f"got {limit}, {batch_size} and {last}"
        raise VectorError(f"limit, batch_size, last: {told}; expected at least {FEWEST_PAIRS}, 1 and 0")
    places = [find_place_to_read(model, recipe, blocks=blocks, site=site) for site in dict.fromkeys(sites)]
    if not places:
        raise VectorError("sites: got none, expected at least one")
    pairs = _some(recipe.part(part), limit)
    cue = cue or cue_of(pairs)
    longest = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    found, left_out = couples(tokenizer, pairs, cue, last=last, longest=longest)
    if len(found) < FEWEST_PAIRS:
        why = f"; {len(left_out)} were left out, such as {left_out[0]}" if left_out else ""
        why += "; try cue 'history'" if cue == "system" and left_out else ""
        raise VectorError(
            f"recipe {recipe.name!r}: {len(found)} pairs of the {part} part can be compared, expected "
            f"at least {FEWEST_PAIRS}{why}"
        )
    runs = Runs(model, places[0].layout, found, batch_size)
    points = sorted({point for place in places for point in place.points})
    unpatched = runs.unpatched()
    effect = _effect(unpatched[POSITIVE]) - _effect(unpatched[NEGATIVE])
    whole = mean_interval(effect, seed=seed, resamples=_RESAMPLES)
    return Trace(
        recipe=recipe.name,
        cue=cue,
        effect=whole,
        positive=mean_interval(_effect(unpatched[POSITIVE]), seed=seed, resamples=_RESAMPLES),
        negative=mean_interval(_effect(unpatched[NEGATIVE]), seed=seed, resamples=_RESAMPLES),
        right=float((effect > 0).mean()),
        cells=_cells(runs.patched(points, progress), unpatched, seed) if whole.low > 0 else (),
        left_out=left_out,
        part=part,
        data=pairs_digest(pairs),
        model=fingerprint(model, tokenizer).digest,
        seed=seed,
    )


def _effect(scores: Scores) -> Scores:
    """Return how much likelier the reply with the trait is than the other: ``[couple]``, in nats."""
    return scores[:, POSITIVE] - scores[:, NEGATIVE]


def _cells(
    patched: Mapping[tuple[Point, str], tuple[Scores, Scores]],
    unpatched: tuple[Scores, Scores],
    seed: int,
) -> tuple[Cell, ...]:
    bare = [_effect(scores) for scores in unpatched]
    whole = bare[POSITIVE] - bare[NEGATIVE]
    cells = []
    for (point, segment), runs in patched.items():
        moved = (
            bare[POSITIVE] - _effect(runs[POSITIVE]),
            _effect(runs[NEGATIVE]) - bare[NEGATIVE],
        )
        lost, restored = (_share(change, whole, seed) for change in moved)
        cells.append(Cell(point, segment, restored, lost))
    return tuple(cells)


def _share(change: Scores, whole: Scores, seed: int) -> Estimate:
    """Return the change as a share of the effect: of sums, for a pair with next to no effect has no share."""
    known = ~np.isnan(change)
    rows = np.stack([change[known], whole[known]], axis=1)

    def share(drawn: Scores) -> float:
        moved, effect = drawn.sum(axis=0)
        return float(moved / effect)

    return bootstrap(rows, share, seed=seed, resamples=_RESAMPLES)


def line(cell: Cell) -> str:
    """Return a cell and its figures in one line."""
    return f"{cell.point}, {cell.segment}: restored {_told(cell.restored)}, lost {_told(cell.lost)}"


def _told(found: Estimate) -> str:
    return f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


def _some(pairs: Sequence[ContrastPair], limit: int) -> tuple[ContrastPair, ...]:
    ranked = sorted(pairs, key=lambda pair: digest_bytes(b"trace:" + pair.id.encode()))
    return tuple(ranked[:limit])
