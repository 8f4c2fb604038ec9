"""One try of the steering path, before anybody relies on it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch

from guardsteer.errors import HostError
from guardsteer.host.blocks import Layout
from guardsteer.host.halves import why_not_added
from guardsteer.host.hooks import attach
from guardsteer.host.points import Point, point_at
from guardsteer.host.sites import find_place, hook_at

__all__ = ["check_steering", "spread_ids"]

_ROWS = 2
_POSITIONS = 5
# Experts are computed for tokens in groups, so another token's route may change the last bits of a sum.
_EARLIER_TOLERANCE = 2e-2


def check_steering(model: Any, layout: Layout, points: Sequence[Point | int]) -> None:
    """Return if a push at each of ``points`` reaches the logits, and leaves no trace once it is off.

    A number stands for that block's output. Runs a forward of two rows of five tokens for each point, two
    more for an attention or MLP, and three besides. A push at the last position of row 0, as long as the
    state there, must change the logits there, must not change those before it, and the module must run
    once on ``[row, position, width]``; what an attention or MLP returns must be added to the stream as it is.
    Without hooks, logits must repeat bit for bit. Raises ``HostError`` that names the point, what happened
    and what to do, ``LayoutError`` for a point that is not found.
    """
    chosen = _points(layout, points)
    ids = spread_ids(model, layout, _ROWS, _POSITIONS)
    clean = _logits(model, ids)
    _require_equal(clean, _logits(model, ids), model, "two forwards of one input differ")
    for point in chosen:
        push = _Push(point, find_place(layout, point).width)
        hooks = attach([hook_at(layout, point, push)])
        try:
            pushed = _logits(model, ids)
        finally:
            hooks.remove()
        _refuse(layout, point, _problem(push, clean, pushed))
    for point, problem in why_not_added(layout, chosen, lambda: _logits(model, ids)).items():
        _refuse(layout, point, problem)
    _require_equal(clean, _logits(model, ids), model, "after its hooks were removed a forward differs")


def _points(layout: Layout, points: Sequence[Point | int]) -> list[Point]:
    chosen = []
    for point in points:
        block = point if isinstance(point, int) else point.block
        if not 0 <= block < layout.n_blocks:
            raise HostError(f"block {block}: the model has blocks 0 to {layout.n_blocks - 1}")
        chosen.append(point_at(point, "block_output") if isinstance(point, int) else point)
    return list(dict.fromkeys(chosen))


def spread_ids(model: Any, layout: Layout, rows: int, positions: int) -> torch.Tensor:
    """Return tokens ``[rows, positions]``, spread over the vocabulary, on the device of the embeddings."""
    weight = getattr(layout.embedding, "weight", None)
    device = weight.device if isinstance(weight, torch.Tensor) else model.device
    vocabulary = int(weight.shape[0]) if isinstance(weight, torch.Tensor) else int(model.config.vocab_size)
    # Away from the special tokens that often stand at its ends.
    count = rows * positions
    ids = [(i + 1) * vocabulary // (count + 2) for i in range(count)]
    return torch.tensor(ids, device=device).reshape(rows, positions)


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
    """Adds, at the last position of row 0, a vector as long as the state there.

    In the thread that made it: others may be generating with the same modules.
    """

    def __init__(self, point: Point, width: int) -> None:
        self._thread = threading.get_ident()
        self.point = point
        self.calls = 0
        self.shape: tuple[int, ...] = ()
        self.expected = (_ROWS, _POSITIONS, width)
        # Without mean, which a layer norm would take out again.
        self._direction = torch.ones(width)
        self._direction[1::2] = -1.0
        self._direction /= width**0.5

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor | None:
        if threading.get_ident() != self._thread:
            return None
        self.calls += 1
        self.shape = tuple(hidden.shape)
        if self.shape != self.expected:
            return None
        moved = hidden.clone()
        state = hidden[0, -1]
        moved[0, -1] += self._direction.to(state) * state.norm()
        return moved


def _refuse(layout: Layout, point: Point, problem: str) -> None:
    if not problem:
        return
    kind = type(layout.blocks[point.block]).__name__
    raise HostError(
        f"{point} ({layout.block_path}[{point.block}], {kind}) cannot be steered: {problem}. "
        'Name the right blocks by hand, wrap(..., blocks="path"), or choose another place in the policy.'
    )


def _problem(push: _Push, clean: torch.Tensor, pushed: torch.Tensor) -> str:
    if push.calls == 0:
        return "it was not called in a forward, being bypassed, perhaps by a fused kernel"
    if push.calls > 1:
        return f"it runs {push.calls} times in one forward, so a vector would be added as often"
    if push.shape != push.expected:
        return f"its states have shape {push.shape}, expected [row, position, width] = {push.expected}"
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
