"""A request chooses strengths within what the policy leaves open to it, and brings labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guardsteer.errors import RequestError
from tests.runtime.harness import POLICY, Reference, bench, decide_scripted
from tests.runtime.telling import PROMPTS, TOKENS, kinds, run, strengths, told, wrap

OPEN = (
    POLICY
    + """
overrides:
  - {vector: one, from: 0.1, to: 1.0}
  - {vector: one, from: 0, to: 2.0, tenants: [acme]}
  - {vector: two, from: 0.2, to: 0.6, tenants: [acme, umbrella], outside: clamp}
"""
)


def expected(made: Any, one: float, two: float) -> list[list[int]]:
    """Return what the reference writes with other strengths for the first two vectors."""

    def decide(prompt: str, written: list[str], probes: list[list[float]]) -> list[tuple[float, ...]]:
        return [
            (one if a else 0.0, -two if b else 0.0, c) for a, b, c in decide_scripted(prompt, written, probes)
        ]

    reference = Reference(
        made.model, made.tokenizer, made.reference.vectors, made.reference.positions, decide
    )
    return [reference.generate(prompt, TOKENS) for prompt in PROMPTS]


def test_a_request_gets_the_strengths_that_it_chose(tmp_path: Path) -> None:
    """The sign, and when a vector acts, stay the policy's."""
    made = bench("llama")
    wish = {"tenant": "acme", "strengths": {"one": 1.6, "two": 0.3}}
    with wrap(made, tmp_path, OPEN) as guard:
        found = run(guard, guard=[wish, {}, {"strengths": {"one": 0.4}}])
    assert found[0] == expected(made, 1.6, 0.3)[0]
    assert found[1] == expected(made, 0.8, 0.5)[1]
    assert found[2] == expected(made, 0.4, 0.5)[2]
    assert found[0] != made.reference.generate(PROMPTS[0], TOKENS), "the choice must matter"
    assert told(tmp_path, "r0")[0]["overrides"] == {"one": [1.6, 1.6], "two": [0.3, 0.3]}
    assert "overrides" not in told(tmp_path, "r1")[0]
    acted = {abs(two) for _, two, _ in strengths(tmp_path, "r0", len(PROMPTS[0]) + TOKENS - 1)}
    assert acted == {0.0, 0.3}


def test_a_wish_beyond_the_bounds_is_cut_where_the_policy_says_so_and_the_log_tells(tmp_path: Path) -> None:
    made = bench("llama")
    with wrap(made, tmp_path, OPEN) as guard:
        found = run(guard, guard=[{"tenant": "umbrella", "strengths": {"two": 5}}, {}, {}])
    assert found[0] == expected(made, 0.8, 0.6)[0]
    events = told(tmp_path, "r0")
    assert events[0]["overrides"] == {"two": [5.0, 0.6]}
    began = [e for e in events if e["kind"] == "ActivationBegan" and e["vector"] == "two"]
    assert began
    for event in began:
        assert (event["requested"], event["applied"], event["limits"]) == (-5.0, -0.6, ["override"])
    others = [e for e in events if e["kind"] == "ActivationBegan" and e["vector"] != "two"]
    assert not any("limits" in event for event in others)


def test_a_wish_below_the_bounds_is_raised_to_them(tmp_path: Path) -> None:
    made = bench("llama")
    with wrap(made, tmp_path, OPEN) as guard:
        run(guard, PROMPTS[:1], guard=[{"tenant": "acme", "strengths": {"two": -1}}])
    assert told(tmp_path, "r0")[0]["overrides"] == {"two": [-1.0, 0.2]}


def test_a_strength_of_zero_leaves_the_vector_alone(tmp_path: Path) -> None:
    made = bench("llama")
    with wrap(made, tmp_path, OPEN) as guard:
        found = run(guard, guard=[{"tenant": "acme", "strengths": {"one": 0}}] * 3)
    assert found == expected(made, 0.0, 0.5)
    assert not any(e.get("vector") == "one" for e in told(tmp_path, "r0"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"strengths": {"one": 1.5}}, r"expected 0\.1 to 1, which the policy's overrides allow"),
        ({"strengths": {"one": 0.0}}, r"expected 0\.1 to 1"),
        ({"strengths": {"one": 2.5}, "tenant": "acme"}, r"expected 0 to 2"),
        ({"strengths": {"one": -0.5}}, r"got -0\.5"),
        ({"strengths": {"two": 0.3}}, r"does not leave this strength to a request without a tenant.* one"),
        ({"strengths": {"two": 0.3}, "tenant": "other"}, r"to the tenant 'other'"),
        ({"strengths": {"three": 0.3}}, r"strengths'\]\['three'\].*leaves open one"),
        ({"strengths": {"nine": 0.3}}, r"strengths'\]\['nine'\]"),
        ({"strengths": {"one": "0.5"}}, r"got '0\.5', expected a number"),
        ({"strengths": {"one": True}}, r"got True, expected a number"),
        ({"strengths": {"one": float("nan")}}, r"got nan, expected a number"),
        ({"strengths": [0.5]}, r"\['strengths'\]: got list"),
        ({"labels": "vip"}, r"\['labels'\]: got 'vip', expected a list of strings"),
        ({"labels": [1]}, r"\['labels'\]: got \[1\]"),
    ],
)
def test_what_the_policy_does_not_leave_open_is_refused_with_the_place(
    given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    made = bench("llama")
    with wrap(made, tmp_path, OPEN) as guard, pytest.raises(RequestError, match=said) as caught:
        run(guard, guard=[{}, given, {}])
    assert "guard[1]" in str(caught.value)


def test_every_wish_that_is_refused_is_named_at_once(tmp_path: Path) -> None:
    made = bench("llama")
    with wrap(made, tmp_path, OPEN) as guard, pytest.raises(RequestError) as caught:
        run(guard, guard=[{"strengths": {"one": 9.0, "three": 1.0}}, {}, {"strengths": {"two": 0.3}}])
    assert len(str(caught.value).splitlines()) == 3


def test_a_strength_above_the_vectors_own_bound_is_cut_and_the_log_tells(tmp_path: Path) -> None:
    """``alpha`` may come to more than ``max_strength``, which is known only with the vector's norms."""
    made = bench("llama")
    text = (
        "guardsteer: 1\nname: much\n"
        "vectors: {one: {use: ./none, positions: [generated], max_strength: 0.4}}\n"
        "rules: [{id: r, when: step >= 2, add: {vector: one, alpha: 5.0}}]\n"
    )
    with wrap(made, tmp_path, text, classifiers={}) as guard:
        run(guard, PROMPTS[:1], guard=[{}])
    began = [event for event in told(tmp_path, "r0") if event["kind"] == "ActivationBegan"]
    assert [(e["requested"], e["applied"], e["limits"]) for e in began] == [(1.0, 0.4, ["max_strength"])]
    assert began[0]["alphas"] == pytest.approx([2.0, 2.0])


def test_what_the_budget_cuts_is_on_record_with_what_is_left(tmp_path: Path) -> None:
    made = bench("llama")
    text = (
        "guardsteer: 1\nname: bounded\nbudget: 0.5\n"
        "vectors: {one: {use: ./none, positions: [generated]}}\n"
        "rules: [{id: r, when: step >= 2, add: {vector: one, strength: 2.0}}]\n"
    )
    with wrap(made, tmp_path, text, classifiers={}) as guard:
        run(guard, PROMPTS[:1], guard=[{}])
    began = [event for event in told(tmp_path, "r0") if event["kind"] == "ActivationBegan"]
    assert [(e["requested"], e["limits"]) for e in began] == [(2.0, ["budget"])]
    assert began[0]["applied"] == pytest.approx(0.5)
    assert began[0]["alphas"] == pytest.approx([2.5, 2.5])
    ended = [event for event in told(tmp_path, "r0") if event["kind"] == "ActivationEnded"]
    assert ended[0]["applied"] == began[0]["applied"]


def test_how_a_vector_acts_is_on_record(tmp_path: Path) -> None:
    made = bench("llama")
    text = (
        "guardsteer: 1\nname: ladder\nvectors:\n"
        + "".join(f"  {name}: {{use: ./none, positions: [generated]}}\n" for name in ("one", "two", "three"))
        + "rules:\n"
        "  - {id: gone, when: step >= 1, ablate: {vector: one, strength: 0.5, keep_norm: true}}\n"
        "  - {id: held, when: step >= 1, clamp: {vector: two, high: 0.1}}\n"
        "  - {id: less, when: step >= 1, subtract: {vector: three, strength: 0.3}}\n"
    )
    with wrap(made, tmp_path, text, classifiers={}) as guard:
        run(guard, PROMPTS[:1], guard=[{}])
    began = {e["rule"]: e for e in told(tmp_path, "r0") if e["kind"] == "ActivationBegan"}
    assert [began[rule]["operator"] for rule in ("gone", "held", "less")] == ["ablate", "clamp", "subtract"]
    assert (began["gone"]["applied"], began["gone"]["alphas"], began["gone"]["keep_norm"]) == (0.5, [], True)
    assert (began["held"]["applied"], began["held"]["bounds"]) == (1.0, [None, 0.1])
    assert (began["less"]["requested"], began["less"]["applied"]) == (-0.3, -0.3)
    ended = {
        e["rule"]: e.get("operator", "add") for e in told(tmp_path, "r0") if e["kind"] == "ActivationEnded"
    }
    assert ended == {"gone": "ablate", "held": "clamp", "less": "subtract"}


def test_rules_read_a_requests_labels(tmp_path: Path) -> None:
    made = bench("llama")
    text = "guardsteer: 1\nname: labelled\nvectors: {one: {use: ./none}}\nrules:\n"
    text += """  - {id: vip, when: '"vip" in request.labels', add: {vector: one, strength: 0.5}}\n"""
    with wrap(made, tmp_path, text, classifiers={}) as guard:
        run(guard, guard=[{"labels": ["beta", "vip"]}, {"labels": ("beta",)}, {}])
    acted = ["ActivationBegan" in kinds(told(tmp_path, f"r{n}")) for n in range(3)]
    assert acted == [True, False, False]
    assert told(tmp_path, "r0")[0]["context"] == {"labels": ["beta", "vip"]}
    assert told(tmp_path, "r1")[0]["context"] == {"labels": ["beta"]}


def test_a_schedule_goes_with_the_strength_that_was_chosen(tmp_path: Path) -> None:
    made = bench("llama")
    text = (
        "guardsteer: 1\nname: ramp\nvectors: {one: {use: ./none, positions: [generated]}}\n"
        "rules: [{id: r, when: step >= 1, add: {vector: one, strength: 0.1, ramp: 4}}]\n"
        "overrides: [{vector: one, from: 0, to: 1}]\n"
    )
    with wrap(made, tmp_path, text, classifiers={}) as guard:
        run(guard, PROMPTS[:1], guard=[{"strengths": {"one": 0.8}}])
    n = len(PROMPTS[0])
    found = [one for (one,) in strengths(tmp_path, "r0", n + TOKENS - 1, vectors=("one",))]
    assert found[n:] == pytest.approx([0.2, 0.4, 0.6] + [0.8] * (TOKENS - 4))
