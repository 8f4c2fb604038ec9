"""A half of a block counts as one only where the block adds what it returns as it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from guardsteer.host.blocks import Layout
from guardsteer.host.halves import why_not_added
from guardsteer.host.points import Point, point_at

WIDTH = 16
ATTENTION, MLP = point_at(0, "attention"), point_at(0, "mlp")
NORMALISED, STREAM = "normalised or changed otherwise", "the residual stream itself"

Use = Callable[[Tensor, Tensor], Tensor]


def unit(hidden: Tensor) -> Tensor:
    return hidden / hidden.pow(2).mean(-1, keepdim=True).sqrt()


class Mixer(nn.Module):
    """Anything that makes a state of a state; ``steady`` gives all of them one length."""

    def __init__(self, seed: int, steady: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("matrix", torch.randn(WIDTH, WIDTH, generator=generator) / 4)
        self.steady = steady

    def forward(self, hidden: Tensor) -> Tensor:
        made = torch.tanh(hidden @ self.get_buffer("matrix"))
        return unit(made) if self.steady else made


class Block(nn.Module):
    """A block that uses its halves as ``use`` says; the MLP sees the stream behind the attention."""

    def __init__(self, use: Use, *, steady: bool = False, parallel: bool = False) -> None:
        super().__init__()
        self.attention, self.mlp = Mixer(1, steady), Mixer(2, steady)
        self.norm = nn.LayerNorm(WIDTH)
        self.use, self.parallel = use, parallel

    def forward(self, hidden: Tensor) -> Tensor:
        middle = self.use(hidden, self.attention(hidden))
        if self.parallel:
            return self.use(middle, self.mlp(hidden))
        return self.use(middle, self.mlp(self.norm(middle)))


def whys(
    block: nn.Module, points: tuple[Point, ...] = (ATTENTION, MLP), elsewhere: Any = None
) -> dict[Point, str]:
    parts: Any = block
    layout = Layout((block,), "blocks", (parts.attention,), (parts.mlp,), nn.Embedding(4, WIDTH), WIDTH)
    hidden = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(0))

    def forward() -> None:
        if elsewhere is not None:
            other = threading.Thread(target=elsewhere)
            other.start()
            other.join()
        block(hidden)

    found = why_not_added(layout, points, forward)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in block.modules())
    return found


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("steady", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.2, -3.0])
def test_what_is_added_may_be_scaled(scale: float, steady: bool, parallel: bool) -> None:
    assert whys(Block(lambda stream, half: stream + scale * half, steady=steady, parallel=parallel)) == {}


@pytest.mark.parametrize("steady", [False, True])
@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (lambda stream, half: stream + unit(half), NORMALISED),
        (lambda stream, half: stream + half * torch.sigmoid(half), NORMALISED),
        (lambda stream, half: stream + half * torch.linspace(0.1, 1, WIDTH), NORMALISED),
        (lambda stream, half: stream + 0.0 * half, NORMALISED),
        (lambda stream, half: stream + 1e-5 * half, NORMALISED),
    ],
)
def test_what_is_changed_first_or_left_out_is_refused(use: Use, reason: str, steady: bool) -> None:
    """Also where a norm changes nothing, since all that is returned has unit length already."""
    found = whys(Block(use, steady=steady))
    assert set(found) == {ATTENTION, MLP}
    assert all(reason in problem for problem in found.values())


def test_what_holds_the_stream_already_is_refused() -> None:
    class Whole(Mixer):
        def forward(self, hidden: Tensor) -> Tensor:
            return hidden + super().forward(hidden)

    block = Block(lambda _stream, half: half)
    block.attention, block.mlp = Whole(1, False), Whole(2, False)
    block.norm = nn.Identity()  # type: ignore[assignment]  # another layer in its place
    found = whys(block)
    assert all(STREAM in found[point] for point in (ATTENTION, MLP))


def test_a_half_that_does_not_run_is_refused_and_other_points_are_not_looked_at() -> None:
    block = Block(lambda stream, half: stream + half)
    unused = nn.Module()
    unused.attention, unused.mlp = nn.Identity(), nn.Identity()
    assert whys(block, (point_at(0, "block_output"),)) == {}
    layout = Layout((block,), "blocks", (unused.attention,), (None,), nn.Embedding(4, WIDTH), WIDTH)
    found = why_not_added(layout, [ATTENTION, MLP], lambda: block(torch.ones(1, 2, WIDTH)))
    assert found == dict.fromkeys((ATTENTION, MLP), "it did not run in a forward")


def test_threads_that_run_the_model_meanwhile_neither_disturb_nor_are_disturbed() -> None:
    block = Block(lambda stream, half: stream + half)
    theirs = torch.full((1, 3, WIDTH), 0.5)
    clean = block(theirs)
    seen: list[Tensor] = []
    assert whys(block, elsewhere=lambda: seen.append(block(theirs))) == {}
    assert len(seen) == 4
    assert all(torch.equal(state, clean) for state in seen)
