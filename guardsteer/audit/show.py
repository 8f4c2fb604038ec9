"""A trail as text for people: one line for each record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from guardsteer.audit.records import Record, RecordsDropped, SegmentBegan, StoredEvent, StreamClosed
from guardsteer.core.events import (
    ActivationBegan,
    ActivationEnded,
    Attached,
    ClassifierFailed,
    Detached,
    FlagChanged,
    RequestEnded,
    RequestFailed,
    RequestStarted,
    RowHalted,
    RuleFired,
    RuleReleased,
)

__all__ = ["format_trail"]

_RESET = "\x1b[0m"
_GREY, _RED, _GREEN, _YELLOW, _BLUE, _CYAN = (f"\x1b[{code}m" for code in (90, 31, 32, 33, 34, 36))
_COLORS: dict[type[object], str] = {
    RequestStarted: _BLUE,
    RequestEnded: _BLUE,
    FlagChanged: _YELLOW,
    RuleFired: _CYAN,
    RuleReleased: _CYAN,
    ActivationBegan: _GREEN,
    ActivationEnded: _GREEN,
    RowHalted: _RED,
    ClassifierFailed: _RED,
    RequestFailed: _RED,
    RecordsDropped: _RED,
}
_LABEL_WIDTH = 10
_ROW_WIDTH = 20
_DIGEST_CHARACTERS = 15


def format_trail(events: Iterable[StoredEvent], *, color: bool = False) -> str:
    """Return a table of records: a heading for each stream, then time (UTC), number, request, what happened.

    Without control characters unless ``color``: what a request brought along (its name, its context)
    cannot steer a terminal. Empty for no records.
    """
    lines: list[str] = []
    stream = ""
    for stored in events:
        if stored.stream != stream:
            stream = stored.stream
            lines.append(_paint(f"stream {_plain(stream)}", _GREY, color))
        lines.append(_line(stored, color))
    return "\n".join(lines)


def _line(stored: StoredEvent, color: bool) -> str:
    event = stored.event
    label, details = _describe(event)
    row = _row(event)
    place = f"{_clock(event.time_ns)} {stored.seq:>7} {row:<{_ROW_WIDTH}}"
    mark = "" if stored.intact else _paint("  CHAIN BROKEN: changed, here or just before", _RED, color)
    label = _paint(f"{label:<{_LABEL_WIDTH}}", _COLORS.get(type(event), ""), color)
    return f"{_paint(place, _GREY, color)} {label} {_plain(details)}".rstrip() + mark


def _row(event: Record) -> str:
    """Return a row's request, and its number where a request was expanded into several."""
    request, sequence = getattr(event, "request", ""), getattr(event, "sequence", 0)
    number = f"/{sequence}" if sequence else ""
    room = _ROW_WIDTH - len(number)
    name = _plain(request)
    return (name if len(name) <= room else f"{name[: room - 3]}...") + number


def _describe(event: Record) -> tuple[str, str]:
    match event:
        case ActivationBegan() | ActivationEnded():
            return _describe_activation(event)
        case Attached() | Detached() | SegmentBegan() | RecordsDropped() | StreamClosed():
            return _describe_frame(event)
        case RequestStarted(context=context, policy_digest=policy, prompt_tokens=tokens):
            extra = f", {_pairs(context)}" if context else ""
            return "start", f"{tokens} prompt tokens, policy {_short(policy)}{extra}"
        case FlagChanged(step=step, flag=flag, up=up, score=score):
            return "flag", f"{flag} {'up' if up else 'down'} at step {step}, score {_score(score)}"
        case RuleFired(step=step, rule=rule, scores=scores):
            return "rule", f"{rule} fired at step {step}{_scores(scores)}"
        case RuleReleased(step=step, rule=rule, scores=scores):
            return "rule", f"{rule} released at step {step}{_scores(scores)}"
        case RowHalted(step=step, rule=rule, position=position):
            return "halt", f"by {rule} at step {step}, fallback from position {position}"
        case ClassifierFailed(step=step, classifier=classifier, error=error):
            return "error", f"classifier {classifier} at step {step}: {error}"
        case RequestFailed(error=error):
            return "error", f"generation failed: {error}"
        case RequestEnded(generated_tokens=generated, steered_tokens=steered, reason=reason):
            return "end", f"{generated} tokens, {steered} steered, {reason}"


def _describe_activation(event: ActivationBegan | ActivationEnded) -> tuple[str, str]:
    if isinstance(event, ActivationEnded):
        span = f"positions {event.first} to {event.last}, {event.tokens} tokens"
        return "steer end", f"{event.vector} for {event.rule}: {span}, strength {event.applied:g}"
    strength = f"strength {event.applied:g}"
    if event.requested != event.applied:
        strength += f" ({event.requested:g} requested)"
    blocks = ("block " if len(event.blocks) == 1 else "blocks ") + " ".join(map(str, event.blocks))
    what = f"{event.operator} {event.vector} {_short(event.vector_digest)} for {event.rule}"
    return "steer", f"{what} from position {event.position}, {blocks}, {strength}{_scores(event.scores)}"


def _describe_frame(
    event: Attached | Detached | SegmentBegan | RecordsDropped | StreamClosed,
) -> tuple[str, str]:
    match event:
        case Attached(guard=guard, policy=policy, policy_digest=digest):
            return "attach", f"guard {guard}, policy {policy} {_short(digest)}"
        case Detached(guard=guard):
            return "detach", f"guard {guard}"
        case SegmentBegan(number=number, library=library):
            return "segment", f"number {number}, guardsteer {library}"
        case RecordsDropped(count=count, reason=reason):
            return "lost", f"{count} events: {reason}"
        case StreamClosed(dropped=dropped):
            return "close", f"{dropped} events lost" if dropped else ""


def _clock(time_ns: int) -> str:
    try:
        return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S") + (
            f".{time_ns // 1_000_000 % 1000:03d}"
        )
    except (OverflowError, ValueError, OSError):
        # A forged time is shown as it stands.
        return f"{time_ns:>23}"


def _score(score: float | None) -> str:
    return "missing" if score is None else f"{score:.3g}"


def _scores(scores: Mapping[str, float | None]) -> str:
    if not scores:
        return ""
    return ", " + ", ".join(f"{name} {_score(score)}" for name, score in scores.items())


def _pairs(values: Mapping[str, str | int | float | bool]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def _short(digest: str) -> str:
    return digest if len(digest) <= _DIGEST_CHARACTERS else digest[:_DIGEST_CHARACTERS] + "..."


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _paint(text: str, color: str, on: bool) -> str:
    return f"{color}{text}{_RESET}" if on and color else text
