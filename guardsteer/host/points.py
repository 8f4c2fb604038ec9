"""Points: where in a pass a hidden state can be read or changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, get_args

from guardsteer.core.policy import Site

__all__ = ["SITES", "Point", "outputs_of_blocks", "point_at"]

SITES: tuple[Site, ...] = get_args(Site)
"""Every site, in the order in which a pass reaches them within a block."""

_RANKS: dict[str, int] = {site: rank for rank, site in enumerate(SITES)}


class Point(NamedTuple):
    """A site of a block; points compare in the order in which a pass reaches them.

    ``rank`` is the site's place in ``SITES``. The embedding belongs to block 0.
    """

    block: int
    rank: int

    @property
    def site(self) -> Site:
        """Which part of the block."""
        return SITES[self.rank]

    def __str__(self) -> str:
        if self.site == "embedding":
            return "the embedding"
        return f"block {self.block}" if self.site == "block_output" else f"block {self.block}, {self.site}"


def point_at(block: int, site: Site) -> Point:
    """Return the point at ``site`` of ``block``; ``ValueError`` for a site or block that there cannot be."""
    if site not in _RANKS:
        raise ValueError(f"site: got {site!r}, expected one of {', '.join(SITES)}")
    if block < 0 or (site == "embedding" and block != 0):
        raise ValueError(f"block: got {block}, expected {'0' if site == 'embedding' else 'a number from 0'}")
    return Point(block, _RANKS[site])


def outputs_of_blocks(blocks: Iterable[int]) -> tuple[Point, ...]:
    """Return the points at the outputs of ``blocks``, in the order given."""
    return tuple(point_at(block, "block_output") for block in blocks)
