"""Lines of a stream from any place on: each checked against the one before, and told whose row it is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from guardsteer.audit.chain import ZERO_HASH, link, segment_name, sequence_number, split_line
from guardsteer.audit.files import read_lines
from guardsteer.audit.merkle import Range, leaf_hash

__all__ = ["Batch", "OpenRow", "Place", "StreamLines"]

# Candidates tell the end of their rows after the row itself has ended.
_ENDED_ROWS = 256
_MOST_LINES = 2**62
_BATCH_BYTES = 16 * 2**20
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class OpenRow(msgspec.Struct, frozen=True, array_like=True):
    """A row that was admitted: its request, the line that says so, and on whose behalf."""

    request: str
    sequence: int
    row_start: int
    tenant: str
    principal: str


class Place(msgspec.Struct, frozen=True):
    """Where to read on in a stream: after ``lines`` lines, the last with ``hash`` ("": not known).

    ``rows`` are open, ``ended`` are those that ended last.
    """

    lines: int = 0
    hash: str = ZERO_HASH.decode()
    segment: int = 0
    offset_bytes: int = 0
    damaged: int = 0
    altered: int = 0
    closed: bool = False
    rows: tuple[OpenRow, ...] = ()
    ended: tuple[OpenRow, ...] = ()


class _Head(msgspec.Struct):
    """What must be known of a record to place it."""

    kind: str
    time_ns: _Int64
    request: str | None = None
    sequence: _Int32 = 0
    track: str = ""
    tenant: str = ""
    principal: str = ""
    context: dict[str, Any] = {}


@dataclass(slots=True)
class Batch:
    """Columns of lines that follow each other; names as in the wide table."""

    seq: list[int] = field(default_factory=list)
    segment: list[int] = field(default_factory=list)
    intact: list[bool] = field(default_factory=list)
    hash: list[bytes] = field(default_factory=list)
    time_ns: list[int] = field(default_factory=list)
    request: list[str | None] = field(default_factory=list)
    row_start: list[int | None] = field(default_factory=list)
    tenant: list[str | None] = field(default_factory=list)
    principal: list[str | None] = field(default_factory=list)
    body: list[str] = field(default_factory=list)


class StreamLines:
    """Reads a stream's lines from ``place`` up to ``limit`` lines (None: all whole ones), batch by batch.

    A line that is no record is left out and counted in ``place.damaged``; one whose hash does not fit to
    the line before, in ``place.altered``. ``tree``, where given, takes up
    every line and must begin where ``place`` does. Memory: one batch, and the rows that are open.
    """

    def __init__(
        self,
        directory: Path,
        stream: str,
        numbers: Sequence[int],
        place: Place,
        *,
        limit: int | None = None,
        tree: Range | None = None,
    ) -> None:
        self._directory = directory
        self._stream = stream
        self._numbers = numbers
        self._limit = limit
        self._tree = tree
        self._decode = msgspec.json.Decoder(_Head).decode
        self._lines, self._closed = place.lines, place.closed
        self._damaged, self._altered = place.damaged, place.altered
        self._hash = place.hash.encode() or None
        self._jumped = False
        self._segment, self._offset = place.segment, place.offset_bytes
        self._rows = {(row.request, row.sequence): row for row in place.rows}
        self._ended = OrderedDict(((row.request, row.sequence), row) for row in place.ended)

    @property
    def place(self) -> Place:
        """Where the next line begins."""
        return Place(
            self._lines,
            "" if self._hash is None else self._hash.decode(),
            self._segment,
            self._offset,
            self._damaged,
            self._altered,
            self._closed,
            tuple(self._rows.values()),
            () if self._closed else tuple(self._ended.values()),
        )

    def batches(self, size: int) -> Iterator[tuple[Batch, Place]]:
        """Yield batches of up to ``size`` lines, or 16 MiB, each with the place behind it.

        Raises ``AuditError`` when a file cannot be read.
        """
        batch, room = Batch(), _BATCH_BYTES
        for number in self._numbers:
            if number < self._segment or (self._limit is not None and self._lines >= self._limit):
                continue
            if number > self._segment:
                if number > self._segment + 1:
                    self._hash, self._jumped = None, True
                self._segment, self._offset = number, 0
            for line in read_lines(self._directory / segment_name(self._stream, number), self._offset):
                if not line.endswith(b"\n") or (self._limit is not None and self._lines >= self._limit):
                    break
                self._take(line, batch)
                room -= len(line)
                if batch.seq and (len(batch.seq) == size or room <= 0):
                    yield batch, self.place
                    batch, room = Batch(), _BATCH_BYTES
        if batch.seq:
            yield batch, self.place

    def _take(self, line: bytes, batch: Batch) -> None:
        parts = split_line(line)
        seq = sequence_number(parts[0]) if parts else None
        self._offset += len(line)
        if self._tree is not None:
            self._tree.append(leaf_hash(line[:-1]))
        if parts is None or seq is None or seq > _MOST_LINES:
            # What the next line builds on is not known any more.
            self._hash = None
            self._damaged += 1
            self._lines += 1
            return
        payload, stated = parts
        intact = self._hash is None or link(self._hash, payload) == stated
        self._altered += not intact
        # What an altered line says of its number may be what was altered.
        sure = self._jumped or (self._hash is not None and intact)
        self._lines = seq + 1 if sure else self._lines + 1
        self._jumped = False
        self._hash = stated if stated.isalnum() else None
        body = b"{" + payload[payload.find(b",") + 1 :] + b"}"
        try:
            head = self._decode(body)
            text = body.decode()
            digest = bytes.fromhex(stated.decode())
        except (msgspec.MsgspecError, ValueError, RecursionError):
            self._damaged += 1
            return
        batch.seq.append(seq)
        batch.segment.append(self._segment)
        batch.intact.append(intact)
        batch.hash.append(digest)
        batch.time_ns.append(head.time_ns)
        batch.body.append(text)
        row = None if head.request is None else self._row(head, seq)
        batch.request.append(head.request)
        batch.row_start.append(row.row_start if row else None)
        batch.tenant.append(row.tenant if row else None)
        batch.principal.append(row.principal if row else None)
        self._closed = head.kind == "stream_closed"

    def _row(self, head: _Head, seq: int) -> OpenRow | None:
        key = (head.request or "", head.sequence)
        if head.track:
            return self._rows.get(key) or self._ended.get(key)
        if head.kind == "request_started":
            # Logs of the first schema have the tenant in the context alone.
            tenant = head.tenant or str(head.context.get("tenant", ""))
            self._rows[key] = OpenRow(*key, seq, tenant, head.principal)
        elif head.kind in ("request_ended", "request_failed") and key in self._rows:
            self._ended[key] = self._rows.pop(key)
            self._ended.move_to_end(key)
            if len(self._ended) > _ENDED_ROWS:
                self._ended.popitem(last=False)
        return self._rows.get(key) or self._ended.get(key)
