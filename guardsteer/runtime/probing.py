"""Probes of a policy inside one forward pass: read where they sit, handed over once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["PlacedProbe", "Probe", "ProbeBank"]


class Probe(Protocol):
    """A probability for each output from a block's hidden state."""

    @property
    def block(self) -> int:
        """The block whose output it reads."""

    def score(self, hidden: Tensor) -> Tensor:
        """Return ``[..., output]`` from ``hidden: [..., width]``."""


@dataclass(frozen=True, slots=True)
class PlacedProbe:
    """A probe and the signals that it fills."""

    probe: Probe
    slots: tuple[int, ...]


class ProbeBank:
    """All probes of a policy; the scores of a pass leave the device in one transfer.

    One bank serves one generation: what was read waits here until the deepest probe has read.
    """

    def __init__(self, placed: Sequence[PlacedProbe]) -> None:
        self._placed = tuple(sorted(placed, key=lambda entry: entry.probe.block))
        self._read: list[Tensor] = []
        self.blocks = frozenset(entry.probe.block for entry in self._placed)
        self.last = max(self.blocks)
        self.slots = tuple(slot for entry in self._placed for slot in entry.slots)

    def read(self, block: int, hidden: Tensor) -> None:
        """Score ``hidden: [row, column, width]`` with every probe of ``block``."""
        self._read.extend(entry.probe.score(hidden) for entry in self._placed if entry.probe.block == block)

    def take(self) -> list[list[list[float]]]:
        """Return all scores of the pass, ``[row][column][slot]``, and forget them."""
        read, self._read = self._read, []
        stacked = read[0] if len(read) == 1 else torch.cat(read, dim=-1)
        scores: list[list[list[float]]] = stacked.tolist()
        return scores
