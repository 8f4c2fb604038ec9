"""Conversations run through a model once, read at many points and positions: states handed on, not kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from guardsteer.errors import VectorError
from guardsteer.host import Layout, Point, capture_points
from guardsteer.lab.capture.positions import PositionRule
from guardsteer.lab.capture.readings import Array, Preparer, Reading
from guardsteer.lab.pairs.contrast import ContrastPair

__all__ = ["WINDOW_BATCHES", "Capture", "OnStates", "States"]

_T = TypeVar("_T")
WINDOW_BATCHES = 16
"""Conversations are sorted by length within a window of so many batches: little padding, bounded memory."""


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """What one position rule read at one point in one batch.

    ``values``: ``[row, width]`` float64; row ``i`` belongs to ``batch[owners[i]]``. ``norms``: ``[read
    position]`` float64, the L2 norms of all states that were read, before any mean was taken.
    """

    point: Point
    rule: PositionRule
    batch: Sequence[Reading]
    owners: NDArray[np.int64]
    values: Array
    norms: Array


OnStates: TypeAlias = Callable[[States], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Gather:
    """Positions of a batch that some rules read: places in the flattened batch, and whose they are."""

    rules: list[PositionRule]
    places: torch.Tensor
    owners: torch.Tensor
    counts: torch.Tensor
    present: torch.Tensor


@dataclass(frozen=True, slots=True)
class Capture:
    """What to run, and where to read: each of ``points`` by each of ``rules``, in one pass a text.

    Raises ``VectorError`` for a ``batch_size`` below 1.
    """

    model: Any
    tokenizer: Any
    layout: Layout
    points: tuple[Point, ...]
    rules: tuple[PositionRule, ...]
    batch_size: int = 16

    def __post_init__(self) -> None:
        """Refuse batches that would hold nothing, and so leave every pair unread."""
        if self.batch_size < 1:
            raise VectorError(f"batch_size: got {self.batch_size}, expected at least 1 conversation at once")

    @property
    def preparer(self) -> Preparer:
        """What makes readings for this capture."""
        config = self.model.config.get_text_config(decoder=True)
        return Preparer(self.tokenizer, self.rules, getattr(config, "max_position_embeddings", None))

    def run(
        self,
        pairs: Iterable[ContrastPair],
        on_states: OnStates,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        """Read both sides of every pair; ``on_batch`` is told how many conversations each batch held.

        States of one batch at one point exist at a time. Raises ``VectorError`` for a pair that does not
        fit the model and for states that are not finite, ``HostError`` for a model that cannot be read.
        """
        self.read(self.preparer.pairs(enumerate(pairs)), on_states, on_batch)

    def read(
        self,
        readings: Iterable[Reading],
        on_states: OnStates,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        """Do what ``run`` does, with readings that ``preparer`` made."""
        for window in _chunks(iter(readings), self.batch_size * WINDOW_BATCHES):
            window.sort(key=lambda reading: len(reading.input_ids))
            for batch in _chunks(iter(window), self.batch_size):
                self._forward(batch, on_states)
                if on_batch is not None:
                    on_batch(len(batch))

    def _forward(self, batch: Sequence[Reading], on_states: OnStates) -> None:
        longest = max(len(reading.input_ids) for reading in batch)
        # Padding goes to the right whatever the tokenizer prefers: under a causal mask no token sees it, so
        # that it cannot change a state in any architecture, recurrent ones included.
        ids = torch.full((len(batch), longest), self.tokenizer.pad_token_id or 0, dtype=torch.long)
        attention = torch.zeros_like(ids)
        for row, reading in enumerate(batch):
            ids[row, : len(reading.input_ids)] = torch.tensor(reading.input_ids)
            attention[row, : len(reading.input_ids)] = 1
        gathers = _gathers(batch, self.rules, longest) if self.points else []

        def on_hidden(point: Point, hidden: torch.Tensor) -> None:
            flat = hidden.flatten(0, 1)
            for gather in gathers:
                for states in _read(point, batch, gather, flat):
                    on_states(states)

        device = next(self.layout.embedding.parameters()).device
        capture_points(self.model, self.layout, self.points, ids.to(device), attention.to(device), on_hidden)


def _gathers(batch: Sequence[Reading], rules: Sequence[PositionRule], longest: int) -> list[_Gather]:
    """Return what is read in a batch; rules that read the same positions share it."""
    found: dict[bytes, _Gather] = {}
    for number, rule in enumerate(rules):
        counts = torch.tensor([len(reading.positions[number]) for reading in batch])
        places = torch.tensor(
            [
                row * longest + position
                for row, reading in enumerate(batch)
                for position in reading.positions[number]
            ],
            dtype=torch.long,
        )
        if not len(places):
            continue
        owners = torch.repeat_interleave(torch.arange(len(batch)), counts)
        key = places.numpy().tobytes()
        gather = found.setdefault(key, _Gather([], places, owners, counts, counts.nonzero()[:, 0]))
        gather.rules.append(rule)
    return list(found.values())


def _read(point: Point, batch: Sequence[Reading], gather: _Gather, flat: torch.Tensor) -> Iterator[States]:
    chosen = flat.index_select(0, gather.places.to(flat.device))
    # Apple's GPUs have no float64.
    states = chosen.cpu().double() if flat.device.type == "mps" else chosen.double()
    norms = torch.linalg.vector_norm(states, dim=1).cpu().numpy()
    if not np.isfinite(norms).all():
        raise VectorError(f"{point}: the hidden states hold NaN or infinity; try another dtype")
    for rule in gather.rules:
        if rule.each:
            yield States(point, rule, batch, gather.owners.numpy(), states.cpu().numpy(), norms)
            continue
        sums = torch.zeros(len(batch), states.shape[1], dtype=torch.float64, device=states.device)
        sums.index_add_(0, gather.owners.to(states.device), states)
        rows = gather.present
        means = sums.cpu()[rows] / gather.counts[rows, None]
        yield States(point, rule, batch, rows.numpy(), means.numpy(), norms)


def _chunks(values: Iterator[_T], size: int) -> Iterator[list[_T]]:
    while chunk := list(islice(values, size)):
        yield chunk
