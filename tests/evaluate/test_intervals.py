"""Shares and means come with intervals that mean what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.evaluate import bootstrap, mean_interval, wilson


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_wilson_interval_solves_the_score_equation_and_holds_the_share(case: tuple[int, int]) -> None:
    successes, rows = case
    got = wilson(successes, rows)
    assert 0 <= got.low <= got.value <= got.high <= 1
    z = 1.959963984540054
    for end in (got.low, got.high):
        if 0 < end < 1:  # |share - end| is z standard errors of a share whose truth is that end
            assert abs(got.value - end) == pytest.approx(z * math.sqrt(end * (1 - end) / rows), rel=1e-6)


def test_a_wilson_interval_agrees_with_the_published_figures() -> None:
    # Newcombe (1998), table I: 81 of 263, and 0 of 20.
    assert (wilson(81, 263).low, wilson(81, 263).high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert (wilson(0, 20).low, wilson(0, 20).high) == pytest.approx((0.0, 0.1611), abs=5e-5)


@pytest.mark.parametrize(("successes", "rows"), [(-1, 3), (4, 3), (0, 0)])
def test_an_impossible_share_is_refused(successes: int, rows: int) -> None:
    with pytest.raises(ValueError, match="no more successes"):
        wilson(successes, rows)


def test_a_bootstrap_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    samples = generator.normal(3.0, 1.0, (200, 60))
    estimates = [mean_interval(sample, resamples=300) for sample in samples]
    covered = sum(found.low <= 3.0 <= found.high for found in estimates)
    assert 0.89 <= covered / len(samples) <= 0.98


def test_a_bootstrap_draws_whole_rows() -> None:
    """Two runs on one prompt stay together: a constant difference has no spread."""
    first = np.linspace(0, 10, 40)
    pairs = np.stack([first, first + 2.0], axis=1)
    found = bootstrap(pairs, lambda rows: float((rows[:, 1] - rows[:, 0]).mean()))
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(1).random(30)
    assert mean_interval(values, seed=4) == mean_interval(values, seed=4)
    assert mean_interval(values, seed=4) != mean_interval(values, seed=5)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [[[1.0]]]])
def test_values_without_a_mean_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        mean_interval(values)
