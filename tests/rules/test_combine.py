"""Scores made of other scores, as a policy writes them."""

from __future__ import annotations

import pytest

from guardsteer.core.policy import CombineSpec
from guardsteer.errors import PolicyError
from guardsteer.rules import compile_policy, lint, parse_policy

POLICY = """\
guardsteer: 1
name: combined
classifiers:
  words: {use: refusal, on: generation}
  meaning: {use: intent, on: generation}
  swears: {literals: [damn], on: all}
  both: {combine: {of: [words.score, swears.match], by: mean, missing: without}}
flags:
  up: {signal: both.score, enter: 0.5}
vectors:
  kind: {use: kind}
rules:
  - {id: warm, when: up, add: {vector: kind, strength: 0.2}}
  - {id: meant, when: meaning.score > 0.5, observe: true}
"""


def _outputs(_: object) -> tuple[str, ...]:
    return ("score",)


def _refused(old: str, new: str) -> list[str]:
    assert old in POLICY
    with pytest.raises(PolicyError) as caught:
        parse_policy(POLICY.replace(old, new), "policy.yaml", outputs=_outputs)
    return [str(problem) for problem in caught.value.problems]


def test_a_combination_is_read_as_it_is_written() -> None:
    """Scores, rule and what a missing one means; the defaults are the highest, and closed."""
    policy = parse_policy(POLICY, "policy.yaml", outputs=_outputs)
    assert policy.classifiers[-1].combine == CombineSpec(("words.score", "swears.match"), "mean", "without")
    short = POLICY.replace(", by: mean, missing: without", "")
    assert parse_policy(short, "p", outputs=_outputs).classifiers[-1].combine == CombineSpec(
        ("words.score", "swears.match"), "max", "closed"
    )


def test_a_combination_has_one_score_of_its_own() -> None:
    """The program has it among its signals, and nothing that it is made of counts as unused."""
    policy = parse_policy(POLICY, "policy.yaml", outputs=_outputs)
    program = compile_policy(policy, {"words": ("score",), "meaning": ("score",)})
    assert "both.score" in program.signal_index
    assert not lint(policy)


def test_rules_on_a_combination_with_a_probe_wait_for_the_probe() -> None:
    """Where the program is told that it needs a block, it is decided within the pass."""
    policy = parse_policy(POLICY, "policy.yaml", outputs=_outputs)
    outputs = {"words": ("score",), "meaning": ("score",)}
    probes = {"words": 1, "both": 1}
    assert not compile_policy(policy, outputs).has_within
    assert compile_policy(policy, outputs, probes=probes, vector_blocks={"kind": (2,)}).has_within


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("words.score, swears.match", "words.score", "must hold 2 items at least"),
        ("words.score, swears.match", "words.score, words.score", "is combined with itself"),
        ("words.score, swears.match", "words.score, wards.score", "there is no classifier 'wards'"),
        ("words.score, swears.match", "words.score, swears.score", "has no output 'score'"),
        ("words.score, swears.match", "words, swears.match", "write words.score"),
        ("words.score, swears.match", "words.score, both.score", "scores are combined once"),
        ("by: mean", "by: least", "must be max or mean"),
        ("by: mean", "bye: mean", "has no field 'bye'"),
        ("missing: without}", "missing: without}, on: all", "'on' says nothing of scores that are combined"),
        ("missing: without}", "missing: without}, deadline_ms: 5", "give it to the classifiers"),
        ("missing: without}", "missing: without}, use: refusal", "'use' says nothing"),
        ("literals: [damn], on: all", "literals: [damn]", "the classifier 'swears' has no 'on'"),
        ("literals: [damn], on: all", "on: all", "add 'use', 'literals', 'patterns' or 'combine'"),
    ],
)
def test_a_mistake_is_told(old: str, new: str, told: str) -> None:
    """Each with one message that says it."""
    problems = _refused(old, new)
    assert len(problems) == 1, problems
    assert told in problems[0]
