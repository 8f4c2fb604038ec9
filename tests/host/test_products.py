"""Products in one compiled call are those of torch, each row's by itself, and of plain states alone."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.host import products
from guardsteer.host.products import EXCHANGE, find_exchange
from tests.debugged import number_debugged

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


class _View(ctypes.Structure):
    """What a table tells of a tensor, as DLPack lays it out."""

    _fields_ = (
        *(("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32)),
        *(("dimensions", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8)),
        *(("lanes", ctypes.c_uint16), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p)),
        ("byte_offset", ctypes.c_uint64),
    )


_Look = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(_View))


class _Table(ctypes.Structure):
    """A table of another library's, of which only what tells of a tensor is there."""

    _fields_ = (
        *(("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("previous", ctypes.c_void_p)),
        *(("unused", ctypes.c_void_p * 3), ("look", _Look), ("stream", ctypes.c_void_p)),
    )


class Told:
    """Stands for a tensor, of which the table below tells what ``changed`` says."""


def _asked(changed: dict[str, int], *, major: int = 1) -> Any:
    """Return the products of states 1, 2, 3, 4, 5 with 1, 1, 1 as such a table tells of them."""
    numbers = (ctypes.c_float * 6)(9, 1, 2, 3, 4, 5)
    weight = (ctypes.c_float * 3)(1, 1, 1)
    shapes = [(ctypes.c_int64 * 3)(1, 1, 3), (ctypes.c_int64 * 2)(1, 3)]
    strides = [(ctypes.c_int64 * 3)(3, 3, 1), (ctypes.c_int64 * 2)(3, 1)]
    hidden, directions = Told(), Told()

    def look(tensor: int, view: Any) -> int:
        own = tensor == id(hidden)
        told = view.contents
        told.data = ctypes.addressof(numbers if own else weight)
        told.device_type, told.dimensions = 1, 3 if own else 2
        told.code, told.bits, told.lanes = 2, 32, 1
        told.shape = ctypes.addressof(shapes[0 if own else 1])
        told.strides = ctypes.addressof(strides[0 if own else 1])
        told.byte_offset = 4 if own else 0
        if own:
            for name, value in changed.items():
                setattr(told, name, value)
        return 0

    table = _Table(major=major, minor=3, look=_Look(look))
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return type(exchange)(make(ctypes.addressof(table), _NAME, None), Told).products(hidden, directions)


_NAME = b"dlpack_exchange_api"


@compiled
def test_what_a_table_tells_of_is_read_from_where_it_begins() -> None:
    assert _asked({}) == [[[6.0]]]
    assert _asked({"byte_offset": 8}) == [[[9.0]]]


@compiled
@pytest.mark.parametrize(
    "changed",
    [
        {"device_type": 2},
        {"dimensions": 2},
        {"dimensions": 4},
        {"code": 4},
        {"code": 0},
        {"bits": 64},
        {"bits": 16},
        {"lanes": 2},
        {"strides": 0},
    ],
)
def test_what_lies_elsewhere_or_otherwise_is_not_read(changed: dict[str, int]) -> None:
    assert _asked(changed) is None


@compiled
def test_a_table_of_another_major_version_is_not_asked() -> None:
    with pytest.raises(ValueError, match="a table of DLPack 2, expected 1"):
        _asked({}, major=2)


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
    assert number_debugged(_HARD) < 50
