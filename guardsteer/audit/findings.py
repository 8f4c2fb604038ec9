"""What verification says: findings (evidence was changed) and notes (nothing wrong, worth knowing)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal, TypeAlias

from guardsteer.audit.chain import Head

__all__ = ["Finding", "FindingKind", "Findings", "Note", "NoteKind", "StreamSummary", "Verification"]

FindingKind: TypeAlias = Literal[
    "anchor", "changed", "closed", "cut", "foreign", "head", "header", "layout", "missing", "more", "order"
]
"""``anchor``: the log does not hold what an anchor says. ``changed``: a line's hash does not fit.
``closed``: lines after the closing record. ``cut``: the end is missing. ``foreign``: a segment from
elsewhere. ``head``: the head is missing, damaged or contradicts the chain. ``header``: a segment does
not begin as it must. ``layout``: not a line of the log. ``missing``: lines or segments are gone.
``more``: further findings in a file that has very many. ``order``: lines out of order.
"""

NoteKind: TypeAlias = Literal["dropped", "key", "open", "other_file", "torn", "unborn", "unknown"]
"""``dropped``: the writer itself says that events were lost. ``key``: the directory's digest key is not
the one that a stream used. ``open``: no closing record (the process runs, or was killed).
``other_file``: not part of the log. ``torn``: an unfinished last line that was never committed.
``unborn``: a process died before its first line. ``unknown``: a record of another version.
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
    """One stream as found: intact ``records`` (segment headers left out), and the head that it reaches."""

    name: str
    segments: int
    records: int
    head: Head
    closed: bool


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
