"""Checks one stream line by line: layout, numbering, hashes, segment headers, closing record."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from guardsteer.audit.chain import (
    FORMAT_VERSION,
    ZERO_HASH,
    Head,
    link,
    segment_name,
    sequence_number,
    split_line,
)
from guardsteer.audit.files import read_lines
from guardsteer.audit.findings import Findings, StreamSummary
from guardsteer.audit.records import (
    Record,
    RecordsDropped,
    SegmentBegan,
    StreamClosed,
    decode_record,
)

__all__ = ["StreamCheck"]

_HASH_BYTES = len(ZERO_HASH)
_AFTER_HASH_BYTES = len(b'"}\n')
_TRAILER_BYTES = len(b',"hash":"') + _HASH_BYTES + _AFTER_HASH_BYTES


class StreamCheck:
    """Reads a stream's segments in order; memory does not grow with their size.

    ``wanted`` are numbers of lines (counted from 1) whose hashes are to be kept in ``hashes``.
    After a damaged line the check goes on, so one change gives few findings, at its place.
    """

    def __init__(self, stream: str, findings: Findings, wanted: Iterable[int] = ()) -> None:
        self.stream = stream
        self.hashes: dict[int, str] = {}
        self.lines = 0
        self.records = 0
        self.segments = 0
        self.closed = False
        self.digest_key = ""
        self._findings = findings
        self._wanted = frozenset(wanted)
        # The hash that the next line may build on: more than one right after a damaged line.
        self._previous: tuple[bytes, ...] = (ZERO_HASH,)
        self._sure = True
        self._unknown = 0

    def read_segments(self, directory: Path, numbers: tuple[int, ...]) -> None:
        """Check the segments that are there, in order; raises ``AuditError`` when one cannot be read."""
        expected = 1
        for number in numbers:
            file = segment_name(self.stream, number)
            if number != expected:
                gone = _span("segment", expected, number - 1)
                self._findings.add(file, 0, "missing", f"{gone} before this one: gone")
            self._read_segment(directory, file, number, joined=number == expected, last=number == numbers[-1])
            expected = number + 1
            self.segments += 1

    def summary(self) -> StreamSummary:
        """Return what was found; to be asked after the last segment."""
        head = Head(self.stream, self.lines, self._previous[0].decode("ascii", "replace"))
        return StreamSummary(self.stream, self.segments, self.records, head, self.closed)

    def _read_segment(self, directory: Path, file: str, number: int, *, joined: bool, last: bool) -> None:
        at = 0
        for at, line in enumerate(read_lines(directory / file), start=1):
            if not line.endswith(b"\n"):
                self._torn(file, at, last=last)
            elif at == 1:
                self._first_line(file, line, number, joined=joined)
            else:
                self._line(file, at, line)
        if at == 0:
            if last:
                self._findings.note(file, 0, "unborn", "empty: the process ended before its first line")
            else:
                self._findings.add(file, 0, "layout", "empty, although a later segment exists")

    def _torn(self, file: str, at: int, *, last: bool) -> None:
        if self.closed:
            self._findings.add(file, at, "closed", "bytes after the closing record")
        elif last:
            self._findings.note(
                file, at, "torn", "unfinished last line: never committed, the process ended here"
            )
        else:
            self._findings.add(file, at, "layout", "unfinished line, although a later segment exists")

    def _first_line(self, file: str, line: bytes, number: int, *, joined: bool) -> None:
        record = _decode(line)
        if not isinstance(record, SegmentBegan):
            if self._line(file, 1, line):
                self._findings.add(file, 1, "header", "a segment must begin with a segment_began record")
            return
        if (record.stream, record.number) != (self.stream, number):
            message = f"it says that it is segment {record.number} of {record.stream}: moved here, or changed"
            self._findings.add(file, 1, "foreign", message)
            joined = False
        if not joined:
            # What came before is gone: take the header's word for it, to check the rest of the segment.
            self._previous = (record.previous.encode(),)
            self._sure = False
        if self._line(file, 1, line, header=True) and record.format != FORMAT_VERSION:
            message = f"format {record.format}, this version reads {FORMAT_VERSION}"
            self._findings.add(file, 1, "header", message)
        self.digest_key = self.digest_key or record.digest_key

    def _line(self, file: str, at: int, line: bytes, *, header: bool = False) -> bool:
        """Check a complete line; true when it is intact."""
        parts = split_line(line)
        payload = line[:-_TRAILER_BYTES]
        stated = line[-_HASH_BYTES - _AFTER_HASH_BYTES : -_AFTER_HASH_BYTES]
        computed = [link(previous, payload) for previous in self._previous]
        fits = parts is not None and stated in computed
        seq = sequence_number(payload) if parts else None
        intact = fits and not (self._sure and seq != self.lines)
        if not intact:
            self._report(file, at, seq, layout=parts is not None, fits=fits)
        elif self.closed:
            self._findings.add(file, at, "closed", "a line after the closing record")
        # A damaged line's own hash may be what was changed: the next line may build on either.
        self._previous = (stated,) if intact else (stated, computed[0])
        self._sure = intact
        self.lines = self.lines + 1 if seq is None else seq + 1
        if self.lines in self._wanted:
            self.hashes[self.lines] = stated.decode("ascii", "replace")
        if intact and not header:
            self._intact(file, at, line)
        return intact

    def _report(self, file: str, at: int, seq: int | None, *, layout: bool, fits: bool) -> None:
        expected = self.lines
        if not layout:
            self._findings.add(file, at, "layout", "not a line of the log: its layout was changed")
        elif seq is not None and seq > expected and self._sure:
            gone = _span("line", expected, seq - 1)
            self._findings.add(file, at, "missing", f"numbered {seq}, expected {expected}: {gone} gone")
        elif seq is not None and seq < expected and self._sure:
            self._findings.add(file, at, "order", f"numbered {seq}, expected {expected}: moved or repeated")
        elif not fits:
            self._findings.add(file, at, "changed", "its hash does not fit: changed, here or just before")
        else:
            self._findings.add(file, at, "order", f"it states no number, expected {expected}")

    def _intact(self, file: str, at: int, line: bytes) -> None:
        self.records += 1
        record = _decode(line)
        if isinstance(record, StreamClosed):
            self.closed = True
        elif isinstance(record, RecordsDropped):
            message = f"the writer lost {record.count} events here: {record.reason}"
            self._findings.note(file, at, "dropped", message)
        elif isinstance(record, SegmentBegan):
            self._findings.add(file, at, "header", "a segment_began record inside a segment")
        elif record is None:
            self._unknown += 1
            if self._unknown == 1:
                message = "this and perhaps more: intact, but no record that this version knows"
                self._findings.note(file, at, "unknown", message)


def _span(what: str, first: int, last: int) -> str:
    return f"{what} {first}" if first == last else f"{what}s {first} to {last}"


def _decode(line: bytes) -> Record | None:
    try:
        return decode_record(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
