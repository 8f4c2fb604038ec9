"""A policy's values are what its file says, with defaults filled in and places kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardsteer.core.digests import digest_bytes
from guardsteer.core.policy import (
    AuditSpec,
    BreakerSpec,
    ClassifierSpec,
    FlagSpec,
    OverrideSpec,
    Policy,
    ReviseSpec,
    RuleSpec,
    ScheduleSpec,
    Smoothing,
    SteerSpec,
    VectorSpec,
)
from guardsteer.errors import PolicyError
from guardsteer.rules import compile_policy, load_policy, parse_policy
from tests.rules.support import FILE, SUPPORT, outputs_of

WHOLE = """\
guardsteer: 1
name: support
context: {tier: int, area: string}
classifiers:
  intent:   {use: support-intent, on: user}
  swearing:
    literals: [damn, "no"]
    patterns: ['\\bugh+\\b']
    on: all
    ignore_case: false
    tail_characters: 64
flags:
  billing:  {signal: intent.billing, enter: 0.60, exit: 0.5, after: 2, hold: 8}
  rude:     {signal: swearing.match, enter: 1, latch: true}
vectors:
  empathy:  {use: empathy, max_strength: 0.40, blocks: [4], positions: [last_prompt_token, generated]}
  flattery: {use: ./flattery}
rules:
  - id: warm
    when: billing && !rude && request.tenant != "x" && step < 64
    priority: 10
    add: {vector: empathy, strength: 0.30}
    subtract: [{vector: flattery, alpha: 4}]
  - {id: path, when: rude, disable: all}
  - {id: one, when: 'true', disable: [empathy]}
  - {id: stop, when: rude, halt: true}
fallback: "I can't."
audit: {on_error: halt}
"""


def test_a_policy_is_what_its_file_says(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(WHOLE)
    steer = (
        SteerSpec("empathy", "add", strength=0.3),
        SteerSpec("flattery", "subtract", alpha=4),
    )
    when = 'billing && !rude && request.tenant != "x" && step < 64'
    assert load_policy(tmp_path) == Policy(
        name="support",
        digest=digest_bytes(WHOLE.encode()),
        source=str(path),
        classifiers=(
            ClassifierSpec("intent", "user", use="support-intent"),
            ClassifierSpec(
                "swearing",
                "all",
                literals=("damn", "no"),
                patterns=(r"\bugh+\b",),
                ignore_case=False,
                tail_characters=64,
            ),
        ),
        vectors=(
            VectorSpec("empathy", "empathy", (4,), ("last_prompt_token", "generated"), 0.4),
            VectorSpec("flattery", "./flattery"),
        ),
        flags=(
            FlagSpec("billing", "intent.billing", 0.6, 0.5, after=2, hold=8),
            FlagSpec("rude", "swearing.match", 1, 1, latch=True),
        ),
        rules=(
            RuleSpec("warm", when, priority=10, steer=steer, line=19),
            RuleSpec("path", "rude", disable=("empathy", "flattery"), line=24),
            RuleSpec("one", "true", disable=("empathy",), line=25),
            RuleSpec("stop", "rude", halt=True, line=26),
        ),
        context=(("tier", "int"), ("area", "string")),
        fallback="I can't.",
        audit=AuditSpec("halt"),
        text=WHOLE,
    )


LADDER = """\
guardsteer: 1
name: ladder
classifiers:
  c: {use: c, on: all, on_error: last_state, deadline_ms: 5, breaker: {failures: 2}}
flags:
  a: {signal: c.billing, enter: 0.6, after: 3, of_last: 5, cooldown: 4, smooth: {ema: 0.3}}
  b: {signal: c.other, enter: 0.6, smooth: {max: 8}, per: sentence}
vectors:
  v: {use: v, site: heads, heads: [0, 2], max_strength: 1}
  w: {use: w}
profiles:
  some: {subtract: {vector: w, alpha: 2, keep_norm: true, ramp: 8, until: sentence_end}}
  none: {}
rules:
  - {id: look, when: a, observe: true, on_error: open}
  - id: pick
    when: a || step < 3
    priority: 2
    route: {a: some, b: none, otherwise: some}
  - {id: pick-any, when: "true", route: {b: some}}
  - id: hard
    when: b
    add: {vector: v, strength: 0.2, stronger: {every: 8, by: 0.1}, half_life: 16}
    ablate: [{vector: w}]
    hold_back: 8
    revise: {tokens: 12, most: 2, steps: 32, then: continue}
  - {id: soft, when: b, clamp: {vector: v, low: -0.1, until: sentence_end}, revise: {back_to: sentence}}
budget: 0.5
overrides: [{vector: v, from: 0, to: 0.4, tenants: [acme], outside: clamp}, {vector: v, from: 0.1, to: 0.2}]
fallback: "No."
"""


def test_every_field_of_the_ladder_is_in_the_policy() -> None:
    policy = parse_policy(LADDER, FILE)
    some = (
        SteerSpec(
            "w", "subtract", alpha=2, keep_norm=True, schedule=ScheduleSpec(ramp=8, until_sentence_end=True)
        ),
    )
    hard = (
        SteerSpec("v", "add", strength=0.2, schedule=ScheduleSpec(every=8, by=0.1, half_life=16)),
        SteerSpec("w", "ablate", strength=1.0),
    )
    soft = (SteerSpec("v", "clamp", low=-0.1, schedule=ScheduleSpec(until_sentence_end=True)),)
    assert policy.classifiers[0] == ClassifierSpec(
        "c", "all", use="c", on_error="last_state", deadline_ms=5, breaker=BreakerSpec(2, 30.0)
    )
    assert policy.flags == (
        FlagSpec("a", "c.billing", 0.6, 0.6, after=3, of_last=5, cooldown=4, smooth=Smoothing("ema", 0.3)),
        FlagSpec("b", "c.other", 0.6, 0.6, smooth=Smoothing("max", 8), per="sentence"),
    )
    assert policy.vectors[0] == VectorSpec("v", "v", max_strength=1, site="heads", heads=(0, 2))
    assert policy.rules == (
        RuleSpec("look", "a", observe=True, on_error="open", line=15),
        RuleSpec("pick/a", "(a || step < 3) && a", priority=2, steer=some, line=16),
        RuleSpec("pick/b", "(a || step < 3) && b && !a", priority=2, observe=True, line=16),
        RuleSpec("pick/otherwise", "(a || step < 3) && !a && !b", priority=2, steer=some, line=16),
        RuleSpec("pick-any/b", "b", steer=some, line=20),
        RuleSpec("hard", "b", steer=hard, hold_back=8, revise=ReviseSpec(12, 2, 32, "continue"), line=21),
        RuleSpec("soft", "b", steer=soft, revise=ReviseSpec(), line=27),
    )
    assert policy.budget == 0.5
    assert policy.overrides == (
        OverrideSpec("v", 0, 0.4, ("acme",), "clamp"),
        OverrideSpec("v", 0.1, 0.2),
    )
    assert policy.text == LADDER


def test_a_text_with_a_byte_order_mark_is_kept_as_the_digest_covers_it(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SUPPORT.encode())
    policy = load_policy(path, outputs=outputs_of)
    assert digest_bytes(policy.text.encode()) == policy.digest


def test_what_a_classifier_lacks_is_told_at_the_route_or_profile_that_needs_it(tmp_path: Path) -> None:
    """A route becomes a rule of its own, and its place in the file is still found at compilation."""
    path = tmp_path / "p.yaml"
    path.write_text(LADDER.replace("a || step < 3", "a || c.lost > 0.5"))
    policy = load_policy(path)
    with pytest.raises(PolicyError) as caught:
        compile_policy(policy, {"c": ("billing", "other")}, alpha_to_strength={})
    assert {(p.line, p.column) for p in caught.value.problems} == {(17, 16)}
    path.write_text(LADDER)
    with pytest.raises(PolicyError) as caught:
        compile_policy(load_policy(path), {"c": ("billing", "other")}, alpha_to_strength={})
    assert {(p.line, p.column) for p in caught.value.problems} == {(12, 29)}
