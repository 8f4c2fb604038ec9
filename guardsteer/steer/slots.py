"""From what a policy says of its vectors to what acts where: one slot for each channel of its program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from guardsteer.core.plan import Channel
from guardsteer.core.policy import Position, Site, VectorSpec
from guardsteer.errors import BindingError, LayoutError, VectorError
from guardsteer.host import Layout, Point, find_heads, point_at, site_width
from guardsteer.steer.vectors import Vector

__all__ = ["Placed", "Slot", "SlotOperator", "make_slots", "place_vector"]

SlotOperator: TypeAlias = Literal["add", "ablate", "clamp"]


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One channel of a policy on the points where it acts; all of one site.

    ``directions`` maps a point to a unit direction, ``[width of the site]`` float32, and ``norms`` to the
    typical length of a hidden state there, the unit of strengths and bounds. ``heads``: to which attention
    heads the directions are restricted, () for no restriction.
    """

    name: str
    digest: str
    directions: Mapping[Point, Tensor]
    norms: Mapping[Point, float]
    positions: frozenset[Position]
    operator: SlotOperator = "add"
    low: float | None = None
    high: float | None = None
    keep_norm: bool = False
    heads: tuple[int, ...] = ()

    @property
    def points(self) -> tuple[Point, ...]:
        """Points in the order in which a pass reaches them."""
        return tuple(sorted(self.directions))

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks in ascending order."""
        return tuple(point.block for point in self.points)

    @property
    def site(self) -> Site:
        """Where in its blocks the vector acts."""
        return self.points[0].site


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A vector of a policy on the points of a model, whatever is done with it there."""

    spec: VectorSpec
    digest: str
    site: Site
    directions: Mapping[Point, Tensor]
    norms: Mapping[Point, float]

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks in ascending order."""
        return tuple(sorted(point.block for point in self.directions))

    @property
    def strength_of_alpha(self) -> float:
        """The strength that an alpha of 1.0 is: one over the mean norm."""
        return len(self.norms) / sum(self.norms.values())


def place_vector(spec: VectorSpec, vector: Vector, layout: Layout) -> Placed:
    """Return ``vector`` at the points where ``spec`` has it act, those of the site where it was extracted.

    With ``spec.heads`` its direction is restricted to these attention heads and scaled back to unit length.
    Raises ``VectorError`` for a policy that asks for what a vector cannot do, and ``BindingError`` for a
    vector that does not fit the model.
    """
    site = vector.card.site
    if spec.site not in (None, site):
        raise BindingError(
            f"vector {spec.name!r}: the policy has it act at {spec.site}, but it was extracted at {site}; "
            f"elsewhere its direction means nothing. Leave site out, or extract it at {spec.site}"
        )
    if spec.heads and site != "heads":
        raise VectorError(f"vector {spec.name!r}: heads {list(spec.heads)} are chosen, but it acts at {site}")
    directions, norms = {}, {}
    for block in _blocks(spec, vector, layout):
        point = point_at(block, site)
        direction = torch.tensor(vector.direction(block), dtype=torch.float32)
        _check_width(spec, layout, point, len(direction))
        if spec.heads:
            direction = _restricted(spec, direction, layout, block)
        directions[point], norms[point] = direction, vector.residual_norm(block)
    return Placed(spec, vector.digest, site, directions, norms)


def make_slots(placed: Sequence[Placed], channels: Sequence[Channel]) -> tuple[Slot, ...]:
    """Return one slot for each of ``channels``, in their order; they count the vectors of ``placed``."""
    return tuple(
        Slot(
            name=vector.spec.name,
            digest=vector.digest,
            directions=vector.directions,
            norms=vector.norms,
            positions=frozenset(vector.spec.positions),
            operator="add" if channel.operator == "subtract" else channel.operator,
            low=channel.low,
            high=channel.high,
            keep_norm=channel.keep_norm,
            heads=vector.spec.heads or (),
        )
        for channel in channels
        for vector in (placed[channel.vector],)
    )


def _blocks(spec: VectorSpec, vector: Vector, layout: Layout) -> tuple[int, ...]:
    recommended = vector.card.recommended
    chosen = spec.blocks if spec.blocks is not None else recommended.blocks if recommended else None
    if chosen is None and vector.card.site == "embedding":
        chosen = (0,)
    if chosen is None:
        raise VectorError(
            f"vector {spec.name!r}: its card recommends no blocks; name some in the policy, "
            f"such as blocks: [{vector.blocks[len(vector.blocks) // 2]}]"
        )
    if max(chosen) >= layout.n_blocks:
        raise BindingError(
            f"vector {spec.name!r}: blocks {list(chosen)}, but the model has {layout.n_blocks} blocks"
        )
    return tuple(chosen)


def _check_width(spec: VectorSpec, layout: Layout, point: Point, width: int) -> None:
    try:
        expected = site_width(layout, point)
    except LayoutError as error:
        raise BindingError(f"vector {spec.name!r}: {error}") from error
    if width != expected:
        raise BindingError(
            f"vector {spec.name!r}: width {width}, but the model's states at {point} have {expected} values"
        )


def _restricted(spec: VectorSpec, direction: Tensor, layout: Layout, block: int) -> Tensor:
    heads, found = spec.heads or (), find_heads(layout, block)
    strange = [head for head in heads if not 0 <= head < found.n_heads]
    if strange:
        raise BindingError(
            f"vector {spec.name!r}: heads {strange}, but block {block} has heads 0 to {found.n_heads - 1}"
        )
    kept = torch.zeros_like(direction)
    for head in heads:
        part = slice(head * found.head_dim, (head + 1) * found.head_dim)
        kept[part] = direction[part]
    norm = float(kept.double().norm())
    if norm < 1e-6:
        raise VectorError(f"vector {spec.name!r}: in block {block} it has nothing in heads {list(heads)}")
    return (kept.double() / norm).float()
