"""Policies drawn at random, as values, and what their rows see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from guardsteer.core.policy import (
    Binding,
    ClassifierSpec,
    FlagSpec,
    Mode,
    Operator,
    Policy,
    ReviseSpec,
    RuleSpec,
    ScheduleSpec,
    Smoothing,
    SteerSpec,
    VectorSpec,
)
from tests.rules.support import NAN

OUTPUTS = {"s": ("a", "b"), "p": ("c",)}
SIGNALS = ("s.a", "s.b", "p.c")
VECTORS = ("v0", "v1")
CONDITIONS = (
    "f0",
    "!f0",
    "f1",
    "f0 && !f1",
    "f0 || s.a > 0.5",
    "s.b >= 0.5",
    "p.c >= 0.5 && f1",
    "!(p.c < 0.5)",
    "step < 4",
    "s.a < 0.5 || request.beta",
    "!(f1 && s.a <= 0.25)",
    "s.b > request.share",
    "true",
)

scores = st.sampled_from([0.0, 0.25, 0.4, 0.5, 0.6, 1.0])
signals = st.tuples(*[scores | st.just(NAN)] * 3)


@st.composite
def flags(draw: st.DrawFn, name: str = "f0", signal: str | None = None) -> FlagSpec:
    """Return any flag."""
    enter = draw(st.sampled_from([0.4, 0.5, 0.6]))
    after = draw(st.integers(1, 3))
    return FlagSpec(
        name=name,
        signal=signal or draw(st.sampled_from(SIGNALS)),
        enter=enter,
        exit=draw(st.sampled_from([0.25, 0.4, enter]).filter(lambda exit: exit <= enter)),
        after=after,
        hold=draw(st.integers(0, 3)),
        latch=draw(st.sampled_from([False, False, True])),
        of_last=draw(st.none() | st.integers(after, after + 3)),
        cooldown=draw(st.integers(0, 3)),
        smooth=draw(
            st.none()
            | st.sampled_from([0.3, 0.5, 1.0]).map(lambda weight: Smoothing("ema", weight))
            | st.integers(1, 4).map(lambda window: Smoothing("max", window))
        ),
        per=draw(st.sampled_from(["token", "token", "sentence"])),
    )


schedules = st.builds(
    ScheduleSpec,
    ramp=st.none() | st.integers(1, 4),
    half_life=st.none() | st.sampled_from([0.25, 0.5, 2.0]),
    every=st.none() | st.integers(1, 2),
    by=st.sampled_from([0.1, 0.3]),
    until_sentence_end=st.booleans(),
)


@st.composite
def steers(draw: st.DrawFn) -> SteerSpec:
    """Return any use of a vector."""
    operators: list[Operator] = ["add", "add", "subtract", "ablate", "clamp"]
    operator = draw(st.sampled_from(operators))
    return SteerSpec(
        vector=draw(st.sampled_from(VECTORS)),
        operator=operator,
        strength=None if operator == "clamp" else draw(st.sampled_from([0.1, 0.2, 0.4])),
        low=-0.1 if operator == "clamp" else None,
        high=draw(st.sampled_from([None, 0.2])) if operator == "clamp" else None,
        keep_norm=draw(st.booleans()),
        schedule=draw(st.none() | schedules),
    )


revisions = st.builds(
    ReviseSpec,
    tokens=st.none() | st.integers(1, 3),
    most=st.integers(1, 2),
    steps=st.none() | st.integers(1, 3),
    then=st.sampled_from(["halt", "continue"]),
)


@st.composite
def rules(draw: st.DrawFn, number: int) -> RuleSpec:
    """Return any rule."""
    rarely = st.sampled_from([False] * 7 + [True])
    return RuleSpec(
        id=f"r{number}",
        when=draw(st.sampled_from(CONDITIONS)),
        priority=draw(st.integers(-1, 1)),
        steer=tuple(draw(st.lists(steers(), max_size=2))),
        disable=tuple(draw(st.sampled_from([(), (), (), ("v0",), VECTORS]))),
        halt=draw(rarely),
        hold_back=draw(st.sampled_from([None, None, 0, 4])),
        revise=draw(revisions) if draw(rarely) else None,
        on_error=draw(st.sampled_from(["closed", "open", "last_state"])),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Return any policy over the signals of ``OUTPUTS``."""
    count = draw(st.integers(1, 5))
    choice: list[Mode] = ["enforce", "enforce", "shadow", "off"]
    modes = draw(st.lists(st.sampled_from(choice), min_size=5, max_size=5))
    caps = st.none() | st.sampled_from([0.3, 0.5])
    return policy_of(
        flags=tuple(draw(flags(f"f{i}")) for i in range(2)),
        rules=tuple(draw(rules(i)) for i in range(count)),
        vectors=tuple(VectorSpec(name, "v", max_strength=draw(caps)) for name in VECTORS),
        binding=Binding(rules=tuple((f"r{i}", modes[i]) for i in range(count) if modes[i] != "enforce")),
    )


ELSEWHERE = ("step < 4", "s.b > request.share")
"""Conditions under which nothing is ever calm."""


@st.composite
def calm_policies(draw: st.DrawFn) -> Policy:
    """Return any policy that sees no more of scores than on which side of some numbers they are."""
    policy = draw(policies())
    flags = tuple(replace(flag, smooth=None, per="token") for flag in policy.flags)
    rules = tuple(replace(rule, when="f0 && f1") if rule.when in ELSEWHERE else rule for rule in policy.rules)
    return replace(policy, flags=flags, rules=rules)


def policy_of(**fields: Any) -> Policy:
    """Return a policy over the signals of ``OUTPUTS`` with these fields."""
    given: dict[str, Any] = {
        "name": "test",
        "digest": "",
        "source": "",
        "classifiers": tuple(ClassifierSpec(name, "all", use=name) for name in OUTPUTS),
        "vectors": tuple(VectorSpec(name, "v") for name in VECTORS),
        "flags": (),
        "rules": (),
        "context": (("beta", "bool"), ("share", "float")),
        "fallback": "stop",
    }
    return Policy(**{**given, **fields})


contexts = st.fixed_dictionaries({}, optional={"beta": st.booleans(), "share": st.just(0.5)})
