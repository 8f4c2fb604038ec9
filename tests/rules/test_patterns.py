"""Patterns that cannot run in linear time, or mean nothing, are refused with a reason and a place."""

from __future__ import annotations

import pytest

from guardsteer.rules.patterns import MAX_PATTERN_LENGTH, pattern_mistake


@pytest.mark.parametrize(
    "pattern", [r"\bugh+\b", "a|b", r"(?i)x", r"\p{Greek}", "[^a-z]{2,5}", r"(?P<n>a)b", "é+", r"\."]
)
def test_a_pattern_of_re2_is_taken(pattern: str) -> None:
    assert pattern_mistake(pattern, ignore_case=True) is None
    assert pattern_mistake(pattern, ignore_case=False) is None


@pytest.mark.parametrize(
    ("pattern", "offset", "message"),
    [
        ("a(?=b)", 1, "lookahead is not available"),
        ("a(?!b)", 1, "lookahead is not available"),
        ("(?<=a)b", 0, "lookbehind is not available"),
        ("x(?<!a)b", 1, "lookbehind is not available"),
        (r"(a)\1", 3, "references to groups are not available"),
        ("(?P<n>a)(?P=n)", 8, "references to groups are not available"),
        ("(?>a)", 0, "atomic groups are not available"),
        ("a++", 1, "possessive and doubled repetitions are not available"),
        ("a(b", 0, "'(' has no ')'"),
        ("a[b", 1, "'[' has no ']'"),
        ("ab)", 0, "')' has no '('"),
        ("*a", 0, "there is nothing to repeat"),
        ("a{2000}", 1, "repetitions multiply to more than 1000"),
        ("[z-a]", 1, "the range in '[…]' has its ends the wrong way round"),
        (r"a\y", 1, r"there is no escape '\y'"),
        ("a\\", 0, "the pattern ends with a backslash"),
        ("a*", 0, "the pattern matches the empty text, so it would always match"),
        ("((a{100}){100}){100}", 3, "repetitions multiply to more than 1000"),
        (r"\pL{1000}" * 10, 0, "the pattern is too large"),
        (r"a\pX", 1, r"there is no class of characters '\pX'"),
        ("a(?z)", 1, "groups of this kind are not available"),
        ("a" * (MAX_PATTERN_LENGTH + 1), 0, f"the pattern has more than {MAX_PATTERN_LENGTH} characters"),
    ],
)
def test_a_pattern_is_refused_with_the_reason_and_the_place(pattern: str, offset: int, message: str) -> None:
    mistake = pattern_mistake(pattern, ignore_case=True)
    assert mistake is not None
    assert mistake.message == message
    assert mistake.offset == offset


def test_a_refused_pattern_writes_nothing_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    pattern_mistake("(?=a)", ignore_case=True)
    assert capfd.readouterr().err == ""
