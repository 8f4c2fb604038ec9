"""The hidden states of whole token sequences, such as a probe sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from guardsteer.errors import ClassifierError
from guardsteer.host import find_layout
from guardsteer.host.capture import capture

__all__ = ["states_of"]


def states_of(
    model: Any, sequences: Sequence[Sequence[int]], blocks: Sequence[int], *, batch_size: int = 32
) -> dict[int, list[NDArray[np.float32]]]:
    """Return each sequence's states at each of ``blocks``, ``[token, width]``, in one pass a sequence.

    Sequences of similar length share a pass. Raises ``ClassifierError`` for a block that is not there, and
    ``HostError`` as ``capture`` does.
    """
    layout = find_layout(model)
    for block in blocks:
        if not 0 <= block < layout.n_blocks:
            raise ClassifierError(f"block: got {block}, the model has blocks 0 to {layout.n_blocks - 1}")
    empty = np.empty((0, layout.width), np.float32)
    states: dict[int, list[NDArray[np.float32]]] = {block: [empty] * len(sequences) for block in blocks}
    order = sorted(range(len(sequences)), key=lambda place: len(sequences[place]))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        ids = torch.zeros((len(places), max(len(sequences[place]) for place in places)), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, place in enumerate(places):
            tokens = sequences[place]
            # On the right, where no token can see it.
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        read = capture(model, layout, list(blocks), ids.to(model.device), mask.to(model.device))
        for block in blocks:
            hidden = read[block].float().cpu().numpy()
            for row, place in enumerate(places):
                states[block][place] = hidden[row, : len(sequences[place])]
    return states
