"""A trail as text for people: one line for each record."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from guardsteer.audit.records import Record, RecordsDropped, StoredEvent
from guardsteer.audit.wording import describe
from guardsteer.core.events import (
    ActivationBegan,
    ActivationEnded,
    ClassifierFailed,
    ClassifierLate,
    ClassifierTripped,
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
    RowRevised: _RED,
    PolicyAdopted: _BLUE,
    PolicyRefused: _RED,
    Stopped: _RED,
    Resumed: _BLUE,
    ClassifierTripped: _RED,
    ClassifierLate: _RED,
    ClassifierFailed: _RED,
    RequestFailed: _RED,
    RecordsDropped: _RED,
    TextDropped: _RED,
    TextForgotten: _YELLOW,
}
_LABEL_WIDTH = 10
_ROW_WIDTH = 20


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
    label, details = describe(event)
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


def _clock(time_ns: int) -> str:
    try:
        return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S") + (
            f".{time_ns // 1_000_000 % 1000:03d}"
        )
    except (OverflowError, ValueError, OSError):
        # A forged time is shown as it stands.
        return f"{time_ns:>23}"


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _paint(text: str, color: str, on: bool) -> str:
    return f"{color}{text}{_RESET}" if on and color else text
