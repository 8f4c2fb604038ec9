"""Verification: does the log still say what was written?"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from guardsteer.audit.chain import Head, decode_head, head_name, parse_anchor
from guardsteer.audit.check import StreamCheck
from guardsteer.audit.files import Listing, list_log
from guardsteer.audit.findings import Findings, Verification
from guardsteer.audit.keys import KEY_FILE_NAME, MIN_KEY_BYTES, key_name
from guardsteer.errors import AuditError

__all__ = ["verify"]


def verify(directory: str | os.PathLike[str], anchors: Iterable[str] = ()) -> Verification:
    """Check a log's directory; a finding is a sign that evidence was changed or taken away.

    1. List the directory; what belongs to no stream is noted.
    2. Read each stream's head, before its segments, so that a log that is being written has no
       finding. A missing head, or one with any byte changed, is a finding.
    3. List again; a stream's segments are numbered from 1 without a hole.
    4. A segment's first line states the segment's own name, and the hash of the line before it.
    5. Every line has the layout of a line, the next number and the hash that fits to the line before.
    6. An unfinished last line is noted when it lies beyond the head (it was never committed); so is a
       stream without a closing record. Nothing may follow a closing record.
    7. The chain reaches the head, and has the hash that the head states there: else its end was cut.
    8. Each anchor (``stream:lines:hash``, a head that was kept elsewhere) is in the chain.

    Reads line by line; memory does not grow with the log. Without an anchor it cannot be proven
    that a whole stream was deleted, or that someone with write access rebuilt a chain and its head.
    Raises ``AuditError`` when there is no log, a file cannot be read or an anchor is not one.
    """
    path = Path(directory)
    wanted = _parse_anchors(anchors)
    findings = Findings()
    first = list_log(path)
    heads = {stream: _read_head(path, stream) for stream in first.streams}
    listing = list_log(path)
    if not first.streams and not wanted:
        raise AuditError(f"{path}: there is no audit log here; name the directory that the guard was given")
    checks = [
        _verify_stream(
            path, stream, listing.streams.get(stream, ()), heads[stream], wanted.get(stream, ()), findings
        )
        for stream in first.streams
    ]
    for stream in wanted.keys() - first.streams.keys():
        findings.add(head_name(stream), 0, "anchor", "an anchor names this stream, and nothing of it is here")
    _note_others(path, listing, checks, findings)
    found, notes = findings.results()
    return Verification(str(path), tuple(check.summary() for check in checks), found, notes)


def _parse_anchors(anchors: Iterable[str]) -> dict[str, tuple[Head, ...]]:
    parsed: dict[str, tuple[Head, ...]] = {}
    for text in anchors:
        anchor = parse_anchor(text)
        if anchor is None:
            raise AuditError(f"{text!r} is not an anchor, expected stream:lines:hash as verify gives it")
        parsed[anchor.stream] = (*parsed.get(anchor.stream, ()), anchor)
    return parsed


def _read_head(directory: Path, stream: str) -> bytes | None:
    path = directory / head_name(stream)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AuditError(f"{path}: the audit log cannot be read: {error.strerror}") from error


def _verify_stream(
    directory: Path,
    stream: str,
    numbers: tuple[int, ...],
    head_data: bytes | None,
    anchors: tuple[Head, ...],
    findings: Findings,
) -> StreamCheck:
    head = decode_head(head_data) if head_data is not None else None
    if head is not None and head.stream != stream:
        head = None
    check = StreamCheck(stream, findings, (known.lines for known in (*anchors, *([head] if head else ()))))
    check.read_segments(directory, numbers)
    file = head_name(stream)
    if head is not None:
        _compare_head(check, head, file, findings)
    elif head_data is None:
        findings.add(file, 0, "head", "the head is gone: whether the stream's end was cut cannot be told")
    elif head_data or numbers:
        findings.add(file, 1, "head", "the head was changed: whether the stream's end was cut cannot be told")
    if not numbers and (head is None or not head.lines):
        findings.note(file, 0, "unborn", "no segment: the process ended before its first line")
    elif numbers and not check.closed:
        findings.note(file, 0, "open", "no closing record: the process is running, or it was killed")
    for anchor in anchors:
        if anchor.lines and check.hashes.get(anchor.lines) != anchor.hash:
            findings.add(file, 0, "anchor", f"line {anchor.lines} is not the one of anchor {anchor}")
    return check


def _compare_head(check: StreamCheck, head: Head, file: str, findings: Findings) -> None:
    if head.lines > check.lines:
        gone = head.lines - check.lines
        findings.add(file, 0, "cut", f"{head.lines} lines were committed, {gone} are missing at the end")
    elif head.lines and check.hashes.get(head.lines) != head.hash:
        findings.add(file, 0, "head", f"line {head.lines} has not the hash that the head states")


def _note_others(directory: Path, listing: Listing, checks: list[StreamCheck], findings: Findings) -> None:
    for name in listing.others:
        if name != KEY_FILE_NAME:
            findings.note(name, 0, "other_file", "not part of the log")
    if KEY_FILE_NAME not in listing.others:
        return
    try:
        key = (directory / KEY_FILE_NAME).read_bytes().strip()
    except OSError:
        return
    here = key_name(key) if len(key) >= MIN_KEY_BYTES else ""
    for check in checks:
        if check.digest_key and check.digest_key != here:
            message = f"not the key of {check.stream}, which used key {check.digest_key}"
            findings.note(KEY_FILE_NAME, 0, "key", message)
