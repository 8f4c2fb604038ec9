"""Points found in a model: the module whose input or output holds the hidden state of each.

``heads`` is what enters the output projection of a block's softmax attention: the results of its heads
side by side, ``[row, position, n_heads * head_dim]``. Every other site holds ``[row, position, width]``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeAlias

import torch
from torch import nn

from guardsteer.errors import LayoutError
from guardsteer.host.blocks import Layout
from guardsteer.host.hooks import HookSpec
from guardsteer.host.points import Point

__all__ = [
    "Change",
    "Heads",
    "Place",
    "find_heads",
    "find_place",
    "first_parameter",
    "hook_at",
    "hooks_at",
    "site_width",
]

Change: TypeAlias = Callable[[torch.Tensor], "torch.Tensor | None"]
"""Given the hidden states at a point, returns new ones, or None to leave them as they are."""

_PROJECTIONS = ("o_proj", "out_proj", "dense", "c_proj", "wo", "Wo")
_HEAD_WIDTHS = ("v_head_dim", "head_dim", "head_size", "attention_head_size")
_HEAD_COUNTS = ("num_heads", "n_heads", "num_attention_heads", "n_head")


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """The attention heads of one block.

    Head ``i`` fills ``[i * head_dim, (i + 1) * head_dim)`` of what ``projection`` is given.
    """

    projection: nn.Module
    n_heads: int
    head_dim: int

    @property
    def width(self) -> int:
        """Number of values of all heads together."""
        return self.n_heads * self.head_dim


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a point's hidden states pass by: the ``input`` or ``output`` of ``module``."""

    module: nn.Module
    end: Literal["input", "output"]
    width: int


def find_place(layout: Layout, point: Point) -> Place:
    """Return where the hidden states of ``point`` pass by.

    Raises ``LayoutError`` where the model has no such point or where it cannot be told, saying why.
    """
    if not 0 <= point.block < layout.n_blocks:
        raise LayoutError(f"block {point.block}: the model has blocks 0 to {layout.n_blocks - 1}")
    if point.site == "embedding":
        return Place(layout.embedding, "output", _embedding_width(layout))
    if point.site == "heads":
        heads = find_heads(layout, point.block)
        return Place(heads.projection, "input", heads.width)
    if point.site in ("block_input", "block_output"):
        end: Literal["input", "output"] = "input" if point.site == "block_input" else "output"
        return Place(layout.blocks[point.block], end, layout.width)
    half = (layout.attention if point.site == "attention" else layout.mlp)[point.block]
    if half is None:
        _refuse(layout, point, "no module of the block stands for it", "Choose block_output")
    return Place(half, "output", layout.width)


def site_width(layout: Layout, point: Point) -> int:
    """Return the number of values of a hidden state at ``point``; raises as ``find_place``."""
    return find_place(layout, point).width


def find_heads(layout: Layout, block: int) -> Heads:
    """Return the attention heads of ``block``.

    Raises ``LayoutError`` for a block that mixes positions otherwise (convolution, recurrence, linear
    attention) and for an attention whose output projection or head size cannot be told.
    """
    point = Point(block, 2)
    attention = layout.attention[block]
    if attention is None:
        _refuse(layout, point, "no module of the block is an attention")
    kind = type(attention).__name__
    if "attention" not in kind.lower() or "linear" in kind.lower():
        _refuse(layout, point, f"its {kind} is no softmax attention and has no heads to tell apart")
    owners = [
        (owner, child)
        for owner in attention.modules()
        for name, child in owner.named_children()
        if name in _PROJECTIONS
    ]
    if len(owners) != 1:
        found = "none" if not owners else f"{len(owners)}"
        _refuse(layout, point, f"expected one output projection ({', '.join(_PROJECTIONS)}), found {found}")
    owner, projection = owners[0]
    width, head_dim = _inputs(projection), _number(owner, _HEAD_WIDTHS)
    if width is None:
        _refuse(layout, point, f"its {type(projection).__name__} does not say how many values it takes")
    if head_dim is None:
        _refuse(layout, point, f"{type(owner).__name__} has none of {', '.join(_HEAD_WIDTHS)}")
    n_heads = _head_count(owner)
    if n_heads is None or n_heads * head_dim != width:
        _refuse(
            layout, point, f"{n_heads} heads of {head_dim} do not fill the {width} inputs of its projection"
        )
    return Heads(projection, n_heads, head_dim)


def hooks_at(layout: Layout, changes: Sequence[tuple[Point, Change]]) -> list[HookSpec]:
    """Return the hooks that let each of ``changes`` act at its point; raises as ``find_place``."""
    return [hook_at(layout, point, change) for point, change in changes]


def hook_at(layout: Layout, point: Point, change: Change) -> HookSpec:
    """Return the hook that lets ``change`` act at ``point``; raises as ``find_place``.

    At an output it comes before the hooks of others, so that these see what was changed; at an input it
    comes after them, so that it changes what the module is given.
    """
    place = find_place(layout, point)
    if place.end == "output":
        return HookSpec(place.module, "around", change)
    return HookSpec(place.module, "before", _of_input(change, first_parameter(place.module)))


def _of_input(change: Change, name: str) -> Callable[..., Any]:
    def at_input(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            changed = change(args[0])
            return None if changed is None else ((changed, *args[1:]), kwargs)
        changed = change(kwargs[name])
        return None if changed is None else (args, {**kwargs, name: changed})

    return at_input


def first_parameter(module: nn.Module) -> str:
    """Return the name under which ``module`` takes its hidden states when they are no positional argument."""
    # The class's own forward: one that was replaced on the instance may hide its names behind *args.
    return list(inspect.signature(type(module).forward).parameters)[1]


def _inputs(projection: nn.Module) -> int | None:
    inputs = getattr(projection, "in_features", None)
    if isinstance(inputs, int):
        return inputs
    weight = getattr(projection, "weight", None)
    # transformers' Conv1D keeps its weight as [input, output].
    if type(projection).__name__ == "Conv1D" and isinstance(weight, torch.Tensor):
        return int(weight.shape[0])
    return None


def _number(owner: nn.Module, names: Sequence[str]) -> int | None:
    found = (getattr(owner, name, None) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), None)


def _head_count(owner: nn.Module) -> int | None:
    count = _number(owner, _HEAD_COUNTS)
    config = getattr(owner, "config", None)
    return (
        count
        if count is not None or config is None
        else _number(config, ("num_attention_heads", *_HEAD_COUNTS))
    )


def _embedding_width(layout: Layout) -> int:
    weight = getattr(layout.embedding, "weight", None)
    return int(weight.shape[-1]) if isinstance(weight, torch.Tensor) else layout.width


def _refuse(
    layout: Layout, point: Point, why: str, advice: str = "Choose block_output or attention"
) -> NoReturn:
    kind = type(layout.blocks[point.block]).__name__
    raise LayoutError(f"site {point.site!r}: not found in block {point.block} ({kind}): {why}. {advice}.")
