"""Verification: does the log still say what was written?"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from guardsteer.audit.apart import check_apart
from guardsteer.audit.chain import checkpoint_name
from guardsteer.audit.check import SegmentReport, StreamCheck
from guardsteer.audit.checkpoint import SignedCheckpoint, parse_checkpoint, parse_checkpoints
from guardsteer.audit.files import Listing, list_log, read_checkpoint
from guardsteer.audit.findings import Findings, StreamSummary, Verification
from guardsteer.audit.keyring import Keyring
from guardsteer.audit.keys import KEY_FILE_NAME, MIN_KEY_BYTES, key_name
from guardsteer.audit.text.side_file import FOLDER as TEXT_FOLDER
from guardsteer.errors import AuditError

__all__ = ["verify"]


def verify(
    directory: str | os.PathLike[str],
    anchors: Iterable[str] = (),
    *,
    trusted: Sequence[bytes] | None = None,
    processes: int = 1,
) -> Verification:
    """Check a log's directory; a finding is a sign that evidence was changed or taken away.

    1. List the directory; what belongs to no stream is noted.
    2. Read each stream's checkpoint, before its segments, so that a log that is being written has no
       finding. A missing checkpoint, or one with any byte changed, is a finding.
    3. List again; a stream's segments are numbered from 1 without a hole.
    4. A segment's first line states the segment's own name, and the hash of the line before it.
    5. Its key was named by the seal of the segment before, which that segment's key signed, over these
       very lines; the first one's by a key of ``trusted`` (32 bytes each), unless that is None.
    6. Every line has the layout of a line, the next number and the hash that fits to the line before.
    7. No line's time lies more than a second before that of an earlier line.
    8. An unfinished last line is noted when it lies beyond the checkpoint (it was never committed); so
       is a stream without a closing record. Nothing may follow a closing record.
    9. The lines reach the checkpoint, else the end was cut; the root of their tree is the checkpoint's,
       and the key in use there signed it.
    10. The same goes for each anchor: checkpoints that were kept elsewhere, one or several in a text.
    11. Each encrypted text that a record tells of lies where it says, unchanged; whether its key is still
        there is no matter.

    Memory does not grow with the log. With ``processes`` above 1, segments are read in that many
    processes, which import the main module anew: guard it. Without anchors or ``trusted`` it cannot be
    proven that a whole stream was deleted, or made up. Raises ``AuditError`` when there is no log, a file
    cannot be read or an anchor is not one.
    """
    path = Path(directory)
    wanted = _parse_anchors(anchors)
    findings = Findings()
    first = list_log(path)
    found = {stream: read_checkpoint(path, stream) for stream in first.streams}
    listing = list_log(path)
    if not first.streams and not wanted:
        raise AuditError(f"{path}: there is no audit log here; name the directory that the guard was given")
    streams = [
        _Stream(stream, listing.streams.get(stream, ()), found[stream], wanted.get(stream, ()))
        for stream in first.streams
    ]
    tasks = [(stream.name, number, stream.wanted) for stream in streams for number in stream.numbers]
    reports = check_apart(path, tasks, processes) if processes > 1 else {}
    summaries = [stream.verify(path, findings, trusted, reports) for stream in streams]
    for name in wanted.keys() - first.streams.keys():
        findings.add(checkpoint_name(name), 0, "anchor", "an anchor names this stream, and nothing is here")
    _note_others(path, listing, streams, findings)
    found_all, notes = findings.results()
    return Verification(str(path), tuple(summaries), found_all, notes)


class _Stream:
    """One stream while it is verified: what its checkpoint and the anchors say it must be."""

    def __init__(
        self, name: str, numbers: tuple[int, ...], data: bytes | None, anchors: tuple[SignedCheckpoint, ...]
    ) -> None:
        self.name = name
        self.numbers = numbers
        self.digest_key = ""
        self._data = data
        self._anchors = anchors
        self._file = checkpoint_name(name)
        known = parse_checkpoint(data) if data else None
        own = known is not None and known.checkpoint.stream == name and not known.checkpoint.next_key
        self._known = known if own else None

    @property
    def wanted(self) -> frozenset[int]:
        """The numbers of lines whose roots are to be compared."""
        known = (*self._anchors, *([self._known] if self._known else ()))
        return frozenset(each.checkpoint.lines for each in known)

    def verify(
        self,
        directory: Path,
        findings: Findings,
        trusted: Sequence[bytes] | None,
        reports: Mapping[tuple[str, int], SegmentReport],
    ) -> StreamSummary:
        """Read the stream and compare it with its checkpoint and the anchors."""
        keyring = Keyring(self.name, trusted)
        check = StreamCheck(self.name, findings, self.wanted, keyring)
        own = {number: report for (stream, number), report in reports.items() if stream == self.name}
        check.read_segments(directory, self.numbers, own)
        self.digest_key = check.digest_key
        holds = self._compare(check, keyring, findings)
        if not check.lines and (self._known is None or not self._known.checkpoint.lines):
            findings.note(self._file, 0, "unborn", "no line: the process ended before its first one")
        elif self.numbers and not check.closed:
            findings.note(
                self._file, 0, "open", "no closing record: the process is running, or it was killed"
            )
        for anchor in self._anchors:
            if problem := _problem(anchor, check, keyring):
                findings.add(self._file, 0, "anchor", f"the anchor at {anchor.checkpoint.lines}: {problem}")
        text = self._known.note.encode().decode() if self._known and holds else ""
        return StreamSummary(
            self.name,
            check.segments,
            check.records,
            check.lines,
            text,
            check.closed,
            keyring.vouched_by.hex(),
        )

    def _compare(self, check: StreamCheck, keyring: Keyring, findings: Findings) -> bool:
        """Hold the lines against the checkpoint; true when it says of them what they are."""
        if self._data is None:
            message = "the checkpoint is gone: whether the stream's end was cut cannot be told"
            findings.add(self._file, 0, "checkpoint", message)
        elif self._known is None:
            if self._data or self.numbers:
                message = "the checkpoint was changed: whether the stream's end was cut cannot be told"
                findings.add(self._file, 1, "checkpoint", message)
        elif self._known.checkpoint.lines > check.lines:
            committed = self._known.checkpoint.lines
            message = f"{committed} lines were committed, {committed - check.lines} are missing at the end"
            findings.add(self._file, 0, "cut", message)
        elif check.lines and (problem := _problem(self._known, check, keyring)):
            findings.add(self._file, 0, "checkpoint", problem)
        else:
            if beyond := check.lines - self._known.checkpoint.lines:
                message = f"{beyond} lines beyond the checkpoint: being written, or never committed"
                findings.note(self._file, 0, "uncommitted", message)
            return not check.damaged
        return False


def _problem(signed: SignedCheckpoint, check: StreamCheck, keyring: Keyring) -> str:
    """Return why a checkpoint does not fit to the lines that were read, or nothing."""
    said = signed.checkpoint
    if said.lines > check.lines:
        return f"the stream has {check.lines} lines alone"
    # Where lines were found changed already, root and keys tell nothing new.
    if check.damaged:
        return ""
    if check.roots.get(said.lines) != said.root:
        return f"the first {said.lines} lines are not those that it was signed for"
    return "" if keyring.signed(signed) else "it is not signed by the key of that segment"


def _parse_anchors(anchors: Iterable[str]) -> dict[str, tuple[SignedCheckpoint, ...]]:
    parsed: dict[str, tuple[SignedCheckpoint, ...]] = {}
    for text in anchors:
        found = parse_checkpoints(text.encode())
        if found is None:
            raise AuditError(
                f"an anchor that begins with {text[:60]!r} is not one; expected signed checkpoints as "
                "'guardsteer audit checkpoint' writes them"
            )
        for anchor in found:
            stream = anchor.checkpoint.stream
            parsed[stream] = (*parsed.get(stream, ()), anchor)
    return parsed


def _note_others(directory: Path, listing: Listing, streams: Sequence[_Stream], findings: Findings) -> None:
    for name in listing.others:
        if name not in (KEY_FILE_NAME, TEXT_FOLDER):
            findings.note(name, 0, "other_file", "not part of the log")
    if KEY_FILE_NAME not in listing.others:
        return
    try:
        key = (directory / KEY_FILE_NAME).read_bytes().strip()
    except OSError:
        return
    here = key_name(key) if len(key) >= MIN_KEY_BYTES else ""
    for stream in streams:
        if stream.digest_key and stream.digest_key != here:
            message = f"not the key of {stream.name}, which used key {stream.digest_key}"
            findings.note(KEY_FILE_NAME, 0, "key", message)
