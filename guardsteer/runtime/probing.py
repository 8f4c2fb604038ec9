"""Probes of a policy inside one forward pass: read where they sit, handed over once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["PlacedProbe", "Probe", "ProbeBank", "probabilities"]

_FAR = 700.0


class Probe(Protocol):
    """A log-odds for each output from a block's hidden state."""

    @property
    def block(self) -> int:
        """The block whose output it reads."""

    def logits(self, hidden: Tensor) -> Tensor:
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
        ordered = sorted(placed, key=lambda entry: entry.probe.block)
        self._read: list[Tensor] = []
        self.blocks: dict[int, list[Probe]] = {}
        for entry in ordered:
            self.blocks.setdefault(entry.probe.block, []).append(entry.probe)
        self.last = max(self.blocks)
        self.slots = tuple(slot for entry in ordered for slot in entry.slots)

    def read(self, block: int, hidden: Tensor) -> None:
        """Score ``hidden: [row, column, width]`` with every probe of ``block``."""
        for probe in self.blocks[block]:
            self._read.append(probe.logits(hidden))

    def take(self) -> list[list[list[float]]]:
        """Return the log-odds of the pass, ``[row][column][slot]``, and forget them."""
        read, self._read = self._read, []
        stacked = read[0] if len(read) == 1 else torch.cat(read, dim=-1)
        scores: list[list[list[float]]] = stacked.tolist()
        return scores


def probabilities(logits: Sequence[float]) -> list[float]:
    """Return the probability of each log-odds; nan stays nan, which rules take for missing.

    Done here rather than on the device: a few numbers cost less than one more kernel.
    """
    return [1.0 / (1.0 + math.exp(-x)) if x > -_FAR else x if math.isnan(x) else 0.0 for x in logits]
