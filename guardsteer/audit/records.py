"""What the journal says about itself, and how a stored line turns back into a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, get_args

import msgspec

from guardsteer.core.events import Event

__all__ = [
    "SCHEMA_VERSION",
    "JournalRecord",
    "Record",
    "RecordsDropped",
    "SegmentBegan",
    "StoredEvent",
    "StreamClosed",
    "decode_record",
    "encode_record",
    "unknown_kind",
]

SCHEMA_VERSION = 2
"""Which records and fields this version writes. Raised with every addition; nothing is ever taken away."""


class _JournalRecord(msgspec.Struct, frozen=True, gc=False, tag_field="kind", kw_only=True):
    time_ns: int


class SegmentBegan(_JournalRecord, frozen=True, gc=False, tag="segment_began"):
    """First line of every segment.

    ``previous`` is the hash of the last line of the segment before, 64 zeros in the first one.
    ``digest_key`` names the key of the keyed digests; it is not the key. ``key`` is the public key
    (base64) that signs checkpoints while this segment is written. ``seal`` is the signed checkpoint that
    ends the segment before and names ``key``; in the first segment it is by the key that the journal was
    given, and empty where it was given none. ``format`` counts changes of how lines are chained and signed,
    ``schema`` additions to what records say.
    """

    format: int
    stream: str
    number: int
    previous: str
    digest_key: str
    library: str
    pid: int
    key: str
    seal: str
    schema: int = 1


class RecordsDropped(_JournalRecord, frozen=True, gc=False, tag="records_dropped"):
    """``count`` events between two times (UTC ns) are not in the log, and why."""

    count: int
    first_ns: int
    last_ns: int
    reason: str


class StreamClosed(_JournalRecord, frozen=True, gc=False, tag="stream_closed"):
    """Last line of a stream that was closed in order; ``dropped`` events never reached it."""

    dropped: int


JournalRecord: TypeAlias = SegmentBegan | RecordsDropped | StreamClosed
Record: TypeAlias = Event | JournalRecord


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One record as the log holds it: which stream, its number there, and what it says.

    ``intact`` is false when the line's hash does not fit to the line before it.
    """

    stream: str
    seq: int
    event: Record
    intact: bool = True


class _AnyKind(msgspec.Struct, frozen=True):
    kind: str


_KINDS = frozenset(each.__struct_config__.tag for each in get_args(Record))
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def encode_record(record: Record) -> bytes:
    """Return a record as one JSON object on one line.

    Raises ``TypeError`` or ``ValueError`` for a value that JSON cannot hold.
    """
    return _encoder.encode(record)


def decode_record(line: bytes) -> Record:
    """Return the record of a stored line; ``seq`` and ``hash`` are ignored.

    Raises ``msgspec.DecodeError`` when it is not a record that this version knows.
    """
    return _decoder.decode(line)


def unknown_kind(line: bytes) -> str:
    """Return the kind of a stored line that a newer version wrote; empty where this one knows it, or none is.

    What is known by its kind and cannot be decoded is damaged, not new.
    """
    try:
        kind = msgspec.json.decode(line, type=_AnyKind).kind
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    return "" if kind in _KINDS else kind
