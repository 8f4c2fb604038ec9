"""The hidden states inside what a block, an attention or an MLP returns."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["hidden_of", "with_hidden"]


def hidden_of(output: Any) -> torch.Tensor:
    """Return the hidden states of a module's output, itself and not a copy.

    ``output`` is what a forward hook is given: a tensor, a tuple or list that has the hidden states
    first, or a ``ModelOutput``. Shape: ``[row, position, width]`` for a block.
    Raises ``TypeError`` for anything else.
    """
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], torch.Tensor):
        return output[0]
    if isinstance(output, dict) and output:
        first = next(iter(output.values()))
        if isinstance(first, torch.Tensor):
            return first
    raise TypeError(_no_hidden(output))


def with_hidden(output: Any, hidden: torch.Tensor) -> Any:
    """Return ``output`` with ``hidden`` in place of its hidden states, all else kept.

    ``output`` itself is never changed: something else may have captured it.
    Raises ``TypeError`` where ``hidden_of`` does.
    """
    if isinstance(output, torch.Tensor):
        return hidden
    if isinstance(output, tuple) and output:
        rest = (hidden, *output[1:])
        # A namedtuple takes its fields one by one, a plain tuple takes them all at once.
        return type(output)(*rest) if hasattr(output, "_fields") else rest
    if isinstance(output, list) and output:
        return [hidden, *output[1:]]
    if isinstance(output, dict) and output:
        first = next(iter(output))
        return type(output)(**{**output, first: hidden})
    raise TypeError(_no_hidden(output))


def _no_hidden(output: Any) -> str:
    return (
        f"no hidden states in a module's output: got {type(output).__name__}, expected a tensor, "
        "or a tuple or ModelOutput that has the hidden states first"
    )
