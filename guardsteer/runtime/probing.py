"""Probes of a policy inside one forward pass: read where they sit, handed over once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from guardsteer.classify.pace.guarded import Incident, stand_in
from guardsteer.core.failures import failure_of
from guardsteer.core.policy import OnError
from guardsteer.host import outputs_of_blocks
from guardsteer.runtime.fragile import Befallen

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
    """A probe, the signals that it fills, and what stands in for a score that it does not give."""

    probe: Probe
    slots: tuple[int, ...]
    name: str = ""
    on_error: OnError = "closed"


class ProbeBank:
    """All probes of a policy; the scores of a pass leave the device in one transfer.

    One bank serves one generation: what was read waits here until the deepest probe has read. A probe
    that raises gives nan, and is not called again in this generation.
    """

    def __init__(self, placed: Sequence[PlacedProbe]) -> None:
        ordered = sorted(placed, key=lambda entry: entry.probe.block)
        self._read: list[Tensor] = []
        self._raised: dict[str, str] = {}
        self.blocks: dict[int, list[PlacedProbe]] = {}
        for entry in ordered:
            self.blocks.setdefault(entry.probe.block, []).append(entry)
        self.last = max(self.blocks)
        self.points = frozenset(outputs_of_blocks(self.blocks))
        self.slots = tuple(slot for entry in ordered for slot in entry.slots)
        self._owners = tuple(entry for entry in ordered for _ in entry.slots)

    def read(self, block: int, hidden: Tensor) -> None:
        """Score ``hidden: [row, column, width]`` with every probe of ``block``."""
        rows, columns, _ = hidden.shape
        for entry in self.blocks[block]:
            shape = (rows, columns, len(entry.slots))
            if not self._raised or entry.name not in self._raised:
                try:
                    logits = entry.probe.logits(hidden)
                    if logits.shape == shape:
                        self._read.append(logits)
                        continue
                    self._raised[entry.name] = f"gave {tuple(logits.shape)}, expected {shape}"
                except Exception as error:
                    self._raised[entry.name] = failure_of(error)
            self._read.append(hidden.new_full(shape, math.nan, dtype=torch.float32))

    def mend(
        self, scores: Sequence[float], signals: Sequence[float], lost: frozenset[str]
    ) -> tuple[list[float], frozenset[str], list[Befallen]]:
        """Put something in the place of the scores of one row and step that are nan.

        ``signals`` are the row's from the step before, ``lost`` the probes that gave nan at it. Returns
        the scores, the probes that give nan now, and what is to be told of those that did not before.
        """
        mended = list(scores)
        missing: dict[str, str] = {}
        for place, (score, slot, entry) in enumerate(zip(scores, self.slots, self._owners, strict=True)):
            if math.isnan(score):
                mended[place] = stand_in(entry.on_error, (signals[slot],), 1)[0]
                missing[entry.name] = self._raised.get(entry.name, "gave a score that is no number")
        told = [(name, Incident("failed", text)) for name, text in missing.items() if name not in lost]
        return mended, frozenset(missing), told

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
    if len(logits) == 1 and logits[0] > -_FAR:
        return [1.0 / (1.0 + math.exp(-logits[0]))]
    return [1.0 / (1.0 + math.exp(-x)) if x > -_FAR else x if math.isnan(x) else 0.0 for x in logits]
