"""What is done to a state equals a plain computation, whatever rows stand beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from guardsteer.steer import composing
from guardsteer.steer.composing import Composer, Run
from guardsteer.steer.edits import Cuts, Edit, unsteered
from guardsteer.steer.slots import Slot
from tests.steer.slots import WIDTH, at, reference, slot

POINT = at(1)
ROWS, COLUMNS = 5, 3

strength = st.one_of(st.just(0.0), st.floats(-2, 2, width=32).filter(lambda s: abs(s) > 1e-3))
share = st.one_of(st.just(0.0), st.floats(0.01, 1.0))
bound = st.floats(-1.5, 1.5, width=32)


@st.composite
def slots_drawn(draw: st.DrawFn) -> tuple[list[Slot], list[str]]:
    """Return slots of every operator, in any order."""
    operators = draw(st.lists(st.sampled_from(["add", "ablate", "clamp"]), min_size=1, max_size=5))
    made = []
    for seed, operator in enumerate(operators):
        keep = draw(st.integers(0, 3)) == 0
        if operator == "clamp":
            bounds = sorted([draw(bound), draw(bound)])
            open_side = draw(st.sampled_from(["none", "low", "high"]))
            low = None if open_side == "low" else bounds[0]
            high = None if open_side == "high" else bounds[1]
            made.append(slot(seed, "clamp", low=low, high=high, keep_norm=keep))
        else:
            made.append(slot(seed, "ablate" if operator == "ablate" else "add", keep_norm=keep))
    return made, operators


@st.composite
def cases(draw: st.DrawFn) -> tuple[Composer, float | None, list[tuple[float, ...]], int]:
    """Return a composer, its budget, strengths for each row and a seed for the states."""
    made, operators = draw(slots_drawn())
    budget = draw(st.one_of(st.none(), st.floats(0.05, 1.5)))
    each = {"add": strength, "ablate": share, "clamp": st.sampled_from([0.0, 1.0])}
    rows = [tuple(draw(each[operator]) for operator in operators) for _ in range(ROWS)]
    return Composer(made, budget), budget, rows, draw(st.integers(0, 2**16))


def states(seed: int, dtype: torch.dtype = torch.float32, rows: int = ROWS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(rows, COLUMNS, WIDTH, generator=generator, dtype=torch.float64)).to(dtype)


def whole(strengths: tuple[float, ...], row: int) -> Run:
    return (row, 0, COLUMNS, strengths)


def run(
    composer: Composer, runs: list[Run], hidden: Tensor, cuts: Cuts | None = None
) -> tuple[Tensor, Edit | None]:
    edit = composer.edit(POINT, runs, hidden)
    return hidden if edit is None else edit.of(hidden, cuts), edit


def same_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b) and torch.equal(torch.signbit(a), torch.signbit(b))


@settings(max_examples=300, deadline=None)
@given(cases())
def test_every_combination_of_operators_equals_a_plain_computation_in_float64(
    case: tuple[Composer, float | None, list[tuple[float, ...]], int],
) -> None:
    composer, budget, rows, seed = case
    hidden, cuts = states(seed), Cuts()
    found, _ = run(composer, [whole(strengths, row) for row, strengths in enumerate(rows)], hidden, cuts)
    expected_cuts = []
    for row, strengths in enumerate(rows):
        cut_columns = 0
        for column in range(COLUMNS):
            state = hidden[row, column].double().numpy()
            expected, cut = reference(state, strengths, composer.slots, POINT, budget)
            cut_columns += cut
            assert np.allclose(found[row, column].numpy(), expected, rtol=0, atol=2e-5)
        expected_cuts.append(cut_columns)
    # Within a rounding of the budget either answer is right.
    assert all(abs(a - b) <= 1 for a, b in zip(cuts.read(ROWS), expected_cuts, strict=True))


@settings(max_examples=150, deadline=None)
@given(
    cases(),
    st.permutations(range(ROWS)),
    st.integers(1, ROWS),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_a_row_gets_the_same_bits_alone_and_in_any_batch(
    case: tuple[Composer, float | None, list[tuple[float, ...]], int],
    order: list[int],
    count: int,
    dtype: torch.dtype,
) -> None:
    composer, _, rows, seed = case
    hidden = states(seed, dtype)
    hidden[:, :, ::5] = -0.0
    alone = [run(composer, [whole(rows[row], 0)], hidden[row : row + 1])[0][0] for row in range(ROWS)]
    chosen = order[:count]
    together, _ = run(composer, [whole(rows[row], place) for place, row in enumerate(chosen)], hidden[chosen])
    for place, row in enumerate(chosen):
        assert same_bits(together[place], alone[row])
    by_column = [run(composer, [(0, 0, 1, rows[0])], hidden[:1, c : c + 1])[0] for c in range(COLUMNS)]
    assert same_bits(torch.cat(by_column, 1)[0], alone[0])


@pytest.mark.parametrize("width", [1, 7, 32, 33, 288, 768, 4096])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_over_any_width_do_not_depend_on_the_batch(width: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(width)
    direction = torch.randn(width, generator=generator)
    one = slot(0, "ablate", directions={POINT: direction / direction.norm()})
    composer = Composer([one], 0.3)
    hidden = torch.randn(64, 5, width, generator=generator).to(dtype)
    together, _ = run(composer, [(row, 0, 5, (0.7,)) for row in range(64)], hidden)
    for row in (0, 1, 31, 63):
        for column in (0, 4):
            cell = hidden[row : row + 1, column : column + 1]
            alone, _ = run(composer, [(0, 0, 1, (0.7,))], cell.clone())
            assert same_bits(together[row, column], alone[0, 0])


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(0, ROWS - 1), st.integers(0, COLUMNS - 1))
def test_rows_and_columns_outside_the_runs_keep_their_bits(
    case: tuple[Composer, float | None, list[tuple[float, ...]], int], row: int, first: int
) -> None:
    composer, _, rows, seed = case
    hidden = states(seed)
    hidden[:, :, 0] = -0.0
    found, _ = run(composer, [(row, first, COLUMNS, rows[row])], hidden)
    untouched = torch.ones(ROWS, COLUMNS, dtype=torch.bool)
    untouched[row, first:] = any(rows[row]) is False
    assert same_bits(found[untouched], hidden[untouched])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_pushed_rows_are_one_addition_in_the_precision_of_the_states(dtype: torch.dtype) -> None:
    """What pushes alone cost and give stays what it is, whatever is done to rows beside them."""
    composer = Composer([slot(0), slot(1, "ablate")])
    hidden = states(3, dtype)
    delta = composer.delta((0.5, 0.0), POINT, hidden)
    assert delta is not None
    assert torch.equal(delta, (composer.slots[0].directions[POINT] * 3.0 * 0.5).to(dtype))
    found, edit = run(composer, [whole((0.5, 0.0), 0)], hidden)
    assert edit is not None
    assert edit.shaping is None
    assert same_bits(found[0], hidden[0] + delta)
    beside, _ = run(composer, [whole((0.5, 0.0), 0), whole((0.5, 1.0), 1)], hidden)
    assert same_bits(beside[0], found[0])
    assert same_bits(beside[2:], hidden[2:])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_are_computed_in_the_wider_one(dtype: torch.dtype) -> None:
    slots = [slot(0), slot(1, "ablate", keep_norm=True), slot(2, "clamp", low=-0.1, high=0.1)]
    composer, strengths = Composer(slots, 0.4), (0.3, 0.8, 1.0)
    hidden = states(1, dtype)
    found, _ = run(composer, [whole(strengths, row) for row in range(ROWS)], hidden)
    assert found.dtype == dtype
    expected = np.array(
        [[reference(s.double().numpy(), strengths, slots, POINT, 0.4)[0] for s in row] for row in hidden]
    )
    rounding = 1e-7 if dtype == torch.float64 else torch.finfo(dtype).eps / 2 * np.abs(expected)
    assert (np.abs(found.double().numpy() - expected) <= rounding + 1e-7).all()


def test_what_each_operator_promises_holds() -> None:
    hidden = states(2)
    ablate, clamp, keep = slot(0, "ablate"), slot(1, "clamp", low=-0.1, high=0.2), slot(2, keep_norm=True)
    unit = [each.directions[POINT] for each in (ablate, clamp)]

    def alone(each: Slot, by: float) -> Tensor:
        return run(Composer([each]), [whole((by,), row) for row in range(ROWS)], hidden)[0]

    assert (alone(ablate, 1.0) @ unit[0]).abs().max() < 1e-5
    assert torch.allclose(alone(ablate, 0.25) @ unit[0], 0.75 * (hidden @ unit[0]), atol=1e-5)
    component = alone(clamp, 1.0) @ unit[1]
    assert component.min() >= -0.1 * 3 - 1e-5
    assert component.max() <= 0.2 * 3 + 1e-5
    inside = (hidden @ unit[1]).clamp(-0.3, 0.6) == hidden @ unit[1]
    assert inside.any()
    assert same_bits(alone(clamp, 1.0)[inside], hidden[inside])
    assert torch.allclose(alone(keep, 0.7).norm(dim=-1), hidden.norm(dim=-1), rtol=1e-6)


def test_rows_between_rows_that_are_pushed_alike_keep_their_bits() -> None:
    composer, hidden = Composer([slot(0)]), states(4)
    found, _ = run(composer, [whole((0.5,), row) for row in (0, 2, 3)], hidden)
    for row in range(ROWS):
        assert same_bits(found[row], hidden[row]) == (row in (1, 4))


def test_an_ablation_is_exact_although_a_stored_direction_is_of_unit_length_but_nearly() -> None:
    nearly = slot(0, "ablate")
    nearly = slot(0, "ablate", directions={POINT: nearly.directions[POINT] * 1.0001})
    found, _ = run(Composer([nearly]), [whole((1.0,), row) for row in range(ROWS)], 1000 * states(2))
    assert (found @ nearly.directions[POINT]).abs().max() < 2e-3


def test_the_budget_scales_pushes_beforehand_and_says_by_how_much() -> None:
    two = [slot(0, blocks=(1, 3)), slot(1, blocks=(3,)), slot(2, "ablate", blocks=(3,))]
    composer = Composer(two, 0.5)
    assert composer.limited((0.5, 0.0, 0.0)) == {}
    strengths = (0.9, 0.4, 0.0)
    factors = composer.limited(strengths)
    assert factors[at(1)] == pytest.approx(0.5 / 0.9)
    assert set(factors) == {at(1), at(3)}
    for point in (at(1), at(3)):
        delta = composer.delta(strengths, point, torch.zeros(1))
        assert delta is not None
        assert float(delta.norm()) == pytest.approx(0.5 * (2 + point.block), rel=1e-5)
    alphas = composer.alphas(0, strengths)
    assert alphas == pytest.approx((0.5 / 0.9 * 0.9 * 3, factors[at(3)] * 0.9 * 5))
    assert composer.alphas(1, strengths) == pytest.approx((factors[at(3)] * 0.4 * 5,))
    assert composer.alphas(2, strengths) == ()
    assert Composer(two).limited(strengths) == {}


def test_the_budget_is_in_units_of_the_smallest_norm_at_the_point() -> None:
    small = slot(1, norms={POINT: 0.5})
    assert Composer([slot(0), small], 1.0).limited((1.0, 0.0))[POINT] == pytest.approx(0.5 / 3)


def test_cuts_are_counted_once_a_position_and_follow_their_rows() -> None:
    composer = Composer([slot(0, "ablate", blocks=(1, 2))], 1e-3)
    cuts, hidden = Cuts(), states(0)
    assert cuts.read(ROWS) == [0] * ROWS
    for point in (at(1), at(2)):
        edit = composer.edit(point, [(0, 0, COLUMNS, (1.0,)), (2, 1, 2, (1.0,))], hidden)
        assert edit is not None
        edit.of(hidden, cuts)
    cuts.end_pass()
    assert cuts.read(ROWS) == [3, 0, 1, 0, 0]
    cuts.reorder([2, 2, 0, 1, 4])
    for run_ in ((0, 0, 1, (1.0,)), (4, 0, 2, (1.0,))):
        edit = composer.edit(POINT, [run_], hidden)
        assert edit is not None
        edit.of(hidden, cuts)
    assert cuts.read(ROWS) == [2, 1, 3, 0, 2]
    edit = composer.edit(POINT, [(1, 0, 2, (1.0,))], hidden)
    assert edit is not None
    edit.of(hidden, cuts)
    cuts.reorder([1, 1, 0, 3, 4])
    assert cuts.read(ROWS) == [3, 3, 2, 0, 2]
    cuts.begin_pass(2)
    edit.of(hidden, cuts)
    edit = composer.edit(POINT, [(0, 1, 3, (1.0,))], hidden)
    assert edit is not None
    edit.of(hidden, cuts)
    assert cuts.read(ROWS) == [4, 3, 2, 0, 2]


def test_a_slot_acts_where_its_positions_say() -> None:
    composer = Composer([slot(0), slot(1, positions=("last_prompt_token",)), slot(2, positions=("all",))])
    strengths = (1.0, 2.0, 3.0)
    assert composer.masked(strengths, frozenset({"generated", "all"})) == (1.0, 0.0, 3.0)
    assert composer.masked(strengths, frozenset({"last_prompt_token", "all"})) == (0.0, 2.0, 3.0)
    assert composer.masked(strengths, frozenset({"all"})) == (0.0, 0.0, 3.0)


def test_points_and_blocks_are_in_the_order_of_a_pass() -> None:
    composer = Composer([slot(0, blocks=(3, 1)), slot(1, blocks=(2,))])
    assert composer.points == (at(1), at(2), at(3))
    assert composer.blocks == (1, 2, 3)
    assert composer.slots[0].blocks == (1, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_added_to_an_untouched_row_changes_no_bit(dtype: torch.dtype) -> None:
    """Zero would turn -0.0 into 0.0."""
    hidden = torch.tensor([[[0.0, -0.0, 1.5, -2.25, float("inf"), 1e-30]]], dtype=dtype)
    assert same_bits(hidden + unsteered(hidden.shape, hidden), hidden)


def test_a_delta_is_computed_once() -> None:
    composer = Composer([slot(0), slot(1)])
    half = torch.zeros(1, dtype=torch.bfloat16)
    first = composer.delta((0.5, 0.0), POINT, half)
    assert first is not None
    assert composer.delta((0.5, 0.0), POINT, half) is first
    assert composer.delta((0.5, 0.0), POINT, torch.zeros(1)) is not first
    assert composer.delta((0.0, 0.0), POINT, half) is None
    assert composer.edit(POINT, [whole((0.0, 0.0), 0)], states(0)) is None
    assert composer.edit(at(2), [whole((0.5, 0.0), 0)], states(0)) is None
    assert composer.delta((0.5, 0.0), at(2), half) is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composing, "_CACHED_PLANS", 8)
    composer = Composer([slot(0)], 0.1)
    for step in range(50):
        composer.delta((step / 50,), POINT, torch.zeros(1))
        composer.masked((step / 50,), frozenset({"all"}))
    assert max(len(composer._deltas), len(composer._masked), len(composer._limits)) <= 8
