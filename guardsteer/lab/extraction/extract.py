"""A vector from contrast pairs, by the mean difference of hidden states or another method.

The direction at a block is ``mean(positive) - mean(negative)`` at unit length (contrastive activation
addition, Rimsky et al., 2024, after activation addition, Turner et al., 2023). States are read where
the vector will act, at the output of the block by default; padding is never read. They are summed in
float64 as they come, so memory does not grow with the number of pairs, and the batch size changes the
result by no more than the model's own rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from pydantic import ValidationError

from guardsteer import __version__
from guardsteer.core.policy import Site
from guardsteer.errors import HostError, VectorError
from guardsteer.host import (
    Fingerprint,
    Layout,
    Point,
    check_model,
    check_steering,
    find_heads,
    find_layout,
    fingerprint,
    point_at,
    site_width,
)
from guardsteer.lab.capture.captured import Captured, capture_pairs, key_of
from guardsteer.lab.capture.capturing import Capture
from guardsteer.lab.capture.moments import ProjectionMoments, Sums
from guardsteer.lab.capture.positions import RULES, PositionRule
from guardsteer.lab.capture.readings import Array
from guardsteer.lab.extraction.checks import check_arguments, check_pairs, checked_blocks
from guardsteer.lab.extraction.methods import METHODS, Evidence, directions
from guardsteer.lab.pairs.contrast import FEWEST_PAIRS, ContrastPair, Recipe, pairs_digest
from guardsteer.lab.recipes.recipe import load_recipe
from guardsteer.steer.artifact import MethodName, ModelBinding, ReadPosition, Separation, VectorCard
from guardsteer.steer.strict_json import problems_of
from guardsteer.steer.vectors import Vector, make_vector

__all__ = ["Place", "Progress", "extract", "find_place_to_read"]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of conversations read so far and the number to read."""

_FEWEST_TUNING_PAIRS = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where a recipe is read for a vector: points of one site and width, by one position rule."""

    layout: Layout
    points: tuple[Point, ...]
    rule: PositionRule
    width: int

    @property
    def site(self) -> Site:
        """The site of all points."""
        return self.points[0].site


def find_place_to_read(
    model: Any,
    recipe: Recipe,
    *,
    blocks: Sequence[int] | None = None,
    read: ReadPosition | PositionRule | None = None,
    site: Site = "block_output",
    block_path: str | None = None,
) -> Place:
    """Return where ``extract`` with these arguments reads; raises as it does."""
    check_model(model)
    if model.training:
        raise HostError(f"{type(model).__name__} is in training mode, so its states are random; call .eval()")
    layout = find_layout(model, blocks=block_path)
    chosen, width = checked_blocks(blocks, layout, site)
    points = tuple(point_at(block, site) for block in chosen)
    if site != "block_output":
        check_steering(model, layout, points)
    rule = read if isinstance(read, PositionRule) else RULES.get(read or recipe.read)
    if rule is None:
        raise VectorError(f"read: got {read!r}, expected one of {', '.join(RULES)}")
    return Place(layout, points, rule, width)


def extract(
    model: Any,
    tokenizer: Any,
    recipe: Recipe | Path | str,
    *,
    blocks: Sequence[int] | None = None,
    batch_size: int = 16,
    read: ReadPosition | PositionRule | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
    block_path: str | None = None,
    site: Site = "block_output",
    method: MethodName = "mean_difference",
    background: Sequence[str] = (),
    captured: Captured | None = None,
    heads: int = 8,
    seed: int = 0,
) -> Vector:
    """Return the vector of ``recipe`` (a folder, or one made in memory) for ``model``.

    ``blocks``: which blocks, by default all that have ``site``, where states are read and the vector will
    act. ``batch_size``: conversations at once. ``read``: where, in
    place of the recipe's own choice. ``limit``: only the first so many extraction pairs. ``block_path``:
    where the blocks are, for a model in which they are not found. The direction comes from the
    extraction part of the split; how well it separates is measured on the tuning part where that holds
    8 pairs or more, else on the same pairs, and the card says which.

    ``method``: one of ``guardsteer.lab.extraction.methods.METHODS``. ``background``: ordinary texts, for
    ``mean_centred``. ``captured``: what was read of the extraction pairs before, at these points and more.
    ``heads``: how many heads ``head_probes`` keeps. ``seed``: of ``random``.

    Raises ``AssetError`` for a recipe with mistakes, ``VectorError`` for pairs that cannot be read this
    way or do not differ, ``HostError`` for a model or chat template that cannot be read.
    """
    check_arguments(batch_size, limit, method, background)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    place = find_place_to_read(model, recipe, blocks=blocks, read=read, site=site, block_path=block_path)
    how = METHODS[method]
    pairs, tuning = recipe.part("extraction")[:limit][: how.pairs_used], recipe.part("tuning")
    held_out = len(tuning) >= _FEWEST_TUNING_PAIRS
    measured = tuning if held_out else pairs
    check_pairs(recipe, pairs, place.rule, how.pairs_used or FEWEST_PAIRS)

    found = fingerprint(model, tokenizer, blocks=block_path)
    capture = Capture(model, tokenizer, place.layout, place.points, (place.rule,), batch_size)
    to_read = (0 if captured else 2 * len(pairs)) + len(background) + 2 * len(measured)
    count = _counter(to_read, progress)
    if captured is None:
        captured = capture_pairs(capture, pairs, model=found.digest, keep=how.keep, on_batch=count)
    elif captured.key != key_of(found.digest, pairs):
        raise VectorError("captured: it was read from another model or other pairs; capture anew")
    evidence = _evidence(
        captured, capture, place, method, (heads, seed), _background(capture, background, count)
    )
    units = directions(method, evidence)
    projections = ProjectionMoments(units)
    points = tuple(units)
    where = Place(place.layout, points, place.rule, place.width)
    _measuring(capture, points).run(measured, projections.add, count)

    separation = tuple(
        Separation(
            block=point.block,
            cohens_d=projections.cohens_d(point),
            split_half_cosine=evidence.sums[point].split_half_cosine(),
            measured_on="tuning" if held_out else "extraction",
        )
        for point in points
    )
    card = _card(recipe, where, pairs, found, separation, method)
    norms = [evidence.sums[point].residual_norm for point in points]
    return make_vector(card, directions=np.stack(list(units.values())), residual_norms=norms)


def _measuring(capture: Capture, points: tuple[Point, ...]) -> Capture:
    return Capture(
        capture.model, capture.tokenizer, capture.layout, points, capture.rules, capture.batch_size
    )


def _evidence(
    captured: Captured,
    capture: Capture,
    place: Place,
    method: MethodName,
    settings: tuple[int, int],
    background: Mapping[Point, Array],
) -> Evidence:
    keys = {point: (point, place.rule.name) for point in place.points}
    missing = [point for point, key in keys.items() if key not in captured.sums]
    keep = METHODS[method].keep
    if missing:
        raise VectorError(f"captured: {missing[0]} was not read at {place.rule.name}; capture it, too")
    sums = {point: captured.sums[key] for point, key in keys.items()}
    if (keep.rows and not captured.rows) or (keep.second and sums[place.points[0]].second is None):
        raise VectorError(
            f"captured: {method} needs {'rows' if keep.rows else 'second moments'}; capture them"
        )
    rows = {point: captured.rows[key] for point, key in keys.items()} if keep.rows else {}
    is_heads = place.site == "heads"
    n_heads = {point: find_heads(capture.layout, point.block).n_heads for point in keys} if is_heads else {}
    return Evidence(sums, rows, background, n_heads, *settings)


def _background(capture: Capture, texts: Sequence[str], count: Callable[[int], None]) -> dict[Point, Array]:
    """Return the mean state of all tokens of ``texts`` but the first of each, at each point."""
    if not texts:
        return {}
    sums = {point: Sums.empty(site_width(capture.layout, point)) for point in capture.points}
    capture.read(capture.preparer.texts(texts), lambda states: sums[states.point].add(states), count)
    return {point: found.states.sum((0, 1)) / found.counts.sum() for point, found in sums.items()}


def _counter(total: int, progress: Progress | None) -> Callable[[int], None]:
    done = 0

    def count(conversations: int) -> None:
        nonlocal done
        done += conversations
        if progress is not None:
            progress(done, total)

    return count


def _card(
    recipe: Recipe,
    place: Place,
    pairs: Sequence[ContrastPair],
    found: Fingerprint,
    separation: tuple[Separation, ...],
    method: MethodName,
) -> VectorCard:
    libraries = {name: version(name) for name in ("torch", "transformers")}
    own_width = place.width if place.site == "heads" or place.width != place.layout.width else None
    try:
        return VectorCard(
            name=recipe.name,
            version=recipe.version,
            trait=recipe.trait,
            description=recipe.description,
            licence=recipe.licence,
            method=method,
            read=place.rule.name,
            site=place.site,
            site_width=own_width,
            data_digest=pairs_digest(pairs),
            pairs=len(pairs),
            blocks=tuple(row.block for row in separation),
            model=ModelBinding(**{part: getattr(found, part) for part in ModelBinding.model_fields}),
            separation=separation,
            libraries={"guardsteer": __version__, **libraries},
        )
    except ValidationError as error:
        raise VectorError(problems_of(VectorCard, error, f"recipe {recipe.name!r}")) from error
