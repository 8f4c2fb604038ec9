"""Unquoted words mean one thing or are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.rules.scalars import resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("0.60", 0.6),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("-2.5E-1", -0.25),
        ("", None),
        ("~", None),
        ("null", None),
        ("2024-01-01", "2024-01-01"),
        ("1.2.3", "1.2.3"),
        ("1_a", "1_a"),
        ("+", "+"),
        ("-", "-"),
        (".", "."),
        ("nobody", "nobody"),
        ("inf", "inf"),
        ("0x", "0x"),
    ],
)
def test_a_word_has_the_value_of_the_core_schema(text: str, value: object) -> None:
    resolved = resolve(text)
    assert resolved.message == ""
    assert resolved.value == value
    assert type(resolved.value) is type(value)


@pytest.mark.parametrize("text", ["yes", "no", "on", "off", "y", "n", "Yes", "NO", "True", "FALSE"])
def test_words_that_are_booleans_to_some_are_refused_with_both_ways_out(text: str) -> None:
    resolved = resolve(text)
    assert "boolean" in resolved.message
    assert f'"{text}" in quotes' in resolved.hint
    assert ("write true" in resolved.hint) == (text.lower() in ("yes", "on", "y", "true"))


@pytest.mark.parametrize(
    "text", ["010", "-007", "0o14", "0x1F", "0b101", "1_000", "1_000.5", "12:30", "1:30:00", "01.5", "0_1"]
)
def test_numbers_that_readers_disagree_on_are_refused(text: str) -> None:
    assert "one number to some readers" in resolve(text).message


@pytest.mark.parametrize("text", [".inf", "-.Inf", ".nan", ".NaN", "1e999", "-1e999", "1" * 19])
def test_numbers_without_a_finite_value_are_refused(text: str) -> None:
    assert resolve(text).message


@given(st.integers(-(10**18) + 1, 10**18 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_python_writes_is_read_back(number: float) -> None:
    assert resolve(repr(number)) == (number, "", "")


@given(st.text(max_size=12))
def test_every_word_is_read_or_refused(text: str) -> None:
    resolved = resolve(text)
    assert resolved.message or isinstance(resolved.value, str | int | float | bool | None)
