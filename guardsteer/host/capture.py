"""The hidden states at chosen points, from one forward."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from guardsteer.core.policy import Site
from guardsteer.errors import HostError
from guardsteer.host.blocks import Layout
from guardsteer.host.hooks import attach
from guardsteer.host.points import Point, point_at
from guardsteer.host.sites import hook_at

__all__ = ["capture", "capture_points"]


def capture(
    model: Any,
    layout: Layout,
    blocks: Sequence[int],
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    on_hidden: Callable[[int, torch.Tensor], None] | None = None,
    *,
    site: Site = "block_output",
) -> dict[int, torch.Tensor]:
    """Return the states of each of ``blocks`` at ``site``: ``{block: hidden [row, position, width]}``.

    ``width`` is that of the site. These are the states to which vectors are added; the last of
    ``output_hidden_states`` is no block's output, being taken after the final norm. ``input_ids`` and
    ``attention_mask`` are ``[row, position]``; padding, on either side, gets states that mean nothing. With
    ``on_hidden(block, hidden)`` each is handed over as it is made, to be read and not kept, and the result
    is empty: memory holds one block at a time.
    Raises ``HostError`` where a block was not run exactly once, ``IndexError`` for one that is not there,
    ``LayoutError`` for a site that is not found.
    """
    seen: dict[int, torch.Tensor] = {}

    def on_point(point: Point, hidden: torch.Tensor) -> None:
        if on_hidden is not None:
            on_hidden(point.block, hidden)
        else:
            # A later block may write into the tensor that it was given.
            seen[point.block] = hidden.clone()

    points = [point_at(block, site) for block in _checked(layout, blocks)]
    capture_points(model, layout, points, input_ids, attention_mask, on_point)
    return seen


def capture_points(
    model: Any,
    layout: Layout,
    points: Sequence[Point],
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    on_hidden: Callable[[Point, torch.Tensor], None],
) -> None:
    """Hand the states at each of ``points`` to ``on_hidden(point, hidden)`` as one forward makes them.

    ``hidden`` is ``[row, position, width of the site]``, to be read and not kept. Shapes and errors are
    those of ``capture``.
    """
    counts = dict.fromkeys(points, 0)
    _checked(layout, [point.block for point in counts])

    def at(point: Point) -> Callable[[torch.Tensor], None]:
        def read(hidden: torch.Tensor) -> None:
            counts[point] += 1
            on_hidden(point, hidden)

        return read

    hooks = attach([hook_at(layout, point, at(point)) for point in counts])
    try:
        with torch.no_grad():
            _forward(model, layout, input_ids, attention_mask)
    finally:
        hooks.remove()
    for point, count in counts.items():
        if count != 1:
            raise HostError(
                f"{point} ran {count} times in one forward, expected once; see wrap(..., blocks=...)"
            )


def _checked(layout: Layout, blocks: Sequence[int]) -> list[int]:
    for block in blocks:
        if not 0 <= block < layout.n_blocks:
            raise IndexError(f"block {block}: the model has blocks 0 to {layout.n_blocks - 1}")
    return list(dict.fromkeys(blocks))


def _forward(
    model: Any, layout: Layout, input_ids: torch.Tensor, attention_mask: torch.Tensor | None
) -> None:
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    if not any(module is layout.blocks[0] for module in decoder.modules()):
        decoder = model
    kwargs: dict[str, Any] = {"input_ids": input_ids, "use_cache": False}
    if attention_mask is not None:
        kwargs["attention_mask"] = attention_mask
        # As generate does; without it a row's positions would depend on the padding to its left.
        if "position_ids" in inspect.signature(decoder.forward).parameters:
            kwargs["position_ids"] = (attention_mask.long().cumsum(-1) - 1).masked_fill(
                attention_mask == 0, 1
            )
    decoder(**kwargs)
