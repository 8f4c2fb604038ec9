"""A binding says how far a policy applies, in the policy or in a file of its own, with the same checks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardsteer.core.policy import ENFORCED, Binding
from guardsteer.errors import PolicyError, Problem
from guardsteer.rules import load_binding, parse_binding, parse_policy
from tests.rules.support import FILE, SUPPORT, outputs_of

POLICY = parse_policy(SUPPORT, FILE, outputs=outputs_of)
WHOLE = """\
mode: shadow
rules: {warm: "off"}
rollout: {percent: 12.5, by: request.tenant, salt: spring, otherwise: enforce}
arms: [candidate, control]
"""


def test_a_binding_is_what_its_file_says(tmp_path: Path) -> None:
    path = tmp_path / "binding.yaml"
    path.write_text(WHOLE)
    assert load_binding(path, POLICY) == Binding(
        mode="shadow",
        rules=(("warm", "off"),),
        percent=12.5,
        by="request.tenant",
        salt="spring",
        arm="candidate",
        otherwise="enforce",
        other_arm="control",
    )


def test_a_binding_means_the_same_in_the_policy_and_in_a_file() -> None:
    inside = parse_policy(SUPPORT + "binding:\n  " + WHOLE.strip().replace("\n", "\n  "), FILE)
    assert inside.binding == parse_binding(WHOLE, "b.yaml", POLICY)


def test_by_default_a_policy_is_enforced_for_all() -> None:
    assert POLICY.binding == ENFORCED
    assert parse_binding("mode: enforce", "b.yaml", POLICY) == ENFORCED
    assert parse_binding("rollout: {percent: 5}", "b.yaml", POLICY) == replace(ENFORCED, percent=5)


def test_a_rule_that_routes_stands_for_its_routes() -> None:
    text = SUPPORT.replace("halt: true", "route: {rude: p, billing: p, otherwise: p}")
    policy = parse_policy(text + "profiles: {p: {}}\n", FILE)
    assert [rule.id for rule in policy.rules] == ["warm", "stop/rude", "stop/billing", "stop/otherwise"]
    binding = parse_binding("rules: {stop: shadow}", "b.yaml", policy)
    assert binding.rules == tuple((f"stop/{key}", "shadow") for key in ("rude", "billing", "otherwise"))


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("mod: shadow", [(1, 1, "the binding has no field 'mod'")]),
        (
            "rules: {wram: shadow, stop: dry}",
            [(1, 9, "no rule 'wram'"), (1, 29, "'stop' must be one of off")],
        ),
        ("mode: off", [(1, 7, "'off' is a boolean to some readers")]),
        (
            "rollout: {by: request.id}\narms: [a]",
            [(1, 1, "no 'percent'"), (1, 15, "got 'request.id'"), (2, 7, "2 items")],
        ),
        ("- mode: shadow", [(1, 1, "a binding is a mapping, got a list")]),
        ("", [(1, 1, "a binding is a mapping, got an empty file")]),
    ],
)
def test_every_mistake_of_a_binding_is_told_with_its_place(
    text: str, places: list[tuple[int, int, str]]
) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_binding(text, "b.yaml", POLICY)
    problems = caught.value.problems
    assert [(p.line, p.column) for p in problems] == [(line, column) for line, column, _ in places]
    for problem, (_, _, words) in zip(problems, places, strict=True):
        assert words in problem.message
        assert problem.file == "b.yaml"


def test_a_binding_that_cannot_be_read_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="there is no such file"):
        load_binding(tmp_path / "none.yaml", POLICY)


def read(text: str) -> Binding | tuple[Problem, ...]:
    """Return the binding in ``text``, or the problems for which it is refused."""
    try:
        return parse_binding(text, "b.yaml", POLICY)
    except PolicyError as error:
        return error.problems


@settings(max_examples=150)
@given(
    cut=st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 12)),
    put=st.sampled_from(["", "{", "]", ": ", "no", "1e9", "- ", '"', "off", "\t", "request.", "\n", "&a "])
    | st.text(max_size=4),
)
def test_whatever_is_done_to_a_binding_it_is_loaded_or_refused_with_a_place(
    cut: tuple[int, int], put: str
) -> None:
    at, length = cut
    text = WHOLE[:at] + put + WHOLE[at + length :]
    found = read(text)
    if isinstance(found, Binding):
        assert 0 <= found.percent <= 100
        assert {rule for rule, _ in found.rules} <= {"warm", "stop"}
        return
    assert found
    assert all(1 <= problem.line <= text.count("\n") + 1 for problem in found)
