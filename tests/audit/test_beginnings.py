"""A process may be killed at any moment of beginning its stream: what it leaves is no sign of tampering."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardsteer.audit import open_journal, stream, verify
from guardsteer.audit.checkpoint import Checkpoint
from guardsteer.audit.stream import StreamWriter
from tests.audit.support import KEY, flag


class Killed(BaseException):
    """Stands for a kill: nobody handles it."""


def begin(folder: Path) -> None:
    StreamWriter(folder, digest_key="0" * 16, segment_bytes=1000)


def die(*_: Any, **__: Any) -> Any:
    raise Killed


def before_the_checkpoint(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Checkpoint, "signed", die)


def before_the_segment(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StreamWriter, "_open_segment", die)


def before_the_first_line(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StreamWriter, "commit", die)


def within_the_first_line(patch: pytest.MonkeyPatch) -> None:
    def torn(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[: len(data) // 2])
        raise Killed

    patch.setattr(stream, "_write_all", torn)


def before_the_first_line_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StreamWriter, "_sync_directory", die)


@pytest.mark.parametrize(
    ("moment", "notes"),
    [
        (before_the_checkpoint, {"unborn"}),
        (before_the_segment, {"unborn"}),
        (before_the_first_line, {"unborn"}),
        (within_the_first_line, {"unborn", "torn"}),
        (before_the_first_line_counts, {"open", "uncommitted"}),
    ],
)
def test_a_stream_that_was_being_begun_has_no_finding(
    moment: Callable[[pytest.MonkeyPatch], None],
    notes: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open_journal(tmp_path, key=KEY) as journal:
        journal.append(flag(0))
    with monkeypatch.context() as patch:
        moment(patch)
        with pytest.raises(Killed):
            begin(tmp_path)
    result = verify(tmp_path)
    assert result.findings == ()
    assert {note.kind for note in result.notes} == notes
    assert result.records == 2


def test_an_emptied_log_is_not_taken_for_one_that_was_being_begun(tmp_path: Path) -> None:
    with open_journal(tmp_path, key=KEY) as journal:
        journal.append(flag(0))
    (segment,) = tmp_path.glob("*.jsonl")
    segment.write_bytes(b"")
    assert [finding.kind for finding in verify(tmp_path).findings] == ["cut"]
