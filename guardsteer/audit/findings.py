"""What verification says: findings (evidence was changed) and notes (nothing wrong, worth knowing)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Finding", "FindingKind", "Findings", "Note", "NoteKind", "StreamSummary", "Verification"]

FindingKind: TypeAlias = Literal[
    "anchor",
    "changed",
    "checkpoint",
    "clock",
    "closed",
    "cut",
    "foreign",
    "header",
    "layout",
    "missing",
    "more",
    "order",
    "signature",
    "text",
]
"""``anchor``: the log does not hold what an anchor says. ``changed``: a line's hash does not fit.
``checkpoint``: it is missing, damaged, not signed by the segment's key or contradicts the lines.
``clock``: a line's time lies before that of an earlier line. ``closed``: lines after the closing record.
``cut``: the end is missing. ``foreign``: a segment from elsewhere. ``header``: a segment does not begin as
it must. ``layout``: not a line of the log. ``missing``: lines or segments are gone. ``more``: further
findings in a file that has very many. ``order``: lines out of order. ``signature``: nobody, or the wrong
key, vouches for a segment's key, or for the lines before it. ``text``: an encrypted text is not what a
record says was written; the log itself may be whole.
"""

NoteKind: TypeAlias = Literal[
    "dropped", "key", "open", "other_file", "torn", "unborn", "uncommitted", "unknown"
]
"""``dropped``: the writer itself says that events were lost. ``key``: the directory's digest key is not
the one that a stream used. ``open``: no closing record (the process runs, or was killed).
``other_file``: not part of the log. ``torn``: an unfinished last line that was never committed.
``unborn``: a process died before its first line. ``uncommitted``: lines that no checkpoint covers, since
the process is writing them or was killed before they counted. ``unknown``: a record of another version.
"""

_MOST_PER_FILE = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One sign that the log is not what was written; ``line`` counts from 1, 0: the file as a whole."""

    file: str
    line: int
    kind: FindingKind
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know about an intact log; ``line`` counts from 1, 0: the file as a whole."""

    file: str
    line: int
    kind: NoteKind
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """One stream as found: intact ``records`` (segment headers left out) among all its ``lines``.

    ``checkpoint`` is its latest checkpoint as text, empty where there is none that holds; keep it
    elsewhere as an anchor. ``vouched_by`` is the trusted key (64 hexadecimal digits) that vouches for the
    stream, if one was asked for.
    """

    name: str
    segments: int
    records: int
    lines: int
    checkpoint: str
    closed: bool
    vouched_by: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of ``verify``; ``ok`` is true when there is no finding."""

    directory: str
    streams: tuple[StreamSummary, ...]
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...]

    @property
    def ok(self) -> bool:
        """True when nothing shows that evidence was changed."""
        return not self.findings

    @property
    def first(self) -> Finding | None:
        """The first finding in the order of streams, files and lines, or None."""
        return min(self.findings, key=lambda finding: (finding.file, finding.line), default=None)

    @property
    def records(self) -> int:
        """How many intact records all streams hold."""
        return sum(stream.records for stream in self.streams)

    @property
    def segments(self) -> int:
        """How many segments all streams hold."""
        return sum(stream.segments for stream in self.streams)


class Findings:
    """Collects findings and notes; of a file with very many findings the first 100 and a count."""

    __slots__ = ("_counts", "_findings", "_notes")

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self._notes: list[Note] = []
        self._counts: Counter[str] = Counter()

    def add(self, file: str, line: int, kind: FindingKind, message: str) -> None:
        """Report a sign of change."""
        self._counts[file] += 1
        if self._counts[file] <= _MOST_PER_FILE:
            self._findings.append(Finding(file, line, kind, message))

    def note(self, file: str, line: int, kind: NoteKind, message: str) -> None:
        """Report something that is no sign of change."""
        self._notes.append(Note(file, line, kind, message))

    def results(self) -> tuple[tuple[Finding, ...], tuple[Note, ...]]:
        """Return all findings and notes, in the order in which they were made."""
        more = [
            Finding(file, 0, "more", f"{count - _MOST_PER_FILE} more findings in this file")
            for file, count in self._counts.items()
            if count > _MOST_PER_FILE
        ]
        return (*self._findings, *more), tuple(self._notes)
