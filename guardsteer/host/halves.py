"""Whether what the attention or the MLP of a block returns is added to the residual stream as it is.

A vector acts at these sites only where it is: some models normalise it first, so that a push would have
another length, and some have added the stream to it already, so that it is no half of a block. Which do is
not looked up but measured. Somewhere in the block the stream must be what entered plus multiples of what
the halves returned (multiples, since some models scale both), and must move by the same multiple when
the half's output is made longer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from guardsteer.host.blocks import Layout
from guardsteer.host.hooks import HookSpec, attach
from guardsteer.host.outputs import hidden_of, with_hidden
from guardsteer.host.points import Point
from guardsteer.host.sites import first_parameter

__all__ = ["why_not_added"]

_LEFT_OVER = 0.02
"""What a comparison may leave over, as a share of what is compared; rounding of the stream comes on top."""
_ROUNDINGS = 2.0
_LEAST_MULTIPLE = 1e-3


@dataclass(slots=True)
class _Seen:
    """One block in one forward: what entered, what its halves returned, what its parts were given, what left.

    All float64 and flat.
    """

    entered: Tensor | None = None
    attention: Tensor | None = None
    mlp: Tensor | None = None
    left: Tensor | None = None
    inner: list[Tensor] = field(default_factory=list)
    eps: float = 0.0


def why_not_added(layout: Layout, points: Sequence[Point], forward: Callable[[], Any]) -> dict[Point, str]:
    """Return, for those of ``points`` at an attention or MLP whose output is not added as it is, why.

    ``forward`` runs the model over a few positions, always the same, in the calling thread; it is called
    twice for each such point. Other threads that run the model meanwhile see nothing of it.
    """
    problems = {}
    for point in dict.fromkeys(points):
        if point.site not in ("attention", "mlp"):
            continue
        clean = _run(layout, point, forward, 0.0)
        half = clean.attention if point.site == "attention" else clean.mlp
        if half is None or clean.entered is None or clean.left is None:
            problems[point] = "it did not run in a forward"
            continue
        # As long as the stream, so that no rounding of the stream hides it.
        gain = float(clean.entered.norm() / half.norm().clamp_min(1e-30))
        problem = _problem(clean, _run(layout, point, forward, gain), half, gain, point.site)
        if problem:
            problems[point] = problem
    return problems


def _run(layout: Layout, point: Point, forward: Callable[[], Any], gain: float) -> _Seen:
    """Run a forward in which the half at ``point`` returns ``1 + gain`` times what it would."""
    seen = _Seen()
    hooks = attach(_readers(layout, point, seen, gain))
    try:
        forward()
    finally:
        hooks.remove()
    return seen


def _readers(layout: Layout, point: Point, seen: _Seen, gain: float) -> list[HookSpec]:
    block = layout.blocks[point.block]
    thread = threading.get_ident()

    def mine(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: function(*given) if threading.get_ident() == thread else None

    def read(name: str) -> Callable[..., Any]:
        def keep(_module: Any, _args: Any, output: Any) -> Any:
            hidden = hidden_of(output)
            setattr(seen, name, _flat(hidden))
            return with_hidden(output, hidden * (1.0 + gain)) if name == point.site and gain else None

        return mine(keep)

    def entered(owner: nn.Module, args: Any, kwargs: Any) -> None:
        hidden = args[0] if args else kwargs[first_parameter(owner)]
        seen.entered, seen.eps = _flat(hidden), torch.finfo(hidden.dtype).eps

    def inner(_module: Any, args: Any, kwargs: Any) -> None:
        values = (value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        seen.inner.extend(_flat(value) for value in values if value.is_floating_point())

    halves = {"attention": layout.attention[point.block], "mlp": layout.mlp[point.block]}
    return [
        HookSpec(block, "forward_pre", mine(entered), with_kwargs=True),
        HookSpec(block, "forward", read("left"), prepend=True),
        *(HookSpec(child, "forward_pre", mine(inner), with_kwargs=True) for child in block.children()),
        *(
            HookSpec(half, "forward", read(name), prepend=True)
            for name, half in halves.items()
            if half is not None
        ),
    ]


def _flat(hidden: Tensor) -> Tensor:
    return hidden.detach().double().flatten()


def _problem(clean: _Seen, longer: _Seen, half: Tensor, gain: float, site: str) -> str:
    other = clean.mlp if site == "attention" else clean.attention
    streams = [(clean.left, longer.left)]
    if site == "attention":  # the stream between the halves is what some part of the block is given
        streams += zip(clean.inner, longer.inner, strict=False)
    for before, after in streams:
        if before is None or after is None or not before.shape == after.shape == half.shape:
            continue
        multiple = _multiple(before, clean, half, other)
        moved = after - before - multiple * gain * half
        allowed = _LEFT_OVER * abs(multiple) * gain * float(half.norm()) + _rounding(after, clean)
        if multiple and float(moved.norm()) <= allowed:
            return ""
    if _moved(clean, longer, gain * float(half.norm())) and any(
        before is not None and torch.equal(before, half) for before, _ in streams
    ):
        return "it returns the residual stream itself, to which it has added its own part already"
    return "what it returns is normalised or changed otherwise before it is added to the residual stream"


def _moved(clean: _Seen, longer: _Seen, by: float) -> bool:
    """Tell whether what left the block changed by more than a rest of ``by``."""
    if clean.left is None or longer.left is None:
        return False
    return float((longer.left - clean.left).norm()) > _LEFT_OVER * by + _rounding(longer.left, clean)


def _rounding(stream: Tensor, seen: _Seen) -> float:
    return _ROUNDINGS * seen.eps * float(stream.norm())


def _multiple(stream: Tensor, seen: _Seen, half: Tensor, other: Tensor | None) -> float:
    """Return ``m`` where ``stream`` is what entered plus ``m`` times ``half`` plus any multiple of ``other``.

    0.0 where it is not.
    """
    if seen.entered is None or seen.entered.shape != half.shape:
        return 0.0
    target = stream - seen.entered
    pair = [half] if other is None or other.shape != half.shape else [half, other]
    for parts in ([half], pair):
        matrix = torch.stack(parts, 1)
        shares = torch.linalg.lstsq(matrix, target.unsqueeze(1)).solution
        left_over = float((target.unsqueeze(1) - matrix @ shares).norm())
        if left_over <= _LEFT_OVER * float(target.norm()) + _rounding(stream, seen):
            multiple = float(shares[0, 0])
            return multiple if abs(multiple) > _LEAST_MULTIPLE else 0.0
    return 0.0
