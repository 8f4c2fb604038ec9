"""One try of the steering path, before anybody relies on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from guardsteer.errors import HostError
from guardsteer.host.blocks import Layout
from guardsteer.host.hooks import HookSpec, attach
from guardsteer.host.outputs import hidden_of, with_hidden

__all__ = ["check_steering"]

_ROWS = 2
_POSITIONS = 5
# Experts are computed for tokens in groups, so another token's route may change the last bits of a sum.
_EARLIER_TOLERANCE = 2e-2


def check_steering(model: Any, layout: Layout, blocks: Sequence[int]) -> None:
    """Return if a push at each of ``blocks`` reaches the logits, and leaves no trace once it is off.

    Runs ``len(blocks) + 3`` forwards of two rows of five tokens. A push at the last position of row 0, as
    long as the state there, must change the logits there, must not change those before it, and the
    block must run once and return ``[row, position, width]``. Without hooks, logits must repeat bit for bit.
    Raises ``HostError`` that names the block, what happened and what to do.
    """
    ids = _ids(model, layout)
    clean = _logits(model, ids)
    _require_equal(clean, _logits(model, ids), model, "two forwards of one input differ")
    for block in dict.fromkeys(blocks):
        if not 0 <= block < layout.n_blocks:
            raise HostError(f"block {block}: the model has blocks 0 to {layout.n_blocks - 1}")
        push = _Push(block, layout.width)
        hooks = attach([HookSpec(layout.blocks[block], "forward", push, prepend=True)])
        try:
            pushed = _logits(model, ids)
        finally:
            hooks.remove()
        _check_push(push, clean, pushed, layout)
    _require_equal(clean, _logits(model, ids), model, "after its hooks were removed a forward differs")


def _ids(model: Any, layout: Layout) -> torch.Tensor:
    weight = getattr(layout.embedding, "weight", None)
    device = weight.device if isinstance(weight, torch.Tensor) else model.device
    vocabulary = int(weight.shape[0]) if isinstance(weight, torch.Tensor) else int(model.config.vocab_size)
    # Spread over the vocabulary, away from the special tokens that often stand at its ends.
    count = _ROWS * _POSITIONS
    ids = [(i + 1) * vocabulary // (count + 2) for i in range(count)]
    return torch.tensor(ids, device=device).reshape(_ROWS, _POSITIONS)


def _logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(
            input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False
        ).logits
    return logits


def _require_equal(clean: torch.Tensor, again: torch.Tensor, model: Any, what: str) -> None:
    if torch.equal(clean, again):
        return
    if not bool(torch.isfinite(clean).all()):
        cause = "Its logits hold NaN or infinity: try another dtype"
    elif model.training:
        cause = "It is in training mode: call model.eval()"
    else:
        cause = "Look for dropout, kernels that are not deterministic, or hooks of others"
    raise HostError(
        f"{type(model).__name__} cannot be guarded: {what}, but rows that no rule touches must stay as they "
        f"are, bit for bit. {cause}."
    )


class _Push:
    """A hook that adds, at the last position of row 0, a vector as long as the state there."""

    def __init__(self, block: int, width: int) -> None:
        self.block = block
        self.calls = 0
        self.shape: tuple[int, ...] = ()
        # Without mean, which a layer norm would take out again.
        self._direction = torch.ones(width)
        self._direction[1::2] = -1.0
        self._direction /= width**0.5

    def __call__(self, _module: Any, _args: Any, output: Any) -> Any:
        hidden = hidden_of(output)
        self.calls += 1
        self.shape = tuple(hidden.shape)
        if self.shape != (_ROWS, _POSITIONS, len(self._direction)):
            return output
        moved = hidden.clone()
        state = hidden[0, -1]
        moved[0, -1] += self._direction.to(state) * state.norm()
        return with_hidden(output, moved)


def _check_push(push: _Push, clean: torch.Tensor, pushed: torch.Tensor, layout: Layout) -> None:
    kind = type(layout.blocks[push.block]).__name__
    problem = _problem(push, clean, pushed, (_ROWS, _POSITIONS, layout.width))
    if problem:
        raise HostError(
            f"block {push.block} ({layout.block_path}[{push.block}], {kind}) cannot be steered: {problem}. "
            'Name the right blocks by hand, wrap(..., blocks="path"), or choose others in the policy.'
        )


def _problem(push: _Push, clean: torch.Tensor, pushed: torch.Tensor, expected: tuple[int, ...]) -> str:
    if push.calls == 0:
        return "it was not called in a forward, being bypassed, perhaps by a fused kernel"
    if push.calls > 1:
        return f"it runs {push.calls} times in one forward, so a vector would be added as often"
    if push.shape != expected:
        return f"its output has shape {push.shape}, expected [row, position, width] = {expected}"
    if torch.equal(clean[0, -1], pushed[0, -1]):
        return (
            "a push as long as the state itself left the logits as they were, so what its hook returns is "
            "not used downstream"
        )
    moved = (clean[0].float() - pushed[0].float()).abs().amax(-1)
    before = float(moved[:-1].max())
    if before > _EARLIER_TOLERANCE * float(moved[-1]):
        return (
            f"a push at the last position changed logits before it by {before:.3g}, so the model looks ahead "
            "and is no causal LM (is_decoder=True may be missing in its config)"
        )
    return ""
