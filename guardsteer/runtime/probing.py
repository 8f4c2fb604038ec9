"""Probes of a policy inside one forward pass: read where they sit, handed over once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from guardsteer.classify.pace.guarded import Incident, stand_in
from guardsteer.classify.probe import Projection
from guardsteer.core.failures import failure_of
from guardsteer.core.policy import OnError
from guardsteer.host import outputs_of_blocks
from guardsteer.host.products import EXCHANGE
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


class _Mounted:
    """A probe in a bank: what reads with it, how many numbers that gives, and why it no longer does.

    ``weight`` is what states are multiplied with, None where more is done with them.
    """

    __slots__ = ("count", "entry", "failure", "reader", "weight")

    def __init__(self, entry: PlacedProbe) -> None:
        self.entry = entry
        self.count = len(entry.slots)
        self.failure = ""
        self.reader: Callable[[Tensor], Tensor] | None = None
        self.weight: Tensor | None = None

    def begin(self, hidden: Tensor) -> None:
        if self.failure:
            return
        # A point's states have one device and dtype throughout a generation.
        try:
            self.reader = reader = self.entry.probe.reader(hidden)
        except Exception as error:
            self.fail(failure_of(error))
        else:
            self.weight = reader.weight if isinstance(reader, Projection) else None

    def read(self, hidden: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """Return products of ``shape``, of nan where there are none."""
        if self.reader is None:
            self.begin(hidden)
        if self.reader is not None and not self.failure:
            try:
                products = self.reader(hidden)
                if products.shape == shape:
                    return products
                self.fail(f"gave {tuple(products.shape)}, expected {shape}")
            except Exception as error:
                self.fail(failure_of(error))
        return hidden.new_full(shape, math.nan, dtype=torch.float32)

    def fail(self, failure: str) -> None:
        self.failure, self.weight = failure, None


class ProbeBank:
    """All probes of a policy; the scores of a pass leave the device in one transfer.

    One bank serves one generation: what was read waits here until the deepest probe has read. A probe
    that raises gives nan, and is not called again in this generation.
    """

    __slots__ = ("_lone", "_mounted", "_owners", "_read", "biases", "last", "only", "points", "slots")

    def __init__(self, placed: Sequence[PlacedProbe]) -> None:
        ordered = sorted(placed, key=lambda entry: entry.probe.block)
        self._read: list[Tensor] = []
        mounted = [_Mounted(entry) for entry in ordered]
        self._lone = mounted[0] if len(mounted) == 1 else None
        self._mounted: dict[int, list[_Mounted]] = {}
        for each in mounted:
            self._mounted.setdefault(each.entry.probe.block, []).append(each)
        self.last = max(self._mounted)
        self.points = frozenset(outputs_of_blocks(self._mounted))
        self.slots = tuple(slot for entry in ordered for slot in entry.slots)
        biases: list[float] = [bias for entry in ordered for bias in entry.probe.bias.tolist()]
        # Added behind the transfer: a few numbers cost less than one more kernel.
        self.biases = tuple(biases)
        # The one signal that all this fills, -1 where there are several.
        self.only = self.slots[0] if len(self.slots) == 1 else -1
        self._owners = tuple(each for each in mounted for _ in each.entry.slots)

    def read(self, block: int, hidden: Tensor, rows: int, columns: int) -> list[list[list[float]]] | None:
        """Score ``hidden: [row, column, width]``, so many rows and columns, with every probe of ``block``.

        Returns the products of the whole pass, ``[row][column][slot]``, at the deepest probe, else None.
        """
        lone, read = self._lone, self._read
        if lone is not None and lone.reader is None:
            lone.begin(hidden)
        if lone is not None and lone.weight is not None and EXCHANGE is not None:
            found = EXCHANGE.products(hidden, lone.weight)
            if found is not None and len(found) == rows and len(found[0]) == columns:
                return found
        read += [probe.read(hidden, (rows, columns, probe.count)) for probe in self._mounted[block]]
        if block != self.last:
            return None
        stacked = read[0] if len(read) == 1 else torch.cat(read, dim=-1)
        read.clear()
        whole: list[list[list[float]]] = stacked.tolist()
        return whole

    def fill(
        self, signals: list[float], products: Sequence[float], lost: frozenset[str]
    ) -> tuple[frozenset[str], list[Befallen]]:
        """Write one row's probabilities of a step into its ``signals``, which are those of the step before.

        Something stands in for a score that is nan. ``lost`` are the probes that gave nan at the step before.
        Returns those that give it now, and what is to be told of them that did not before.
        """
        missing: dict[str, str] = {}
        for product, bias, slot, probe in zip(products, self.biases, self.slots, self._owners, strict=True):
            logit = product + bias
            if math.isnan(logit):
                signals[slot] = stand_in(probe.entry.on_error, (signals[slot],), 1)[0]
                missing[probe.entry.name] = probe.failure or "gave a score that is no number"
            else:
                signals[slot] = 1.0 / (1.0 + math.exp(-logit)) if logit > -FAR else 0.0
        told = [(name, Incident("failed", text)) for name, text in missing.items() if name not in lost]
        return frozenset(missing), told
