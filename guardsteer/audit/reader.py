"""Reading the log: typed records, one after the other, damaged lines left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from guardsteer.audit.chain import ZERO_HASH, link, segment_name, sequence_number, split_line
from guardsteer.audit.files import list_log, read_lines
from guardsteer.audit.records import StoredEvent, decode_record, unknown_kind

__all__ = ["read", "trail"]


def read(
    directory: str | os.PathLike[str],
    request: str | None = None,
    *,
    on_damage: Callable[[str, int], None] | None = None,
    on_unknown: Callable[[str, int, str], None] | None = None,
) -> Iterator[StoredEvent]:
    """Yield the log's records, stream by stream in the order of their start, each in its own order.

    With ``request``, that request's alone. A line that is no record is left out and, where given,
    ``on_damage(file, line)`` is told; one of a kind that only a newer version knows is left out too, and
    ``on_unknown(file, line, kind)`` told. A record whose hash does not fit to the readable line before it
    has ``intact`` false; only ``verify`` says what is wrong. Raises ``AuditError`` when a file cannot be
    read.
    """
    path = Path(directory)
    needle = b"" if request is None else b'"request":%b' % msgspec.json.encode(request)
    for stream, numbers in list_log(path).streams.items():
        previous: bytes | None = ZERO_HASH
        for number in numbers:
            file = segment_name(stream, number)
            for at, line in enumerate(read_lines(path / file), start=1):
                parts = split_line(line)
                if parts is None:
                    # The unfinished last line of a stream is no damage: it was never committed.
                    if on_damage and (line.endswith(b"\n") or number != numbers[-1]):
                        on_damage(file, at)
                    # What the next line builds on is not known any more.
                    previous = None
                    continue
                payload, stated = parts
                if needle in payload:
                    intact = previous is None or link(previous, payload) == stated
                    stored = _decode(stream, payload, line, intact)
                    if stored is None:
                        kind = unknown_kind(line) if intact else ""
                        if kind and on_unknown:
                            on_unknown(file, at, kind)
                        if not kind and on_damage:
                            on_damage(file, at)
                    if stored is not None and (request is None or _request_of(stored) == request):
                        yield stored
                previous = stated


def trail(directory: str | os.PathLike[str], request: str) -> tuple[StoredEvent, ...]:
    """Return all records of a request in order; empty when there are none. Raises as ``read``."""
    return tuple(read(directory, request))


def _request_of(stored: StoredEvent) -> str | None:
    return getattr(stored.event, "request", None)


def _decode(stream: str, payload: bytes, line: bytes, intact: bool) -> StoredEvent | None:
    seq = sequence_number(payload)
    if seq is None:
        return None
    try:
        return StoredEvent(stream, seq, decode_record(line), intact)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
