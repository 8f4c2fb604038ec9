"""Each method equals a reference that was written another way, and keeps sign, order and scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import TruncatedSVD

from guardsteer.errors import VectorError
from guardsteer.host import Point, point_at
from guardsteer.lab.capture.captured import Rows
from guardsteer.lab.capture.moments import Sums
from guardsteer.lab.capture.readings import NEGATIVE, POSITIVE, Array
from guardsteer.lab.extraction.methods import METHODS, Evidence, directions
from guardsteer.lab.extraction.methods.controls import random_control, random_direction
from guardsteer.lab.extraction.methods.fitted import linear_discriminant, logistic_regression, pca_differences
from guardsteer.lab.extraction.methods.heads import HeadStates, head_accuracies, head_probes
from guardsteer.lab.extraction.methods.means import (
    mean_centred,
    mean_difference,
    single_pair,
    whitened_mean_difference,
)
from guardsteer.steer.artifact import MethodName
from tests.steer.artifacts import small_vector

WIDTH = 6
POINT = point_at(1, "block_output")
HEADS = point_at(1, "heads")
SEEDS = st.integers(0, 10_000)


def _sides(seed: int, count: int = 60, shift: float = 1.0) -> tuple[Array, Array]:
    """Return states of both sides: correlated, far from zero, apart along a random direction."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(WIDTH, WIDTH)) + 2.0 * np.eye(WIDTH)
    apart = shift * rng.normal(size=WIDTH)
    centre = 5.0 * rng.normal(size=WIDTH)
    positive, negative = (rng.normal(size=(count, WIDTH)) @ mixing + centre for _ in range(2))
    return positive + apart, negative - apart


def _unit(direction: Array) -> Array:
    found: Array = direction / np.linalg.norm(direction)
    return found


def _evidence(positive: Array, negative: Array, point: Point = POINT, **changes: Any) -> Evidence:
    sums = Sums.empty(WIDTH, second=True)
    assert sums.second is not None
    rows = Rows()
    for side, values in ((POSITIVE, positive), (NEGATIVE, negative)):
        halves = np.arange(len(values)) % 2
        for half in (0, 1):
            sums.states[half, side] += values[halves == half].sum(0)
            sums.counts[half, side] += (halves == half).sum()
        sums.second[side] = values.T @ values
        rows.values.append(values)
        rows.pairs.append(np.arange(len(values)))
        rows.sides.append(np.full(len(values), side))
    sums.norms += np.array([1.0, 1.0, 1.0])
    background = np.concatenate([positive, negative]).mean(0)
    fields: dict[str, Any] = {"background": {point: background}, "n_heads": {point: 3}, **changes}
    return Evidence({point: sums}, {point: rows}, **fields)


def _direction(name: MethodName, positive: Array, negative: Array, **changes: Any) -> Array:
    point = HEADS if name == "head_probes" else POINT
    return directions(name, _evidence(positive, negative, point, **changes))[point]


def test_means_are_subtracted() -> None:
    positive, negative = _sides(0)
    apart = positive.mean(0) - negative.mean(0)
    np.testing.assert_allclose(mean_difference(positive.mean(0), negative.mean(0)), apart)
    np.testing.assert_allclose(single_pair(positive[0], negative[0]), positive[0] - negative[0])
    np.testing.assert_allclose(mean_centred(positive.mean(0), negative.mean(0)), apart)
    np.testing.assert_allclose(_direction("mean_difference", positive, negative), _unit(apart), atol=1e-12)
    # Against the mean of both sides, centring halves the difference and leaves its direction.
    np.testing.assert_allclose(_direction("mean_centred", positive, negative), _unit(apart), atol=1e-12)


def test_mean_centring_looks_at_the_positive_side_and_the_background_alone() -> None:
    positive, negative = _sides(0)
    background = positive.mean(0) + np.arange(WIDTH)
    evidence = _evidence(positive, negative, background={POINT: background})
    raw = _unit(positive.mean(0) - background)
    towards = raw @ (positive.mean(0) - negative.mean(0))
    found = directions("mean_centred", evidence)[POINT]
    np.testing.assert_allclose(found, np.sign(towards) * raw, atol=1e-12)


@settings(max_examples=20)
@given(SEEDS)
def test_whitening_is_by_the_pooled_covariance_of_the_rows(seed: int) -> None:
    positive, negative = _sides(seed)
    centred = np.concatenate([positive - positive.mean(0), negative - negative.mean(0)])
    covariance = centred.T @ centred / (len(centred) - 2)
    level = np.trace(covariance) / WIDTH
    shrunk = 0.9 * covariance + 0.1 * level * np.eye(WIDTH)
    found = _evidence(positive, negative).sums[POINT].covariance()
    np.testing.assert_allclose(found, covariance, rtol=1e-8, atol=1e-8)
    expected = _unit(np.linalg.inv(shrunk) @ (positive.mean(0) - negative.mean(0)))
    np.testing.assert_allclose(
        _direction("whitened_mean_difference", positive, negative), expected, atol=1e-8
    )
    # All shrunk away, the plain mean difference is left.
    plain = whitened_mean_difference(positive.mean(0), negative.mean(0), covariance, shrinkage=1.0)
    np.testing.assert_allclose(_unit(plain), _direction("mean_difference", positive, negative), atol=1e-8)


@settings(max_examples=20)
@given(SEEDS)
def test_the_principal_direction_is_that_of_an_uncentred_svd(seed: int) -> None:
    differences = np.subtract(*_sides(seed))
    svd = TruncatedSVD(1, algorithm="arpack", random_state=0).fit(differences)
    found = pca_differences(differences)
    assert abs(found @ svd.components_[0]) == pytest.approx(1.0, abs=1e-8)
    assert found @ differences.sum(0) > 0


def test_logistic_regression_is_at_the_minimum_of_its_loss() -> None:
    positive, negative = _sides(3, shift=0.3)
    states = np.concatenate([positive, negative])
    mean, scale = states.mean(0), states.std(0)
    signs = np.repeat([1.0, -1.0], [len(positive), len(negative)])
    scaled = (states - mean) / scale

    def loss(weights: Array) -> float:
        margins = signs * (scaled @ weights[:-1] + weights[-1])
        return float(np.logaddexp(0.0, -margins).sum() + 0.5 * weights[:-1] @ weights[:-1])

    best = minimize(loss, np.zeros(WIDTH + 1), method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose(
        logistic_regression(positive, negative), best.x[:-1] / scale, rtol=1e-3, atol=1e-4
    )


@settings(max_examples=20)
@given(SEEDS)
def test_the_discriminant_is_the_shrunk_inverse_covariance_times_the_difference(seed: int) -> None:
    positive, negative = _sides(seed)
    covariance = np.zeros((WIDTH, WIDTH))
    for values in (positive, negative):
        spread = values.std(0)
        scaled = (values - values.mean(0)) / spread
        covariance += 0.5 * spread[:, None] * ledoit_wolf(scaled)[0] * spread
    expected = np.linalg.solve(covariance, positive.mean(0) - negative.mean(0))
    np.testing.assert_allclose(linear_discriminant(positive, negative), expected, rtol=1e-6, atol=1e-8)


def _heads(positive: Array, negative: Array) -> HeadStates:
    folds = np.arange(len(positive)) % 2
    return HeadStates(positive, negative, folds, folds, 3)


def test_heads_that_tell_the_sides_apart_are_kept_and_all_others_are_zero() -> None:
    rng = np.random.default_rng(5)
    positive, negative = rng.normal(size=(80, WIDTH)), rng.normal(size=(80, WIDTH))
    positive[:, 2] += 8.0
    states, noise = _heads(positive, negative), _heads(*(rng.normal(size=(80, WIDTH)) for _ in range(2)))
    accuracies = head_accuracies(states)
    assert accuracies[1] > 0.95
    assert max(accuracies[0], accuracies[2]) < 0.7
    found = head_probes({0: noise, 4: states}, heads=1)
    assert list(found) == [4]
    assert not found[4][[0, 1, 4, 5]].any()
    inside = positive[:, 2:4].mean(0) - negative[:, 2:4].mean(0)
    unit = _unit(inside)
    spread = np.concatenate([positive[:, 2:4] @ unit, negative[:, 2:4] @ unit]).std()
    np.testing.assert_allclose(found[4][2:4], spread * unit, rtol=1e-12)


def test_a_head_is_judged_on_rows_that_its_probe_has_not_seen() -> None:
    rng = np.random.default_rng(9)
    positive, negative = (rng.normal(size=(20, 60)) for _ in range(2))
    folds = np.arange(20) % 2
    # Twenty rows in thirty dimensions: any probe tells apart what it was fitted to, noise or not.
    assert max(head_accuracies(HeadStates(positive, negative, folds, folds, 2))) < 0.8


def test_head_probes_refuse_another_site() -> None:
    with pytest.raises(VectorError, match="capture at site 'heads'"):
        directions("head_probes", _evidence(*_sides(0)))


ROWWISE: tuple[MethodName, ...] = tuple(name for name in METHODS if name not in ("random", "single_pair"))


@pytest.mark.parametrize("name", ROWWISE)
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, scale=st.floats(0.01, 100.0))
def test_the_length_of_all_states_does_not_turn_a_direction(
    name: MethodName, seed: int, scale: float
) -> None:
    positive, negative = _sides(seed)
    found = _direction(name, positive, negative)
    assert np.linalg.norm(found) == pytest.approx(1.0)
    scaled = _direction(name, scale * positive, scale * negative)
    np.testing.assert_allclose(scaled, found, atol=1e-4)


@pytest.mark.parametrize("name", ROWWISE)
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_directions_point_to_the_positive_side_and_turn_round_with_the_sides(
    name: MethodName, seed: int
) -> None:
    positive, negative = _sides(seed)
    found = _direction(name, positive, negative)
    assert found @ (positive.mean(0) - negative.mean(0)) > 0
    np.testing.assert_allclose(_direction(name, negative, positive), -found, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in ROWWISE if name != "head_probes"])
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_the_order_of_pairs_does_not_matter(name: MethodName, seed: int) -> None:
    positive, negative = _sides(seed)
    order = np.random.default_rng(seed).permutation(len(positive))
    shuffled = _direction(name, positive[order], negative[order])
    np.testing.assert_allclose(shuffled, _direction(name, positive, negative), atol=1e-4)


@pytest.mark.parametrize("name", [name for name in ROWWISE if name != "head_probes"])
def test_sides_that_do_not_differ_give_no_direction(name: MethodName) -> None:
    positive, _ = _sides(1)
    with pytest.raises(VectorError, match="block 1: the sides do not differ"):
        _direction(name, positive, positive)


def test_random_directions_are_unit_their_own_for_each_block_and_spread_evenly() -> None:
    drawn = np.stack([random_direction(64, 7, block) for block in range(400)])
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1.0)
    assert np.linalg.norm(drawn.mean(0)) < 0.1
    np.testing.assert_array_equal(random_direction(64, 7, 3), drawn[3])
    assert not np.allclose(random_direction(64, 8, 3), drawn[3])


def test_a_random_control_pushes_as_far_at_the_same_places_and_says_what_it_is() -> None:
    vector = small_vector()
    control = random_control(vector, seed=1)
    assert control.card.method == "random"
    assert control.card.recommended is None
    assert control.blocks == vector.blocks
    np.testing.assert_array_equal(control.residual_norms, vector.residual_norms)
    assert control.digest != vector.digest
    assert control.digest == random_control(vector, seed=1).digest != random_control(vector, seed=2).digest
