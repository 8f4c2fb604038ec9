"""Audit records as the runtime writes them, made by running a policy's rules over scripted signals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from guardsteer.audit import StoredEvent
from guardsteer.core.events import (
    ActivationBegan,
    ActivationEnded,
    ConditionChanged,
    Event,
    FlagChanged,
    PolicyAdopted,
    RequestEnded,
    RequestStarted,
    RowHalted,
    RuleFired,
    RuleReleased,
)
from guardsteer.core.plan import Plan
from guardsteer.core.policy import Mode, Policy
from guardsteer.rules import compile_policy, parse_policy
from guardsteer.rules.program import Change, Program

TIME_NS = 1_800_000_000_000_000_000
PROMPT = 10
UP = {"intent.billing": 0.9, "intent.other": 0.1}
OUTPUTS = {"intent": ("billing", "other"), "mood": ("sad",)}

POLICY = """\
guardsteer: 1
name: support
context: {tier: int}
classifiers:
  intent: {use: ./intent, on: user}
  mood: {use: ./mood, on: generation}
flags:
  billing: {signal: intent.billing, enter: 0.6, exit: 0.5}
  low: {signal: mood.sad, enter: 0.6, after: 2}
vectors:
  empathy: {use: ./v, positions: [last_prompt_token, generated], max_strength: 0.4}
  praise: {use: ./v, positions: [generated]}
rules:
  - id: warm
    when: billing && request.tier >= 1 && intent.other < 0.3
    add: {vector: empathy, strength: 0.3}
  - id: lift
    when: low && step < 6
    priority: 5
    add: {vector: empathy, strength: 0.2}
    subtract: {vector: praise, strength: 0.1}
  - {id: hush, when: mood.sad > 0.9, disable: praise}
  - {id: stop, when: low && billing && step > 8, halt: true}
fallback: "Let us stop here."
"""


def policy_of(text: str = POLICY) -> Policy:
    """Return the policy in ``text``."""
    return parse_policy(text, "policy.yaml", outputs=lambda spec: OUTPUTS[spec.name])


@cache
def program_of(policy: Policy) -> Program:
    """Return the policy's program."""
    return compile_policy(policy, OUTPUTS)


def adopted(policy: Policy, **other: Any) -> PolicyAdopted:
    """Return the record that a policy was adopted."""
    fields: dict[str, Any] = {"binding": {}, "vectors": {}, "classifiers": {}, "source": "wrap", **other}
    return PolicyAdopted(
        time_ns=TIME_NS,
        guard="g",
        policy=policy.name,
        policy_digest=policy.digest,
        text=policy.text,
        **fields,
    )


def story(
    policy: Policy,
    scores: Sequence[Mapping[str, float]],
    *,
    request: str = "r",
    context: Mapping[str, Any] | None = None,
    mode: Mode = "enforce",
    track: str = "",
    arm: str = "",
) -> list[Event]:
    """Return what one request leaves behind: a step for each of ``scores`` (NaN: missing)."""
    program = program_of(policy)
    row = program.start(context, None, mode, explain=True)
    who: dict[str, Any] = {"time_ns": TIME_NS + 10, "request": request, "sequence": 0, "track": track}
    events: list[Event] = [
        RequestStarted(
            **who,
            guard="g",
            policy_digest=policy.digest,
            context=dict(context or {}),
            prompt_digest="hk:1",
            prompt_tokens=PROMPT,
            settings={},
            mode=mode,
            arm=arm,
        )
    ]
    signals = [0.0] * program.n_signals
    open_: dict[int, ActivationBegan] = {}
    halted, step = False, 0
    for step, given in enumerate(scores):
        for name, score in given.items():
            signals[program.signal_index[name]] = score
        plan = row.before(signals)
        events += [change_event(change, step, who) for change in row.changes]
        shadow = mode == "shadow" or bool(track)
        acting = (plan.shadow or plan) if shadow else plan
        events += _activations(policy, program, acting, step, who, open_, "shadow" if shadow else "enforce")
        if acting.halt >= 0 and not halted:
            halted = True
            halt = policy.rules[acting.halt].id
            position = PROMPT + step
            told = "shadow" if shadow else "enforce"
            events.append(
                RowHalted(**who, step=step, rule=halt, position=position, fallback_digest="b3:0", mode=told)
            )
        if plan.halt >= 0:
            break
    events += [_ended(began, PROMPT - 1 + step, who) for began in open_.values()]
    if not track:
        reason = "halted" if halted and mode == "enforce" else "stop"
        events.append(
            RequestEnded(
                **who, generated_tokens=step + 1, steered_tokens=0, output_digest="hk:2", reason=reason
            )
        )
    return events


def change_event(change: Change, step: int, who: Mapping[str, Any]) -> Event:
    """Return what the ledger tells of a change."""
    if change.kind == "flag":
        assert not isinstance(change.scores, dict)
        return FlagChanged(**who, step=step, flag=change.name, up=change.up, score=change.scores)
    assert isinstance(change.scores, dict)
    if change.kind == "condition":
        return ConditionChanged(
            **who, step=step, condition=change.name, truth=change.truth, scores=change.scores
        )
    kind = RuleFired if change.up else RuleReleased
    return kind(**who, step=step, rule=change.name, scores=change.scores, mode=change.mode)


def _activations(
    policy: Policy,
    program: Program,
    plan: Plan,
    step: int,
    who: Mapping[str, Any],
    open_: dict[int, ActivationBegan],
    mode: Mode,
) -> Iterator[Event]:
    position = PROMPT - 1 + step
    for channel, strength in enumerate(plan.strengths):
        vector = policy.vectors[program.channels[channel].vector]
        acts = strength if ("generated" if step else "last_prompt_token") in vector.positions else 0.0
        rule = policy.rules[plan.rules[channel]].id if acts else ""
        before = open_.get(channel)
        if (rule, acts) == ((before.rule, before.applied) if before else ("", 0.0)):
            continue
        if before is not None:
            yield _ended(open_.pop(channel), position - 1, who)
        if acts:
            open_[channel] = ActivationBegan(
                **who,
                rule=rule,
                vector=vector.name,
                vector_digest="b3:0",
                operator="add" if acts > 0 else "subtract",
                blocks=(1,),
                position=position,
                requested=acts,
                applied=acts,
                alphas=(1.0,),
                scores={},
                mode=mode,
            )
            yield open_[channel]


def _ended(began: ActivationBegan, last: int, who: Mapping[str, Any]) -> ActivationEnded:
    return ActivationEnded(
        **who,
        rule=began.rule,
        vector=began.vector,
        first=began.position,
        last=last,
        tokens=last - began.position + 1,
        applied=began.applied,
        operator=began.operator,
        mode=began.mode,
    )


def stored(events: Sequence[Event], stream: str = "s") -> list[StoredEvent]:
    """Return records as a log holds them."""
    return [StoredEvent(stream, seq, event) for seq, event in enumerate(events)]
