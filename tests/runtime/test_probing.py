"""A bank of probes hands over what a pass's states come to, however it is computed and whatever fails."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from guardsteer.classify.probe import Probe
from guardsteer.host.products import EXCHANGE
from guardsteer.runtime import probing
from guardsteer.runtime.probing import PlacedProbe, ProbeBank

WIDTH = 12


def probe(name: str, block: int = 1, outputs: int = 1) -> Probe:
    made = torch.Generator().manual_seed(len(name))
    return Probe(
        name=name,
        outputs=tuple(f"o{place}" for place in range(outputs)),
        block=block,
        weight=torch.randn(outputs, WIDTH, generator=made),
        bias=torch.randn(outputs, generator=made),
        fingerprint="b3:" + "0" * 64,
        digest="b3:" + "1" * 64,
    )


def states(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, WIDTH, generator=torch.Generator().manual_seed(3))


def placed(*probes: Probe) -> list[PlacedProbe]:
    found: list[PlacedProbe] = []
    for each in probes:
        first = sum(len(other.slots) for other in found)
        found.append(PlacedProbe(each, tuple(range(first, first + len(each.outputs))), each.name))
    return found


def numbers(found: list[list[list[float]]] | None) -> list[float | None]:
    """Return one number of one column a row, None where it is none."""
    assert found is not None
    return [None if math.isnan(value) else value for ((value,),) in found]


@pytest.fixture(params=["compiled", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take products in either way."""
    if request.param == "torch":
        monkeypatch.setattr(probing, "EXCHANGE", None)
    elif EXCHANGE is None:
        pytest.skip("the extension was not built here, or torch hands out no DLPack table")
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 1), (1, 4), (2, 5)])
def test_a_lone_probes_products_are_its_weights_times_the_states(
    rows: int, columns: int, outputs: int, dtype: torch.dtype
) -> None:
    one, hidden = probe("one", outputs=outputs), states(rows, columns).to(dtype)
    bank = ProbeBank(placed(one))
    expected = (hidden.double() @ one.weight.double().T).tolist()
    for _ in range(3):
        found = bank.read(1, hidden, rows, columns)
        assert found is not None
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("way")
def test_the_deepest_probe_hands_over_what_all_have_read() -> None:
    first, second, deep = probe("first", outputs=2), probe("second"), probe("deepest", block=3)
    bank, shallow, hidden = ProbeBank(placed(deep, first, second)), states(2, 1), states(2, 1) * 2
    assert bank.read(1, shallow, 2, 1) is None
    found = bank.read(3, hidden, 2, 1)
    whole = torch.cat([first.reader(shallow)(shallow), second.reader(shallow)(shallow)], -1)
    expected = torch.cat([whole, deep.reader(hidden)(hidden)], -1)
    torch.testing.assert_close(torch.tensor(found), expected, rtol=1e-5, atol=1e-5)


class Counting(Probe):
    """Gives what it is told to, and counts how often it was called."""

    calls = 0
    gives: Callable[[Tensor], Tensor]

    def reader(self, like: Tensor) -> Callable[[Tensor], Tensor]:
        """Return what counts; it gives the same for any states."""
        del like

        def read(hidden: Tensor) -> Tensor:
            self.calls += 1
            return self.gives(hidden)

        return read


def _raises(hidden: Tensor) -> Tensor:
    raise ValueError(f"no more of {hidden.shape[0]} rows")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("gives", "why"),
    [(_raises, "ValueError"), (lambda hidden: hidden[..., :2], "gave (2, 1, 2), expected (2, 1, 1)")],
)
def test_a_probe_that_fails_is_not_called_again_and_gives_no_number(
    gives: Callable[[Tensor], Tensor], why: str
) -> None:
    made = Counting(**{name: getattr(probe("one"), name) for name in _FIELDS})
    made.gives = gives
    bank = ProbeBank(placed(made))
    for _ in range(3):
        assert numbers(bank.read(1, states(2, 1), 2, 1)) == [None, None]
    assert made.calls == 1
    _, told = bank.fill([0.0], [math.nan], frozenset())
    assert [(name, incident.kind) for name, incident in told] == [("one", "failed")]
    assert why in told[0][1].error


class Refusing(Probe):
    """Cannot say how it reads, and counts how often it was asked."""

    asked = 0

    def reader(self, like: Tensor) -> Callable[[Tensor], Tensor]:
        """Refuse."""
        self.asked += 1
        raise ValueError(f"nothing reads {like.dtype}")


@pytest.mark.usefixtures("way")
def test_a_probe_that_cannot_begin_is_asked_once_and_gives_no_number() -> None:
    made = Refusing(**{name: getattr(probe("one"), name) for name in _FIELDS})
    bank = ProbeBank(placed(made))
    for _ in range(3):
        assert numbers(bank.read(1, states(2, 1), 2, 1)) == [None, None]
    assert made.asked == 1
    _, told = bank.fill([0.0], [math.nan], frozenset())
    assert "ValueError" in told[0][1].error


_FIELDS = ("name", "outputs", "block", "weight", "bias", "fingerprint", "digest")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("shape", [(3, 1), (2, 2)])
def test_states_of_other_rows_or_columns_than_the_pass_has_are_nobodys_and_end_the_probe(
    shape: tuple[int, int],
) -> None:
    bank = ProbeBank(placed(probe("one")))
    fit, other = states(2, 1), states(*shape)
    assert None not in numbers(bank.read(1, fit, 2, 1))
    for strange in (other, fit):
        assert numbers(bank.read(1, strange, 2, 1)) == [None, None]
    _, told = bank.fill([0.0], [math.nan], frozenset())
    assert f"gave {(*shape, 1)}, expected (2, 1, 1)" in told[0][1].error
