"""A vector from contrast pairs: the mean difference of hidden states.

The direction at a block is ``mean(positive) - mean(negative)`` at unit length (contrastive activation
addition, Rimsky et al., 2024, after activation addition, Turner et al., 2023). States are read where
the vector will act, at the output of the block by default; padding is never read. They are summed in
float64 as they come, so memory does not grow with the number of pairs, and the batch size changes the
result by no more than the model's own rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from guardsteer import __version__
from guardsteer.core.policy import Site
from guardsteer.errors import HostError, LayoutError, VectorError
from guardsteer.host import (
    Layout,
    check_model,
    check_steering,
    find_layout,
    fingerprint,
    point_at,
    site_width,
)
from guardsteer.lab.contrast import FEWEST_PAIRS, ContrastPair, Recipe, pair_mistakes, pairs_digest
from guardsteer.lab.moments import DifferenceSums, ProjectionMoments
from guardsteer.lab.readings import Reader
from guardsteer.lab.recipe import load_recipe
from guardsteer.steer.artifact import ModelBinding, ReadPosition, Separation, VectorCard
from guardsteer.steer.strict_json import problems_of
from guardsteer.steer.vectors import Vector, make_vector

__all__ = ["Progress", "extract"]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of conversations read so far and the number to read."""

_FEWEST_TUNING_PAIRS = 8
_MISTAKES_SHOWN = 20


def extract(
    model: Any,
    tokenizer: Any,
    recipe: Recipe | Path | str,
    *,
    blocks: Sequence[int] | None = None,
    batch_size: int = 16,
    read: ReadPosition | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
    block_path: str | None = None,
    site: Site = "block_output",
) -> Vector:
    """Return the vector of ``recipe`` (a folder, or one made in memory) for ``model``.

    ``blocks``: which blocks, by default all that have ``site``, where states are read and the vector will
    act. ``batch_size``: conversations at once. ``read``: where, in
    place of the recipe's own choice. ``limit``: only the first so many extraction pairs. ``block_path``:
    where the blocks are, for a model in which they are not found. The direction comes from the
    extraction part of the split; how well it separates is measured on the tuning part where that holds
    8 pairs or more, else on the same pairs, and the card says which.

    Raises ``AssetError`` for a recipe with mistakes, ``VectorError`` for pairs that cannot be read this
    way or do not differ, ``HostError`` for a model or chat template that cannot be read.
    """
    _check_arguments(model, batch_size, limit)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    place: ReadPosition = read or recipe.read
    layout = find_layout(model, blocks=block_path)
    chosen, width = _checked_blocks(blocks, layout, site)
    if site != "block_output":
        check_steering(model, layout, [point_at(block, site) for block in chosen])
    pairs, tuning = recipe.part("extraction")[:limit], recipe.part("tuning")
    held_out = len(tuning) >= _FEWEST_TUNING_PAIRS
    measured = tuning if held_out else pairs
    _check_pairs(recipe, pairs, place)

    reader = Reader(model, tokenizer, layout, chosen, place, batch_size, site)
    count = _counter(2 * (len(pairs) + len(measured)), progress)
    sums = DifferenceSums(chosen, width)
    reader.run(pairs, sums.add, count)
    directions = sums.directions()
    projections = ProjectionMoments(chosen, directions)
    reader.run(measured, projections.add, count)

    separation = tuple(
        Separation(
            block=block,
            cohens_d=projections.cohens_d(block),
            split_half_cosine=sums.split_half_cosine(block),
            measured_on="tuning" if held_out else "extraction",
        )
        for block in chosen
    )
    found = fingerprint(model, tokenizer, blocks=block_path)
    binding = ModelBinding(**{part: getattr(found, part) for part in ModelBinding.model_fields})
    own_width = width if site == "heads" or width != layout.width else None
    card = _card(recipe, place, pairs, binding, separation, (site, own_width))
    return make_vector(card, directions=directions, residual_norms=sums.residual_norms())


def _check_arguments(model: Any, batch_size: int, limit: int | None) -> None:
    check_model(model)
    if model.training:
        raise HostError(f"{type(model).__name__} is in training mode, so its states are random; call .eval()")
    if batch_size < 1 or (limit is not None and limit < 1):
        raise VectorError(f"batch_size and limit: got {batch_size} and {limit}, expected at least 1")


def _checked_blocks(blocks: Sequence[int] | None, layout: Layout, site: Site) -> tuple[tuple[int, ...], int]:
    """Return the blocks to read and the width of their states at ``site``."""
    everywhere = tuple(range(1 if site == "embedding" else layout.n_blocks))
    chosen = everywhere if blocks is None else tuple(sorted(set(blocks)))
    if not chosen or chosen[0] < 0 or chosen[-1] > everywhere[-1]:
        raise VectorError(f"blocks: got {list(blocks or ())}, expected numbers from 0 to {everywhere[-1]}")
    widths: dict[int, int] = {}
    missing: LayoutError | None = None
    for block in chosen:
        try:
            widths[block] = site_width(layout, point_at(block, site))
        except LayoutError as error:
            missing = error
    if missing is not None and (blocks is not None or not widths):
        raise missing
    if len(set(widths.values())) != 1:
        raise VectorError(
            f"blocks: their states at {site} have different widths, {widths}; choose among them"
        )
    return tuple(widths), next(iter(widths.values()))


def _check_pairs(recipe: Recipe, pairs: Sequence[ContrastPair], read: ReadPosition) -> None:
    mistakes = []
    if len(pairs) < FEWEST_PAIRS:
        mistakes.append(f"got {len(pairs)} pairs to extract from, expected at least {FEWEST_PAIRS}")
    for pair in recipe.pairs:
        found = pair_mistakes(pair)
        if not found and read == "assistant_mean" and pair.positive.reply is None:
            found = ("no 'reply' to read; read at last_prompt_token",)
        elif not found and read == "last_prompt_token" and pair.positive.system == pair.negative.system:
            found = ("the sides have one prompt; read at assistant_mean, or let their 'system' lines differ",)
        mistakes.extend(f"pair {pair.id!r}: {mistake}" for mistake in found)
    if mistakes:
        left = len(mistakes) - _MISTAKES_SHOWN
        shown = [*mistakes[:_MISTAKES_SHOWN], *([f"and {left} more"] if left > 0 else [])]
        listed = "".join(f"\n  {mistake}" for mistake in shown)
        raise VectorError(f"recipe {recipe.name!r} cannot be read at {read}:{listed}")


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
    read: ReadPosition,
    pairs: Sequence[ContrastPair],
    binding: ModelBinding,
    separation: tuple[Separation, ...],
    where: tuple[Site, int | None],
) -> VectorCard:
    libraries = {name: version(name) for name in ("torch", "transformers")}
    try:
        return VectorCard(
            name=recipe.name,
            version=recipe.version,
            trait=recipe.trait,
            description=recipe.description,
            licence=recipe.licence,
            method="mean_difference",
            read=read,
            site=where[0],
            site_width=where[1],
            data_digest=pairs_digest(pairs),
            pairs=len(pairs),
            blocks=tuple(row.block for row in separation),
            model=binding,
            separation=separation,
            libraries={"guardsteer": __version__, **libraries},
        )
    except ValidationError as error:
        raise VectorError(problems_of(VectorCard, error, f"recipe {recipe.name!r}")) from error
