"""Checks segments in processes of their own, on the word of their headers for what came before.

It only saves time: a segment that has a finding, or does not follow what was read before it, is read again
within its stream, which alone can say what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from guardsteer.audit.chain import segment_name, sequence_number, split_line
from guardsteer.audit.check import SegmentReport, StreamCheck, decode
from guardsteer.audit.files import read_lines
from guardsteer.audit.findings import Findings
from guardsteer.audit.records import SegmentBegan

__all__ = ["check_apart", "check_segment"]


def check_apart(
    directory: Path, tasks: Sequence[tuple[str, int, frozenset[int]]], processes: int
) -> dict[tuple[str, int], SegmentReport]:
    """Return a report for each segment (stream, number, wanted lines) that one can be given of.

    Raises ``AuditError`` when a segment cannot be read.
    """
    with ProcessPoolExecutor(max(1, min(processes, len(tasks))), mp_context=get_context("spawn")) as pool:
        futures = {
            (stream, number): pool.submit(check_segment, directory, stream, number, wanted)
            for stream, number, wanted in tasks
        }
        found = {place: future.result() for place, future in futures.items()}
    return {place: report for place, report in found.items() if report is not None}


def check_segment(directory: Path, stream: str, number: int, wanted: frozenset[int]) -> SegmentReport | None:
    """Check one segment apart from its stream; None where only the whole stream can say what is wrong.

    Raises ``AuditError`` when it cannot be read.
    """
    findings = Findings()
    check = StreamCheck(stream, findings, wanted)
    path = directory / segment_name(stream, number)
    line = next(iter(read_lines(path)), b"")
    header, parts = decode(line), split_line(line)
    first = sequence_number(parts[0]) if parts else None
    if not isinstance(header, SegmentBegan) or first is None:
        return None
    check.start_at(first, header.previous.encode())
    check.read_segments(directory, (number,), first=number)
    found, notes = findings.results()
    unfinished = any(note.kind in ("torn", "unborn") for note in notes)
    return None if found or unfinished else check.report(number, header, notes)
