"""A rollout takes the share it says, always the same ones, and loses nobody while it grows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.core.policy import Binding
from guardsteer.rules.rollout import in_shadow, is_within, may_enforce, mode_of

KNOWN = ["tenant-14", "tenant-36", "tenant-55"]
VALUES = [f"tenant-{number}" for number in range(20_000)]
TENTH = Binding(
    mode="enforce", percent=10.0, by="request.tenant", arm="new", otherwise="off", other_arm="old"
)


def test_the_share_is_what_was_asked_for() -> None:
    for percent in (1.0, 10.0, 50.0, 97.5):
        within = sum(is_within(value, percent, "salt") for value in VALUES)
        # Five standard deviations of a binomial.
        assert abs(within - 200 * percent) < 5 * (200 * percent * (1 - percent / 100)) ** 0.5


@given(st.text(), st.text(), st.floats(0, 100), st.floats(0, 100))
def test_whoever_is_within_stays_so_while_the_percentage_grows(
    value: str, salt: str, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert is_within(value, high, salt) or not is_within(value, low, salt)


@given(st.text(), st.text())
def test_nobody_is_within_zero_percent_and_everybody_within_a_hundred(value: str, salt: str) -> None:
    assert not is_within(value, 0.0, salt)
    assert is_within(value, 100.0, salt)


def test_the_same_values_are_within_on_every_machine() -> None:
    """A change of the hash would move everybody: these are fixed by the definition."""
    found = [value for value in VALUES[:60] if is_within(value, 10.0, "2026-spring")]
    assert found == KNOWN


def test_another_salt_draws_others_as_if_by_lot() -> None:
    first = {value for value in VALUES if is_within(value, 10.0, "one")}
    second = {value for value in VALUES if is_within(value, 10.0, "other")}
    assert abs(len(first & second) - 200) < 80


def test_salt_and_value_do_not_run_into_each_other() -> None:
    pairs = [(f"{number}", "x") for number in range(2000)]
    assert any(is_within("1" + v, 50.0, s) != is_within(v, 50.0, s + "1") for v, s in pairs)


def test_those_within_get_the_mode_and_its_arm_and_the_others_the_other() -> None:
    inside = next(value for value in VALUES if is_within(value, 10.0))
    outside = next(value for value in VALUES if not is_within(value, 10.0))
    assert mode_of(TENTH, "r", {"tenant": inside}) == ("enforce", "new")
    assert mode_of(TENTH, "r", {"tenant": outside}) == ("off", "old")


def test_a_request_without_the_key_is_not_within() -> None:
    assert mode_of(TENTH, "r", {}) == ("off", "old")
    whole = Binding(percent=100.0, by="request.tenant", otherwise="shadow")
    assert mode_of(whole, "r", {"route": "a"}) == ("shadow", "")


def test_a_rollout_may_go_by_the_requests_id() -> None:
    half = Binding(mode="shadow", percent=50.0, arm="a", other_arm="b")
    found = {mode_of(half, f"r{number}", {"request": "not this"}) for number in range(100)}
    assert found == {("shadow", "a"), ("off", "b")}


def test_without_a_rollout_everybody_is_within() -> None:
    assert mode_of(Binding(), "anything", {}) == ("enforce", "")


@pytest.mark.parametrize(
    ("binding", "acts"),
    [
        (Binding(), True),
        (Binding(mode="shadow"), False),
        (Binding(mode="off"), False),
        (Binding(percent=0.0), False),
        (Binding(percent=0.0, otherwise="enforce"), True),
        (Binding(mode="shadow", percent=10.0, otherwise="enforce"), True),
    ],
)
def test_whether_a_policy_acts_at_all_is_known_from_its_binding(binding: Binding, acts: bool) -> None:
    assert may_enforce(binding) is acts


@given(
    st.builds(
        Binding,
        mode=st.sampled_from(["off", "shadow", "enforce"]),
        otherwise=st.sampled_from(["off", "shadow", "enforce"]),
        percent=st.floats(0, 100),
        arm=st.just("a"),
    ),
    st.text(max_size=3),
)
def test_in_shadow_the_same_requests_are_read_and_none_is_acted_on(binding: Binding, request: str) -> None:
    mode, arm = mode_of(binding, request, {})
    assert mode_of(in_shadow(binding), request, {}) == ("off" if mode == "off" else "shadow", arm)
    assert not may_enforce(in_shadow(binding))
