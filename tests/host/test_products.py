"""Products in one compiled call are those of torch, each row's by itself, and of plain states alone."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.host import products
from guardsteer.host.products import EXCHANGE, find_exchange
from tests.debugged import run_debugged

# Not bound to the name: type checkers would take it for None in all that follows.
exchange: Any = EXCHANGE
compiled = pytest.mark.skipif(
    EXCHANGE is None, reason="the extension was not built here, or torch hands out no DLPack table"
)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return numbers as hidden states have them, large ones among them."""
    made = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=made) * torch.logspace(0, 2, shape[-1])


@compiled
@given(
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    width=st.integers(1, 70),
    outputs=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_they_are_those_of_torch(rows: int, columns: int, width: int, outputs: int, seed: int) -> None:
    hidden, weight = drawn(rows, columns, width, seed=seed), drawn(outputs, width, seed=seed + 1)
    exact = torch.nn.functional.linear(hidden.double(), weight.double())
    found = torch.tensor(exchange.products(hidden, weight), dtype=torch.float64)
    assert found.shape == (rows, columns, outputs)
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-9)
    roughly = torch.nn.functional.linear(hidden, weight).double()
    size = float(hidden.norm(dim=-1).max() * weight.norm(dim=-1).max())
    assert float((found - roughly).abs().max()) <= 1e-5 * size


@compiled
@given(rows=st.integers(2, 9), width=st.integers(1, 70), seed=st.integers(0, 1000))
def test_a_row_has_the_same_alone_in_any_batch_and_behind_any_columns(
    rows: int, width: int, seed: int
) -> None:
    hidden, weight = drawn(rows, 3, width, seed=seed), drawn(1, width, seed=seed + 1)
    whole = exchange.products(hidden, weight)
    for row in range(rows):
        assert exchange.products(hidden[row : row + 1].clone(), weight) == [whole[row]]
        assert exchange.products(hidden[row : row + 1, 2:], weight) == [whole[row][2:]]


@compiled
def test_what_is_no_number_stays_none() -> None:
    weight = torch.ones(1, 6)
    for strange in (float("nan"), float("inf"), -float("inf")):
        hidden = torch.ones(1, 1, 6)
        hidden[0, 0, 4] = strange
        found = exchange.products(hidden, weight)[0][0][0]
        assert found == strange or (found != found and strange != strange)


class Named(torch.Tensor):
    """A tensor of another type, which may do anything when it is asked."""


STATES, WEIGHT = torch.ones(2, 1, 6), torch.ones(1, 6)


@compiled
@pytest.mark.parametrize(
    ("hidden", "weight"),
    [
        (STATES.to(torch.float64), WEIGHT),
        (STATES.to(torch.bfloat16), WEIGHT),
        (STATES.to(torch.float16), WEIGHT.to(torch.float16)),
        (STATES, WEIGHT.double()),
        (STATES.to(torch.int32), WEIGHT),
        (STATES[..., :5], WEIGHT),
        (STATES[0], WEIGHT),
        (STATES[None], WEIGHT),
        (STATES, WEIGHT[0]),
        (torch.ones(2, 1, 12)[..., ::2], WEIGHT),
        (STATES, torch.ones(1, 12)[:, ::2]),
        (STATES.to("meta"), WEIGHT),
        (STATES.to_sparse(), WEIGHT),
        (STATES.as_subclass(Named), WEIGHT),
        (STATES.numpy(), WEIGHT),
        (None, WEIGHT),
        (STATES, [[1.0] * 6]),
    ],
)
def test_of_anything_that_is_not_plain_there_are_none(hidden: Any, weight: Any) -> None:
    assert exchange.products(hidden, weight) is None


@compiled
def test_whoever_calls_it_wrongly_is_told_so() -> None:
    with pytest.raises(TypeError, match="expected hidden states and directions"):
        exchange.products(STATES)
    kind = type(exchange)
    table: Any = getattr(torch.Tensor, "__dlpack_c_exchange_api__")  # noqa: B009  # torch's stubs lack it
    for given_ in ((), (table,), (table, 1), (1, torch.Tensor)):
        with pytest.raises((TypeError, ValueError)):
            kind(*given_)
    with pytest.raises(TypeError, match="no keyword"):
        kind(table, torch.Tensor, more=1)


@compiled
def test_it_holds_what_it_was_given_and_no_more() -> None:
    hidden, weight = drawn(3, 2, 9), drawn(2, 9)
    before = [sys.getrefcount(each) for each in (hidden, weight, None, torch.Tensor)]
    for _ in range(50):
        exchange.products(hidden, weight)
        exchange.products(weight, hidden)
    after = [sys.getrefcount(each) for each in (hidden, weight, None, torch.Tensor)]
    assert [abs(b - a) < 20 for a, b in zip(before, after, strict=True)] == [True] * 4


def test_without_the_extension_or_with_another_version_of_it_torch_does_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = pytest.importorskip("guardsteer.host._products", reason="the extension was not built here")
    with monkeypatch.context() as patch:
        patch.setattr(module, "VERSION", products.VERSION + 1)
        assert find_exchange() is None
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "guardsteer.host._products", None)
        patch.delattr("guardsteer.host._products")
        assert find_exchange() is None


@compiled
def test_with_a_torch_that_hands_out_no_table_or_another_one_torch_does_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "Tensor", object)
    assert find_exchange() is None
    monkeypatch.setattr(products, "Tensor", type("Strange", (), {"__dlpack_c_exchange_api__": 1}))
    assert find_exchange() is None


_HARD = """
import sys
sys.path.insert(0, {root!r})
import gc, torch
from guardsteer.host.products import EXCHANGE
for turn in range(3):
    gc.collect()
    begun = sys.getallocatedblocks()
    for rows in range(1, 20):
        hidden, weight = torch.randn(rows, 3, 37), torch.randn(2, 37)
        for _ in range(20):
            EXCHANGE.products(hidden[:, 1:], weight)
            EXCHANGE.products(hidden.double(), weight)
    del hidden, weight
gc.collect()
print(sys.getallocatedblocks() - begun)
"""


@compiled
def test_it_keeps_to_its_memory_and_gives_it_back() -> None:
    """Under Python's debugging allocator, which finds writes past the end and what is used after its end."""
    found = run_debugged(_HARD)
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) < 50
