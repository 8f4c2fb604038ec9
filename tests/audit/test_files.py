"""What lies in a log's folder is read as it was at one moment, also while its process writes."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest

from guardsteer.audit.chain import checkpoint_name
from guardsteer.audit.files import read_checkpoint
from guardsteer.errors import AuditError

STREAM = "20260101T000000Z-7-00000001"


def note(letter: str, size_bytes: int) -> bytes:
    """Return bytes of which every part tells what they were a part of."""
    return (letter * size_bytes).encode()


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path, STREAM) is None


def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / checkpoint_name(STREAM)).mkdir()
    with pytest.raises(
        AuditError, match=re.escape(f"{checkpoint_name(STREAM)}: the audit log cannot be read")
    ):
        read_checkpoint(tmp_path, STREAM)


def test_a_checkpoint_that_grows_while_it_is_read_is_never_half_old(tmp_path: Path) -> None:
    path = tmp_path / checkpoint_name(STREAM)
    path.write_bytes(note("a", 180))
    stop = threading.Event()

    def write() -> None:
        # As the log's writer does it: in place, and never shorter; a new file begins the growth anew.
        fresh = tmp_path / "fresh"
        while not stop.is_set():
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.pwrite(descriptor, note("a", 180), 0)
            fresh.rename(path)
            for grown, letter in enumerate("bcdefghij", start=181):
                os.pwrite(descriptor, note(letter, grown), 0)
            os.close(descriptor)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        read = {read_checkpoint(tmp_path, STREAM) for _ in range(20_000)}
    finally:
        stop.set()
        writer.join()
    assert [data for data in read if data is None or len(set(data)) != 1] == []


def test_a_read_that_saw_half_of_a_write_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = note("b", 181)
    (tmp_path / checkpoint_name(STREAM)).write_bytes(whole)
    torn = [note("a", 100) + whole[100:], note("a", 90) + whole[90:]]
    read = os.pread
    monkeypatch.setattr(
        os, "pread", lambda file, size, start: torn.pop(0) if torn else read(file, size, start)
    )
    assert read_checkpoint(tmp_path, STREAM) == whole


def test_a_checkpoint_that_never_rests_is_given_as_it_was_last_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / checkpoint_name(STREAM)).write_bytes(b"")
    reads = iter(range(1_000_000))
    monkeypatch.setattr(os, "pread", lambda *_: b"%d" % next(reads))
    data = read_checkpoint(tmp_path, STREAM)
    assert data is not None
    assert int(data) == next(reads) - 1
