"""Checks one stream line by line: layout, numbering, hashes, tree, segment headers, keys, clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from guardsteer.audit.chain import (
    FORMAT_VERSION,
    ZERO_HASH,
    link,
    segment_name,
    sequence_number,
    split_line,
)
from guardsteer.audit.clock import Clock
from guardsteer.audit.files import read_lines
from guardsteer.audit.findings import FindingKind, Findings, Note
from guardsteer.audit.keyring import Keyring
from guardsteer.audit.merkle import Range, leaf_hash
from guardsteer.audit.records import (
    Record,
    RecordsDropped,
    SegmentBegan,
    StreamClosed,
    decode_record,
    unknown_kind,
)
from guardsteer.audit.text.side_file import problem_of
from guardsteer.core.events import TextKept

__all__ = ["SegmentReport", "StreamCheck", "decode"]

_HASH_BYTES = len(ZERO_HASH)
_AFTER_HASH_BYTES = len(b'"}\n')
_WRITERS_OWN = (SegmentBegan, RecordsDropped, StreamClosed)
_TRAILER_BYTES = len(b',"hash":"') + _HASH_BYTES + _AFTER_HASH_BYTES


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """A segment without a finding, checked on the word of its own header for what came before.

    ``trees`` holds the lines up to each wanted number, ``tree`` all of them; each begins at the segment.
    """

    number: int
    header: SegmentBegan
    tree: Range
    trees: dict[int, Range]
    hash: bytes
    records: int
    closed: bool
    clock: Clock
    unknown: int
    notes: tuple[Note, ...]


class StreamCheck:
    """Reads a stream's segments in order; memory does not grow with their size.

    ``wanted`` are numbers of lines (counted from 1) whose roots are to be kept in ``roots``. ``keyring``
    judges the keys; without one they are not looked at. After a damaged line the check goes on, so one
    change gives few findings, at its place; ``damaged`` says that the tree is no evidence any more.
    """

    def __init__(
        self, stream: str, findings: Findings, wanted: Iterable[int] = (), keyring: Keyring | None = None
    ) -> None:
        self.stream = stream
        self.roots: dict[int, bytes] = {}
        self.lines = 0
        self.records = 0
        self.segments = 0
        self.closed = False
        self.damaged = False
        self.digest_key = ""
        self._findings = findings
        self._keyring = keyring
        self._wanted = frozenset(wanted)
        # The hash that the next line may build on: more than one right after a damaged line.
        self._previous: tuple[bytes, ...] = (ZERO_HASH,)
        self._sure = True
        self._unknown = 0
        self._tree = Range()
        self._trees: dict[int, Range] = {}
        self._clock = Clock()
        self._directory = Path()

    def start_at(self, lines: int, previous: bytes) -> None:
        """Take what came before for given: ``lines`` lines, the last with the hash ``previous``."""
        self.lines, self._previous, self._tree = lines, (previous,), Range(lines)

    def read_segments(
        self,
        directory: Path,
        numbers: tuple[int, ...],
        reports: Mapping[int, SegmentReport] | None = None,
        first: int = 1,
    ) -> Self:
        """Check the segments that are there, in order; those with a report that fits are not read again.

        Raises ``AuditError`` when one cannot be read.
        """
        self._directory = directory
        expected = first
        if first == 1:
            self._keep_root()
        for number in numbers:
            file = segment_name(self.stream, number)
            if number != expected:
                gone = _span("segment", expected, number - 1)
                self._add(file, 0, "missing", f"{gone} before this one: gone")
            report = (reports or {}).get(number)
            joined = number == expected
            if report is None or not (joined and self._adopt(file, report)):
                self._read_segment(directory, file, number, joined=joined, last=number == numbers[-1])
            expected = number + 1
            self.segments += 1
        return self

    def report(self, number: int, header: SegmentBegan, notes: tuple[Note, ...]) -> SegmentReport:
        """Return what the one segment that was read adds to its stream."""
        return SegmentReport(
            number,
            header,
            self._tree,
            self._trees,
            self._previous[0],
            self.records,
            self.closed,
            self._clock,
            self._unknown,
            notes,
        )

    def _adopt(self, file: str, report: SegmentReport) -> bool:
        """Take over a segment that was checked apart; false unless it follows what was read so far."""
        header = report.header
        follows = self._sure and not self.closed and header.previous.encode() == self._previous[0]
        if not follows or self.damaged or report.tree.begin != self.lines:
            return False
        if not self._clock.joins(report.clock):
            return False
        self._judge_keys(file, header, self.lines, self._tree)
        for lines, part in report.trees.items():
            tree = self._tree.copy()
            tree.join(part)
            self.roots[lines] = tree.root()
        self._tree.join(report.tree)
        self.lines = self._tree.end
        self.records += report.records
        self._previous = (report.hash,)
        self.closed = report.closed
        self.digest_key = self.digest_key or header.digest_key
        for note in report.notes:
            if note.kind != "unknown" or not self._unknown:
                self._findings.note(note.file, note.line, note.kind, note.message)
        self._unknown += report.unknown
        return True

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
                self._add(file, 0, "layout", "empty, although a later segment exists")

    def _torn(self, file: str, at: int, *, last: bool) -> None:
        if self.closed:
            self._add(file, at, "closed", "bytes after the closing record")
        elif last:
            self._findings.note(
                file, at, "torn", "unfinished last line: never committed, the process ended here"
            )
        else:
            self._add(file, at, "layout", "unfinished line, although a later segment exists")

    def _first_line(self, file: str, line: bytes, number: int, *, joined: bool) -> None:
        record = decode(line)
        if not isinstance(record, SegmentBegan):
            if self._line(file, 1, line):
                self._add(file, 1, "header", "a segment must begin with a segment_began record")
            return
        if (record.stream, record.number) != (self.stream, number):
            message = f"it says that it is segment {record.number} of {record.stream}: moved here, or changed"
            self._add(file, 1, "foreign", message)
            joined = False
        if not joined:
            # What came before is gone: take the header's word for it, to check the rest of the segment.
            self._previous = (record.previous.encode(),)
            self._sure = False
        before, lines = self._tree.copy(), self.lines
        intact = self._line(file, 1, line, header=True)
        if intact and record.format != FORMAT_VERSION:
            message = f"format {record.format}, this version reads {FORMAT_VERSION}"
            self._add(file, 1, "header", message)
        self._judge_keys(file, record, lines, before)
        self.digest_key = self.digest_key or record.digest_key

    def _judge_keys(self, file: str, header: SegmentBegan, lines: int, before: Range) -> None:
        if self._keyring is None:
            return
        problem = self._keyring.admit(header, lines, None if self.damaged else before.root())
        if problem and not self.damaged:
            self._add(file, 1, "signature", problem)

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
            self._add(file, at, "closed", "a line after the closing record")
        # A damaged line's own hash may be what was changed: the next line may build on either.
        self._previous = (stated,) if intact else (stated, computed[0])
        self._sure = intact
        self.lines = self.lines + 1 if seq is None else seq + 1
        if not self.damaged:
            self._tree.append(leaf_hash(line[:-1]))
            self._keep_root()
        if intact:
            self._intact(file, at, line, header=header)
        return intact

    def _keep_root(self) -> None:
        if self.lines in self._wanted:
            # A stream that adopts this segment needs the tree, in the first segment too.
            self._trees[self.lines] = self._tree.copy()
            if not self._tree.begin:
                self.roots[self.lines] = self._tree.root()

    def _report(self, file: str, at: int, seq: int | None, *, layout: bool, fits: bool) -> None:
        expected = self.lines
        if not layout:
            self._add(file, at, "layout", "not a line of the log: its layout was changed")
        elif seq is not None and seq > expected and self._sure:
            gone = _span("line", expected, seq - 1)
            self._add(file, at, "missing", f"numbered {seq}, expected {expected}: {gone} gone")
        elif seq is not None and seq < expected and self._sure:
            self._add(file, at, "order", f"numbered {seq}, expected {expected}: moved or repeated")
        elif not fits:
            self._add(file, at, "changed", "its hash does not fit: changed, here or just before")
        else:
            self._add(file, at, "order", f"it states no number, expected {expected}")

    def _intact(self, file: str, at: int, line: bytes, *, header: bool) -> None:
        record = decode(line)
        if record is not None:
            take = self._clock.stamp if isinstance(record, _WRITERS_OWN) else self._clock.event
            if back_s := take(record.time_ns):
                message = f"its time lies {back_s:.1f} s before that of an earlier line"
                self._add(file, at, "clock", message)
        if header:
            return
        self.records += 1
        if isinstance(record, StreamClosed):
            self.closed = True
        elif isinstance(record, TextKept):
            if problem := problem_of(self._directory, record):
                self._add(file, at, "text", problem)
        elif isinstance(record, RecordsDropped):
            message = f"the writer lost {record.count} events here: {record.reason}"
            self._findings.note(file, at, "dropped", message)
        elif isinstance(record, SegmentBegan):
            self._add(file, at, "header", "a segment_began record inside a segment")
        elif record is None:
            self._unknown += 1
            if self._unknown == 1:
                kind = unknown_kind(line)
                what = f"of a kind that this version does not know, {kind}" if kind else "no record"
                message = f"this and perhaps more: intact, but {what}"
                self._findings.note(file, at, "unknown", message)

    def _add(self, file: str, at: int, kind: FindingKind, message: str) -> None:
        self.damaged = self.damaged or kind not in ("clock", "text")
        self._findings.add(file, at, kind, message)


def _span(what: str, first: int, last: int) -> str:
    return f"{what} {first}" if first == last else f"{what}s {first} to {last}"


def decode(line: bytes) -> Record | None:
    """Return a line's record, or None where it is none that this version knows."""
    try:
        return decode_record(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
