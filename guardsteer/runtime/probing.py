"""Probes of a policy inside one forward pass: read where they sit, handed over once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from guardsteer.classify.pace.guarded import Incident, stand_in
from guardsteer.core.failures import failure_of
from guardsteer.core.policy import OnError
from guardsteer.host import outputs_of_blocks
from guardsteer.runtime.fragile import Befallen

__all__ = ["FAR", "PlacedProbe", "Probe", "ProbeBank"]

FAR = 700.0
"""Where ``exp`` of a log-odds is still a number; the probability below is 0 for all that counts."""


class Probe(Protocol):
    """A log-odds for each output from a block's hidden state."""

    @property
    def block(self) -> int:
        """The block whose output it reads."""

    @property
    def bias(self) -> Tensor:
        """What a log-odds is beside the product, ``[output]``."""

    def reader(self, like: Tensor) -> Callable[[Tensor], Tensor]:
        """Return what makes log-odds less the bias, ``[..., output]``, of ``[..., width]`` like ``like``."""


@dataclass(frozen=True, slots=True)
class PlacedProbe:
    """A probe, the signals that it fills, and what stands in for a score that it does not give."""

    probe: Probe
    slots: tuple[int, ...]
    name: str
    on_error: OnError = "closed"


class ProbeBank:
    """All probes of a policy; the scores of a pass leave the device in one transfer.

    One bank serves one generation: what was read waits here until the deepest probe has read. A probe
    that raises gives nan, and is not called again in this generation.
    """

    __slots__ = (
        *("_owners", "_raised", "_read", "_readers", "biases", "blocks", "last", "only", "points", "slots"),
    )

    def __init__(self, placed: Sequence[PlacedProbe]) -> None:
        ordered = sorted(placed, key=lambda entry: entry.probe.block)
        self._read: list[Tensor] = []
        self._raised: dict[str, str] = {}
        self._readers: dict[str, Callable[[Tensor], Tensor]] = {}
        self.blocks: dict[int, list[PlacedProbe]] = {}
        for entry in ordered:
            self.blocks.setdefault(entry.probe.block, []).append(entry)
        self.last = max(self.blocks)
        self.points = frozenset(outputs_of_blocks(self.blocks))
        self.slots = tuple(slot for entry in ordered for slot in entry.slots)
        biases: list[float] = [bias for entry in ordered for bias in entry.probe.bias.tolist()]
        # Added behind the transfer: a few numbers cost less than one more kernel.
        self.biases = tuple(biases)
        # The one signal that all this fills, -1 where there are several.
        self.only = self.slots[0] if len(self.slots) == 1 else -1
        self._owners = tuple(entry for entry in ordered for _ in entry.slots)

    def read(self, block: int, hidden: Tensor) -> None:
        """Score ``hidden: [row, column, width]`` with every probe of ``block``."""
        rows, columns, _ = hidden.shape
        for entry in self.blocks[block]:
            shape = (rows, columns, len(entry.slots))
            if not self._raised or entry.name not in self._raised:
                try:
                    reader = self._readers.get(entry.name)
                    if reader is None:
                        # A point's states have one device and dtype throughout a generation.
                        reader = self._readers[entry.name] = entry.probe.reader(hidden)
                    products = reader(hidden)
                    if products.shape == shape:
                        self._read.append(products)
                        continue
                    self._raised[entry.name] = f"gave {tuple(products.shape)}, expected {shape}"
                except Exception as error:
                    self._raised[entry.name] = failure_of(error)
            self._read.append(hidden.new_full(shape, math.nan, dtype=torch.float32))

    def fill(
        self, signals: list[float], products: Sequence[float], lost: frozenset[str]
    ) -> tuple[frozenset[str], list[Befallen]]:
        """Write one row's probabilities of a step into its ``signals``, which are those of the step before.

        Something stands in for a score that is nan. ``lost`` are the probes that gave nan at the step before.
        Returns those that give it now, and what is to be told of them that did not before.
        """
        missing: dict[str, str] = {}
        for product, bias, slot, entry in zip(products, self.biases, self.slots, self._owners, strict=True):
            logit = product + bias
            if math.isnan(logit):
                signals[slot] = stand_in(entry.on_error, (signals[slot],), 1)[0]
                missing[entry.name] = self._raised.get(entry.name, "gave a score that is no number")
            else:
                signals[slot] = 1.0 / (1.0 + math.exp(-logit)) if logit > -FAR else 0.0
        told = [(name, Incident("failed", text)) for name, text in missing.items() if name not in lost]
        return frozenset(missing), told

    def take(self) -> list[list[list[float]]]:
        """Return the products of the pass, ``[row][column][slot]``, and forget them."""
        read = self._read
        stacked = read[0] if len(read) == 1 else torch.cat(read, dim=-1)
        read.clear()
        products: list[list[list[float]]] = stacked.tolist()
        return products
