"""What must hold before a recipe is read for a vector: arguments, blocks and pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from guardsteer.core.policy import Site
from guardsteer.errors import LayoutError, VectorError
from guardsteer.host import Layout, point_at, site_width
from guardsteer.lab.capture.positions import PositionRule
from guardsteer.lab.extraction.methods import METHODS
from guardsteer.lab.pairs.contrast import ContrastPair, Recipe, pair_mistakes
from guardsteer.steer.artifact import MethodName

__all__ = ["check_arguments", "check_pairs", "checked_blocks"]

_MISTAKES_SHOWN = 20


def check_arguments(
    batch_size: int, limit: int | None, method: MethodName, background: Sequence[str]
) -> None:
    """Return if ``extract`` can go on with these; ``VectorError`` names the one that is wrong."""
    if method not in METHODS:
        known = ", ".join(METHODS)
        other = "; import it" if method in get_args(MethodName) else ""
        raise VectorError(f"method: got {method!r}, expected one of {known}{other}")
    if METHODS[method].background != bool(background):
        raise VectorError(f"background: {method} takes {'some texts' if not background else 'none'}")
    if batch_size < 1 or (limit is not None and limit < 1):
        raise VectorError(f"batch_size and limit: got {batch_size} and {limit}, expected at least 1")


def checked_blocks(blocks: Sequence[int] | None, layout: Layout, site: Site) -> tuple[tuple[int, ...], int]:
    """Return the blocks to read and the width of their states at ``site``.

    Raises ``VectorError`` for blocks that the model lacks or of two widths, ``LayoutError`` for a site that
    it lacks.
    """
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


def check_pairs(recipe: Recipe, pairs: Sequence[ContrastPair], rule: PositionRule, fewest: int) -> None:
    """Return if pairs can be read by ``rule``; ``VectorError`` lists every mistake of its pairs."""
    mistakes = []
    if len(pairs) < fewest:
        mistakes.append(f"got {len(pairs)} pairs to extract from, expected at least {fewest}")
    for pair in recipe.pairs:
        found = pair_mistakes(pair)
        if not found and rule.of_reply and pair.positive.reply is None:
            found = ("no 'reply' to read; read at last_prompt_token",)
        elif not found and rule.of_prompt and pair.positive.system == pair.negative.system:
            found = ("the sides have one prompt; read at assistant_mean, or let their 'system' lines differ",)
        mistakes.extend(f"pair {pair.id!r}: {mistake}" for mistake in found)
    if mistakes:
        left = len(mistakes) - _MISTAKES_SHOWN
        shown = [*mistakes[:_MISTAKES_SHOWN], *([f"and {left} more"] if left > 0 else [])]
        listed = "".join(f"\n  {mistake}" for mistake in shown)
        raise VectorError(f"recipe {recipe.name!r} cannot be read at {rule.name}:{listed}")
