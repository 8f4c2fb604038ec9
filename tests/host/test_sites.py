"""Every site of every architecture is found and steered as a hand would do it, or refused with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from guardsteer.core.policy import Site
from guardsteer.errors import HostError, LayoutError
from guardsteer.host.blocks import Layout, find_layout
from guardsteer.host.hooks import attach
from guardsteer.host.outputs import hidden_of, with_hidden
from guardsteer.host.points import SITES, Point, outputs_of_blocks, point_at
from guardsteer.host.selftest import check_steering
from guardsteer.host.sites import find_heads, find_place, first_parameter, hook_at, hooks_at
from tests.models import ARCHITECTURES, BLOCKS, VOCABULARY, WIDTH, tiny

_NORMALISED_FIRST = {"gemma2", "gemma3_text", "olmo2"}
_WITHOUT_MLP = {"opt", "mamba"}
_EXPERTS = {"mixtral", "qwen3_moe", "qwen3_next", "deepseek_v3", "gpt_oss"}  # no float64, rows in groups
_WITHOUT_HEADS = {"qwen3_next": (0, 2), "lfm2": (0, 2), "mamba": (0, 1, 2, 3)}

REFUSED: dict[tuple[str, Site], str] = {
    **{(name, site): "normalised" for name in _NORMALISED_FIRST for site in ("attention", "mlp")},
    **{(name, "mlp"): "no module" for name in _WITHOUT_MLP},
    **{(name, "heads"): "no softmax attention" for name in _WITHOUT_HEADS},
    ("bloom", "attention"): "returns the residual stream itself",
    ("bloom", "mlp"): "returns the residual stream itself",
    ("mpt", "mlp"): "returns the residual stream itself",
}
"""What cannot be steered, and a word of the reason; for ``heads`` in the blocks of another mixer."""


def _ids() -> Tensor:
    return torch.randint(3, VOCABULARY, (2, 7), generator=torch.Generator().manual_seed(5))


def _logits(model: Any, **inputs: Any) -> Tensor:
    inputs = inputs or {"input_ids": _ids()}
    with torch.no_grad():
        logits: Tensor = model(use_cache=False, **inputs).logits
    return logits


def _edit(hidden: Tensor) -> Tensor:
    """Turn and push one row at some positions."""
    edited = hidden.clone()
    edited[1, 2:] = hidden[1, 2:].flip(-1) + torch.linspace(-1, 1, hidden.shape[-1], dtype=hidden.dtype)
    return edited


class _Around(nn.Module):
    """Stands in a module's place and edits what it is given or what it returns, without any hook."""

    def __init__(self, inner: nn.Module, end: str) -> None:
        super().__init__()
        self.inner = inner
        self.end = end

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.end == "output":
            output = self.inner(*args, **kwargs)
            return with_hidden(output, _edit(hidden_of(output)))
        if args:
            return self.inner(_edit(args[0]), *args[1:], **kwargs)
        name = first_parameter(self.inner)
        return self.inner(**{**kwargs, name: _edit(kwargs[name])})

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)


@contextmanager
def _in_its_place(model: nn.Module, module: nn.Module, end: str) -> Iterator[None]:
    path = next(path for path, child in model.named_modules() if child is module)
    parent, _, name = path.rpartition(".")
    owner = model.get_submodule(parent)
    setattr(owner, name, _Around(module, end))
    try:
        yield
    finally:
        setattr(owner, name, module)


def part(layout: Layout, point: Point) -> tuple[nn.Module, str]:
    """Return the module and its end, found without the code under test."""
    block = layout.blocks[point.block]
    if point.site == "heads":
        names = ("o_proj", "out_proj", "dense", "c_proj")
        attention = layout.attention[point.block]
        assert attention is not None
        (projection,) = (child for path, child in attention.named_modules() if path.split(".")[-1] in names)
        return projection, "input"
    half = {"attention": layout.attention, "mlp": layout.mlp}.get(point.site)
    if half is not None:
        module = half[point.block]
        assert module is not None
        return module, "output"
    if point.site == "embedding":
        return layout.embedding, "output"
    return block, "input" if point.site == "block_input" else "output"


def _points(name: str, site: Site) -> list[Point]:
    """Return the points of ``site`` in two blocks (one for the embedding) that can be steered."""
    if site == "embedding":
        return [point_at(0, site)]
    without = _WITHOUT_HEADS.get(name, ()) if site == "heads" else ()
    return [point_at(block, site) for block in range(BLOCKS) if block not in without][-2:]


STEERED = [
    (name, site)
    for name in ARCHITECTURES
    for site in SITES
    if _points(name, site) and (site == "heads" or (name, site) not in REFUSED)
]


def _hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize(("name", "site"), STEERED)
def test_a_change_at_a_site_is_that_of_an_edit_by_hand_and_leaves_nothing_behind(
    name: str, site: Site
) -> None:
    model = tiny(name)
    layout = find_layout(model)
    clean, hooks = _logits(model), _hooks(model)
    for point in _points(name, site):
        with _in_its_place(model, *part(layout, point)):
            by_hand = _logits(model)
        on = attach([hook_at(layout, point, _edit)])
        by_hook = _logits(model)
        on.remove()
        assert torch.equal(by_hook, by_hand)
        assert (by_hook - clean)[1].abs().max() > 1e-3
        assert torch.equal(by_hook[0], clean[0]) or name in _EXPERTS
        assert torch.equal(_logits(model), clean)
        assert _hooks(model) == hooks


@pytest.mark.parametrize(("name", "site"), STEERED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_self_test_lets_pass_what_can_be_steered(name: str, site: Site, dtype: torch.dtype) -> None:
    model = tiny(name, dtype=dtype)
    check_steering(model, find_layout(model), _points(name, site))


@pytest.mark.parametrize(("name", "site"), sorted(REFUSED))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_cannot_be_steered_is_refused_with_the_reason(name: str, site: Site, dtype: torch.dtype) -> None:
    model = tiny(name, dtype=dtype)
    layout = find_layout(model)
    for block in _WITHOUT_HEADS.get(name, (1,)) if site == "heads" else (1, 3):
        with pytest.raises(HostError, match=REFUSED[name, site]) as refused:
            check_steering(model, layout, [point_at(block, site)])
        assert f"block {block}" in str(refused.value)
    assert _hooks(model) == 0


def test_a_push_at_the_embedding_is_that_of_other_embeddings() -> None:
    model = tiny("llama")
    layout = find_layout(model)
    on = attach([hook_at(layout, point_at(0, "embedding"), _edit)])
    by_hook = _logits(model)
    on.remove()
    assert torch.equal(by_hook, _logits(model, inputs_embeds=_edit(layout.embedding(_ids()))))


@pytest.mark.parametrize("name", ["llama", "gpt2", "falcon", "bloom"])
def test_the_input_of_a_block_is_the_output_of_the_one_before(name: str) -> None:
    model = tiny(name)
    layout = find_layout(model)
    logits = []
    for point in (point_at(2, "block_input"), point_at(1, "block_output")):
        on = attach([hook_at(layout, point, _edit)])
        logits.append(_logits(model))
        on.remove()
    assert torch.equal(*logits)


@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if n not in _EXPERTS | {"bloom", "mamba", "lfm2"}])
def test_a_push_at_a_head_is_the_push_at_the_attention_that_its_projection_makes_of_it(name: str) -> None:
    model = tiny(name, dtype=torch.float64)
    layout = find_layout(model)
    heads = find_heads(layout, 1)
    assert heads.n_heads == 4
    assert heads.width == WIDTH
    push = torch.zeros(heads.width, dtype=torch.float64)
    push[2 * heads.head_dim : 3 * heads.head_dim] = torch.linspace(1, 2, heads.head_dim, dtype=torch.float64)
    with torch.no_grad():
        mixed = heads.projection(push[None, None]) - heads.projection(0 * push[None, None])
    places: list[tuple[Site, Tensor]] = [("heads", push), ("attention", mixed[0, 0])]
    logits = []
    for site, pushed in places:
        on = attach([hook_at(layout, point_at(1, site), _adding(pushed))])
        logits.append(_logits(model))
        on.remove()
    assert (logits[0] - _logits(model)).abs().max() > 1e-3
    assert torch.allclose(logits[0], logits[1], rtol=0, atol=1e-9)


def _adding(push: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda hidden: hidden + push


def test_points_compare_in_the_order_in_which_a_pass_reaches_them() -> None:
    model = tiny("llama")
    layout = find_layout(model)
    points = [point_at(block, site) for block in range(BLOCKS) for site in SITES if site != "embedding"]
    points.insert(0, point_at(0, "embedding"))
    seen: list[Point] = []

    def noting(point: Point) -> Callable[[Tensor], None]:
        return lambda _hidden: seen.append(point)

    on = attach(hooks_at(layout, [(point, noting(point)) for point in reversed(points)]))
    _logits(model)
    on.remove()
    assert seen == sorted(points) == points


def test_points_that_there_cannot_be_are_refused() -> None:
    site: Any = "tail"
    with pytest.raises(ValueError, match="site: got 'tail'"):
        point_at(0, site)
    for block, at in ((-1, "mlp"), (1, "embedding")):
        where: Any = at
        with pytest.raises(ValueError, match=f"block: got {block}"):
            point_at(block, where)
    layout = find_layout(tiny("llama"))
    with pytest.raises(LayoutError, match="blocks 0 to 3"):
        find_place(layout, point_at(4, "mlp"))
    assert [
        str(point) for point in (*outputs_of_blocks([2]), point_at(0, "embedding"), point_at(1, "heads"))
    ] == [
        "block 2",
        "the embedding",
        "block 1, heads",
    ]


class _Odd(nn.Module):
    """An attention of which something cannot be told."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


class OddAttention(_Odd):
    """Called an attention."""


class OddLinearAttention(_Odd):
    """Called a linear attention."""


@pytest.mark.parametrize(
    ("attention", "reason"),
    [
        (OddAttention(head_dim=8), "expected one output projection .*, found none"),
        (OddAttention(o_proj=nn.Linear(8, 8), dense=nn.Linear(8, 8)), "found 2"),
        (OddAttention(o_proj=nn.Linear(8, 8)), "OddAttention has none of v_head_dim"),
        (
            OddAttention(o_proj=nn.Linear(8, 8), head_dim=3, num_heads=4),
            "4 heads of 3 do not fill the 8 inputs",
        ),
        (OddAttention(o_proj=nn.Linear(8, 8), head_dim=4), "None heads"),
        (OddAttention(o_proj=nn.Identity(), head_dim=4), "does not say how many values"),
        (_Odd(o_proj=nn.Linear(8, 8), head_dim=4), "no softmax attention"),
        (OddLinearAttention(o_proj=nn.Linear(8, 8), head_dim=4, num_heads=2), "no softmax attention"),
        (None, "no module of the block is an attention"),
    ],
)
def test_heads_that_cannot_be_told_are_refused_with_the_reason(
    attention: nn.Module | None, reason: str
) -> None:
    layout = Layout((nn.Identity(),), "blocks", (attention,), (None,), nn.Embedding(4, 8), 8)
    with pytest.raises(LayoutError, match=f"block 0 .*{reason}"):
        find_heads(layout, 0)
