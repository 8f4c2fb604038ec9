"""What each record says in plain words: a label of one word, and the details on one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from guardsteer.audit.records import Record, RecordsDropped, SegmentBegan, StreamClosed
from guardsteer.core.events import (
    ActivationBegan,
    ActivationEnded,
    Attached,
    ClassifierFailed,
    ClassifierLate,
    ClassifierRestored,
    ClassifierTripped,
    ConditionChanged,
    Detached,
    FlagChanged,
    PolicyAdopted,
    PolicyRefused,
    RequestEnded,
    RequestFailed,
    RequestStarted,
    Resumed,
    RowHalted,
    RowRevised,
    RuleFired,
    RuleReleased,
    Stopped,
    TextDropped,
    TextForgotten,
    TextKept,
)

__all__ = ["describe", "score_text", "short_digest"]

_DIGEST_CHARACTERS = 15
_Guard: TypeAlias = (
    Attached
    | Detached
    | PolicyAdopted
    | PolicyRefused
    | Stopped
    | Resumed
    | ClassifierTripped
    | ClassifierRestored
)
_Request: TypeAlias = RequestStarted | RequestFailed | RequestEnded
_Journal: TypeAlias = SegmentBegan | RecordsDropped | StreamClosed
_Text: TypeAlias = TextKept | TextForgotten | TextDropped


def describe(event: Record) -> tuple[str, str]:
    """Return a record's label, at most ten characters, and what it says.

    What only would have happened begins with ``(shadow)``; what a candidate policy did, with its name.
    """
    label, details = _describe(event)
    marks = [mark for mark in (getattr(event, "track", ""), _shadow(event)) if mark]
    return label, f"({', '.join(marks)}) {details}" if marks else details


def _shadow(event: Record) -> str:
    return "shadow" if getattr(event, "mode", "") == "shadow" and not isinstance(event, _Request) else ""


def _describe(event: Record) -> tuple[str, str]:
    match event:
        case ActivationBegan() | ActivationEnded():
            return _activation(event)
        case RequestStarted() | RequestFailed() | RequestEnded():
            return _request(event)
        case SegmentBegan() | RecordsDropped() | StreamClosed():
            return _journal(event)
        case TextKept() | TextForgotten() | TextDropped():
            return _text(event)
        case FlagChanged(step=step, flag=flag, up=up, score=score, threshold=threshold):
            held = "" if threshold is None else f", {'enter' if up else 'exit'} {threshold:g}"
            return "flag", f"{flag} {'up' if up else 'down'} at step {step}, score {score_text(score)}{held}"
        case ConditionChanged(step=step, condition=condition, truth=truth, scores=scores):
            return "condition", f"{condition} {truth} at step {step}{_scores(scores)}"
        case RuleFired(step=step, rule=rule, scores=scores):
            return "rule", f"{rule} fired at step {step}{_scores(scores)}"
        case RuleReleased(step=step, rule=rule, scores=scores):
            return "rule", f"{rule} released at step {step}{_scores(scores)}"
        case RowHalted(step=step, rule=rule, position=position):
            return "halt", f"by {rule} at step {step}, fallback from position {position}"
        case RowRevised(step=step, rule=rule, position=position, dropped=dropped, revision=number):
            took = f"took back {_count(dropped, 'token')}, writes on at position {position}"
            return "revise", f"{rule} at step {step} {took}, revision {number}"
        case ClassifierFailed(step=step, classifier=classifier, error=error):
            return "error", f"classifier {classifier} at step {step}: {error}"
        case ClassifierLate(step=step, classifier=classifier, until=until):
            return "late", f"classifier {classifier} at step {step}: its last scores stood until step {until}"
        case _:
            return _guard(event)


def _activation(event: ActivationBegan | ActivationEnded) -> tuple[str, str]:
    if isinstance(event, ActivationEnded):
        span = f"positions {event.first} to {event.last}, {_count(event.tokens, 'token')}"
        return "steer end", f"{event.vector} for {event.rule}: {span}, strength {event.applied:g}"
    parts = [f"{event.operator} {event.vector} {short_digest(event.vector_digest)} for {event.rule}"]
    parts[0] += f" from position {event.position}"
    parts.append(("block " if len(event.blocks) == 1 else "blocks ") + " ".join(map(str, event.blocks)))
    if event.site != "block_output":
        parts.append(f"at {event.site}" + (" " + " ".join(map(str, event.heads)) if event.heads else ""))
    strength = f"strength {event.applied:g}"
    if event.requested != event.applied:
        cut = f", cut by {' and '.join(event.limits)}" if event.limits else ""
        strength += f" ({event.requested:g} requested{cut})"
    parts.append(strength)
    if event.bounds:
        bounds = ["any" if bound is None else f"{bound:g}" for bound in event.bounds]
        parts.append("kept between " + " and ".join(bounds))
    if event.keep_norm:
        parts.append("length kept")
    return "steer", ", ".join(parts) + _scores(event.scores)


def _request(event: _Request) -> tuple[str, str]:
    if isinstance(event, RequestFailed):
        return "error", f"generation failed: {event.error}"
    if isinstance(event, RequestStarted):
        parts = [f"{_count(event.prompt_tokens, 'prompt token')}, policy {short_digest(event.policy_digest)}"]
        if event.context:
            parts.append(_pairs(event.context))
        if event.mode != "enforce":
            parts.append(f"mode {event.mode}")
        if event.arm:
            parts.append(f"arm {event.arm}")
        for vector, (asked, given) in event.overrides.items():
            got = "" if asked == given else f", got {given:g}"
            parts.append(f"asked for {vector} at {asked:g}{got}")
        return "start", ", ".join(parts)
    parts = [f"{_count(event.generated_tokens, 'token')}, {event.steered_tokens} steered, {event.reason}"]
    if event.withheld_tokens:
        parts.append(f"{event.withheld_tokens} withheld")
    if event.limited_tokens:
        parts.append(f"{event.limited_tokens} cut down to the budget")
    return "end", ", ".join(parts)


def _guard(event: _Guard) -> tuple[str, str]:
    match event:
        case Attached(guard=guard, policy=policy, policy_digest=digest):
            return "attach", f"guard {guard}, policy {policy} {short_digest(digest)}"
        case Detached(guard=guard):
            return "detach", f"guard {guard}"
        case PolicyAdopted():
            return "policy", _adopted(event)
        case PolicyRefused(file=file, error=error):
            return "refused", f"{file}, the policy in force stays: {error}"
        case Stopped(by=by, reason=reason):
            return "stop", f"every strength is zero from here on, by {by}{_because(reason)}"
        case Resumed(by=by, reason=reason):
            return "resume", f"the policy acts again, by {by}{_because(reason)}"
        case ClassifierTripped(classifier=name, failures=failures, rest_s=rest_s, error=error):
            failed = f"classifier {name} failed {_count(failures, 'time')} in a row"
            return "tripped", f"{failed}, left alone for {rest_s:g} s: {error}"
        case ClassifierRestored(classifier=name):
            return "restored", f"classifier {name} works again"


def _adopted(event: PolicyAdopted) -> str:
    parts = [f"{event.policy} {short_digest(event.policy_digest)} by {event.source}"]
    mode = event.binding.get("mode")
    if mode not in (None, "enforce"):
        parts.append(f"mode {mode}")
    if event.approved_by:
        parts.append(f"approved by {event.approved_by} at {event.approved_at} with key {event.approval_key}")
    return ", ".join(parts)


def _journal(event: _Journal) -> tuple[str, str]:
    match event:
        case SegmentBegan(number=number, library=library):
            return "segment", f"number {number}, guardsteer {library}"
        case RecordsDropped(count=count, reason=reason):
            return "lost", f"{_count(count, 'event')}: {reason}"
        case StreamClosed(dropped=dropped):
            return "close", f"{_count(dropped, 'event')} lost" if dropped else ""


def _text(event: _Text) -> tuple[str, str]:
    match event:
        case TextKept(part=part, key=key, bytes=size):
            return "text", f"{part} kept, {_count(size, 'byte')} under key {key}"
        case TextForgotten(keys=keys, reason=reason):
            which = f"key {keys[0]} was" if len(keys) == 1 else f"keys {', '.join(keys)} were"
            return "forget", f"the {which} destroyed, and all text under it{_because(reason)}"
        case TextDropped(count=count, reason=reason):
            return "lost", f"{_count(count, 'text')} not kept: {reason}"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def score_text(score: float | None) -> str:
    """Return a score with three digits, or that it is missing."""
    return "missing" if score is None else f"{score:.3g}"


def _scores(scores: Mapping[str, float | None]) -> str:
    if not scores:
        return ""
    return ", " + ", ".join(f"{name} {score_text(score)}" for name, score in scores.items())


def _pairs(values: Mapping[str, str | int | float | bool | list[str]]) -> str:
    return " ".join(
        f"{name}={','.join(value) if isinstance(value, list) else value}" for name, value in values.items()
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def short_digest(digest: str) -> str:
    """Return a digest's beginning, enough to tell it from others at a glance."""
    return digest if len(digest) <= _DIGEST_CHARACTERS else digest[:_DIGEST_CHARACTERS] + "..."
