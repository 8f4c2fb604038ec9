"""Contrast pairs run through a model: hidden states at the positions of interest, handed on and not kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from guardsteer.core.digests import digest_bytes
from guardsteer.core.policy import Site
from guardsteer.errors import TurnsError, VectorError
from guardsteer.host import Layout, capture, render_chat
from guardsteer.lab.contrast import ContrastPair, Side
from guardsteer.steer.artifact import ReadPosition

__all__ = ["NEGATIVE", "POSITIVE", "Array", "OnRead", "Reader", "Reading"]

POSITIVE, NEGATIVE = 0, 1
Array: TypeAlias = NDArray[np.float64]

_T = TypeVar("_T")
# Conversations are sorted by length within a window of so many batches: little padding, and bounded memory.
_BATCHES_A_WINDOW = 16


@dataclass(frozen=True, slots=True)
class Reading:
    """One side of one pair as token ids, and the positions to read: ``first`` included, ``end`` not.

    ``half`` (0 or 1) is the same for both sides of a pair.
    """

    input_ids: Sequence[int]
    first: int
    end: int
    side: int
    half: int


OnRead: TypeAlias = Callable[[int, Sequence[Reading], Array, Array], None]
"""Takes a block, the rows of a batch, their mean states (``[row, width]``) and the L2 norms of all the
states read (``[read position]``)."""


@dataclass(frozen=True, slots=True)
class Reader:
    """What to run and where to read: both sides of each pair, at one site of ``blocks``."""

    model: Any
    tokenizer: Any
    layout: Layout
    blocks: tuple[int, ...]
    read: ReadPosition
    batch_size: int
    site: Site = "block_output"

    def run(
        self, pairs: Iterable[ContrastPair], on_read: OnRead, on_batch: Callable[[int], None] | None = None
    ) -> None:
        """Read both sides of every pair; ``on_batch`` is told how many conversations each batch held.

        States of one batch at one block exist at a time. Raises ``VectorError`` for a pair that does not
        fit the model and for states that are not finite, ``HostError`` for a model that cannot be read.
        """
        readings = (reading for pair in pairs for reading in self._readings(pair))
        for window in _chunks(readings, self.batch_size * _BATCHES_A_WINDOW):
            window.sort(key=lambda reading: len(reading.input_ids))
            for batch in _chunks(iter(window), self.batch_size):
                self._forward(batch, on_read)
                if on_batch is not None:
                    on_batch(len(batch))

    def _readings(self, pair: ContrastPair) -> Iterator[Reading]:
        config = self.model.config.get_text_config(decoder=True)
        longest = getattr(config, "max_position_embeddings", None)
        half = int(digest_bytes(pair.id.encode())[-1], 16) % 2
        for side, what in ((POSITIVE, pair.positive), (NEGATIVE, pair.negative)):
            ids, first, end = self._tokens(pair, what)
            if longest is not None and len(ids) > longest:
                raise VectorError(
                    f"pair {pair.id!r}: {len(ids)} tokens, but the model takes {longest}; shorten the pair"
                )
            yield Reading(ids, first, end, side, half)

    def _tokens(self, pair: ContrastPair, side: Side) -> tuple[Sequence[int], int, int]:
        of_reply = self.read == "assistant_mean"
        messages = pair.chat(side, with_reply=of_reply)
        try:
            chat = render_chat(self.tokenizer, messages, add_generation_prompt=not of_reply)
        except TurnsError as error:
            raise TurnsError(f"pair {pair.id!r}: {error}") from error
        if not of_reply:
            return chat.input_ids, len(chat.input_ids) - 1, len(chat.input_ids)
        turn = chat.turns[-1] if chat.turns else None
        if turn is None or turn.role != "assistant" or turn.end <= turn.first:
            raise VectorError(
                f"pair {pair.id!r}: the reply has no tokens of its own under this chat template"
            )
        return chat.input_ids, turn.first, turn.end

    def _forward(self, batch: Sequence[Reading], on_read: OnRead) -> None:
        longest = max(len(reading.input_ids) for reading in batch)
        # Padding goes to the right whatever the tokenizer prefers: under a causal mask no token sees it, so
        # that it cannot change a state in any architecture, recurrent ones included.
        ids = torch.full((len(batch), longest), self.tokenizer.pad_token_id or 0, dtype=torch.long)
        attention = torch.zeros_like(ids)
        wanted = torch.zeros_like(ids, dtype=torch.bool)
        for row, reading in enumerate(batch):
            length = len(reading.input_ids)
            ids[row, :length] = torch.tensor(reading.input_ids)
            attention[row, :length] = 1
            wanted[row, reading.first : reading.end] = True
        counts = wanted.sum(1).numpy()
        starts = np.cumsum(counts) - counts

        def on_hidden(block: int, hidden: torch.Tensor) -> None:
            states = hidden[wanted.to(hidden.device)].cpu().double().numpy()
            if not np.isfinite(states).all():
                raise VectorError(f"block {block}: the hidden states hold NaN or infinity; try another dtype")
            means = np.add.reduceat(states, starts, axis=0) / counts[:, None]
            on_read(block, batch, means, np.linalg.norm(states, axis=1))

        device = next(self.layout.embedding.parameters()).device
        capture(
            self.model,
            self.layout,
            self.blocks,
            ids.to(device),
            attention.to(device),
            on_hidden,
            site=self.site,
        )


def _chunks(values: Iterator[_T], size: int) -> Iterator[list[_T]]:
    while chunk := list(islice(values, size)):
        yield chunk
