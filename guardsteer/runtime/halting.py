"""How a halted row ends: token by token with the policy's fallback, then the end of the text.

Both classes are functions of the sequence so far, so they may be called any number of times and out
of order, as drafting and beams do.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from guardsteer.runtime.generation import Generation

__all__ = ["Fallback", "FallbackSaid"]


class Fallback(LogitsProcessor):
    """Leaves a halted row one choice: the next token of the fallback, then ``end``."""

    def __init__(self, generation: Generation, tokens: Sequence[int], end: int | None) -> None:
        self._generation = generation
        self._tokens = tuple(tokens)
        self._end = end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return ``scores: [row, token]`` with halted rows decided."""
        generation = self._generation
        length = input_ids.shape[1]
        decided: Tensor | None = None
        for place, row in enumerate(generation.rows):
            if row.halt_step < 0:
                continue
            said = length - generation.width - row.halt_step
            if said < 0:
                continue
            token = self._tokens[said] if said < len(self._tokens) else self._end
            if token is not None:
                # The caller may keep the logits it passed in, so they stay as they are.
                decided = scores.clone() if decided is None else decided
                decided[place] = -torch.inf
                decided[place, token] = 0.0
        return scores if decided is None else decided


class FallbackSaid(StoppingCriteria):
    """Ends a halted row after its fallback, for models that have no token for the end of a text."""

    def __init__(self, generation: Generation, tokens: Sequence[int]) -> None:
        self._generation = generation
        self._tokens = tuple(tokens)

    def __call__(self, input_ids: Tensor, *_: object, **__: object) -> Tensor:
        """Return which rows are done, ``[row]``."""
        generation = self._generation
        written = input_ids.shape[1] - generation.width
        done = [
            row.halt_step >= 0 and written >= row.halt_step + len(self._tokens) for row in generation.rows
        ]
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)
