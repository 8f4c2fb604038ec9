"""Conditions mean what CEL says, but for the differences that the language's page argues.

``python -m benchmarks.cel_differential`` compares many more.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cel_differential import NAN, ROUNDED, UNCHECKED, Oracle, compare, engine_truths
from tests.rules.support import NAN as MISSING

pytest.importorskip("cel_expr_python.cel", reason="the package cel-expr-python is not installed")


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**63))
def test_random_conditions_agree(oracle: Oracle, seed: int) -> None:
    assert compare(oracle, random.Random(seed), Counter(), 10) == []


def test_each_argued_difference_is_met(oracle: Oracle) -> None:
    """The comparison reaches what it excuses, so that it excuses nothing by accident."""
    counts: Counter[str] = Counter()
    draw = random.Random(1)
    for _ in range(80):
        assert compare(oracle, draw, counts, 20) == []
    assert min(counts[NAN], counts[ROUNDED], counts[UNCHECKED]) > 0
    assert counts["conditions"] == 1600


@pytest.mark.parametrize(
    ("text", "values", "here", "in_cel"),
    [
        ("s.a < 0.5", {"s.a": MISSING}, None, False),
        ("s.a != 0.5", {"s.a": MISSING}, None, True),
        ("!(s.a < 0.5)", {"s.a": MISSING}, None, True),
        ("s.a in [0.5]", {"s.a": MISSING}, None, False),
        ("s.a < 0.5", {}, None, None),
        ("s.a < 0.5 || fb", {"fb": True}, True, True),
        ("s.a < 0.5 && fb", {"fb": False}, False, False),
        ("s.a < 0.5 && fb", {"fb": True}, None, None),
        ("request.tier < 5", {}, None, None),
        ('"x" in request.labels', {}, None, None),
    ],
)
def test_what_is_missing_is_undecided_here_and_an_error_or_a_nan_there(
    oracle: Oracle, text: str, values: dict[str, Any], here: bool | None, in_cel: bool | None
) -> None:
    score_of_fb = float(values["fb"]) if "fb" in values else MISSING
    signals = [values.get("s.a", MISSING), 0.0, 0.0, MISSING, score_of_fb]
    assert engine_truths([text], [signals], {}) == [[here]]
    assert oracle.truth(oracle.checked(text), values) is in_cel


@pytest.mark.parametrize(
    ("text", "tier", "here", "in_cel"),
    [
        ("request.tier < 2.5", 2, True, True),
        ("request.tier in [2.0]", 2, True, True),
        ("request.tier == 9007199254740992.0", 9007199254740993, False, True),
        ("request.tier > 9007199254740992.0", 9007199254740993, True, False),
    ],
)
def test_whole_and_other_numbers_compare_exactly_here(
    oracle: Oracle, text: str, tier: int, here: bool, in_cel: bool
) -> None:
    assert engine_truths([text], [[0.0] * 5], {"tier": tier}) == [[here]]
    assert oracle.checked(text) is None
    assert oracle.truth(oracle.unchecked(text.replace(".t", "_t")), {"request_tier": tier}) is in_cel
