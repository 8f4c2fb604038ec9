"""A stream's files: nothing counts before it is durable, nothing durable is touched again."""

from __future__ import annotations

import errno
import json
import os
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardsteer.audit import stream as stream_module
from guardsteer.audit import verify
from guardsteer.audit.checkpoint import Checkpoint, parse_checkpoint
from guardsteer.audit.records import encode_record
from guardsteer.audit.signed_note import public_bytes
from guardsteer.audit.stream import StreamWriter
from tests.audit.support import checkpoint, flag, segments

BODIES = tuple(encode_record(flag(step)) for step in range(3))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls to the system that follow, by name; they are made as well."""
    made: list[str] = []

    def watch(module: object, name: str) -> None:
        real = getattr(module, name)

        def call(*args: object) -> object:
            made.append(name)
            return real(*args)

        monkeypatch.setattr(module, name, call)

    for name in ("write", "pwrite", "fsync"):
        watch(os, name)
    watch(stream_module, "_sync_data")
    return made


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[StreamWriter]:
    stream = StreamWriter(tmp_path, digest_key="0" * 16, segment_bytes=1 << 20)
    yield stream
    stream.close()


def test_a_commit_writes_then_syncs_and_only_then_moves_the_checkpoint(
    writer: StreamWriter, calls: list[str]
) -> None:
    calls.clear()
    writer.commit(BODIES)
    assert calls == ["write", "_sync_data", "pwrite"]


def test_a_new_segment_is_in_the_directory_for_good_before_the_checkpoint_moves(
    tmp_path: Path, calls: list[str]
) -> None:
    StreamWriter(tmp_path, digest_key="0" * 16, segment_bytes=100).close()
    assert calls == ["pwrite", "fsync", "write", "_sync_data", "fsync", "pwrite"]


def stated(data: bytes) -> Checkpoint:
    signed = parse_checkpoint(data)
    assert signed is not None
    return signed.checkpoint


def test_the_checkpoint_says_what_is_durable_after_every_commit(writer: StreamWriter, tmp_path: Path) -> None:
    for count in range(1, 4):
        writer.commit(BODIES)
        assert writer.lines == stated(writer.checkpoint).lines == 1 + 3 * count
        assert checkpoint(tmp_path).read_bytes() == writer.checkpoint
    assert verify(tmp_path).ok


def test_every_segment_has_a_key_of_its_own_named_by_the_one_before(tmp_path: Path) -> None:
    signer = Ed25519PrivateKey.generate()
    stream = StreamWriter(tmp_path, digest_key="0" * 16, segment_bytes=600, signer=signer)
    for _ in range(2):
        stream.commit(BODIES)
    stream.close()
    headers = [json.loads(path.read_bytes().splitlines()[0]) for path in segments(tmp_path)]
    assert len({header["key"] for header in headers}) == len(headers) == 3
    key = public_bytes(signer)
    for header in headers:
        seal = parse_checkpoint(header["seal"].encode())
        assert seal is not None
        assert seal.checkpoint.lines == header["seq"]
        assert seal.signed_by(key)
        key = b64decode(header["key"])
        assert seal.checkpoint.next_key == key
    last = parse_checkpoint(stream.checkpoint)
    assert last is not None
    assert last.signed_by(key)


def test_a_stream_that_was_closed_has_no_key_to_sign_with(writer: StreamWriter) -> None:
    writer.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        writer.commit(BODIES)
    assert not [
        value
        for value in (getattr(writer, name) for name in writer.__slots__)
        if isinstance(value, Ed25519PrivateKey)
    ]


def test_a_segment_that_is_full_is_followed_by_the_next(tmp_path: Path) -> None:
    stream = StreamWriter(tmp_path, digest_key="0" * 16, segment_bytes=600)
    for _ in range(5):
        stream.commit(BODIES)
    stream.close()
    assert [path.name.split(".")[1] for path in segments(tmp_path)] == [
        "000001",
        "000002",
        "000003",
        "000004",
        "000005",
    ]
    result = verify(tmp_path)
    assert result.ok
    assert result.records == 15


class Clock:
    """Seconds that pass when a test says so."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def aged(directory: Path, clock: Clock) -> StreamWriter:
    return StreamWriter(directory, digest_key="0" * 16, segment_bytes=1 << 20, segment_s=60.0, clock=clock)


def test_a_segment_that_is_old_is_followed_by_the_next_under_another_key(tmp_path: Path) -> None:
    clock = Clock()
    stream = aged(tmp_path, clock)
    first = stream._key
    stream.commit(BODIES)
    clock.now_s = 59.9
    stream.commit(BODIES)
    assert len(segments(tmp_path)) == 1
    clock.now_s = 60.0
    stream.commit(BODIES)
    assert len(segments(tmp_path)) == 2
    assert stream._key is not first
    clock.now_s = 119.9
    stream.commit(BODIES)
    assert len(segments(tmp_path)) == 2
    stream.close()
    result = verify(tmp_path)
    assert result.ok
    assert result.records == 4 * len(BODIES)


def test_an_old_segment_ends_though_nothing_comes_and_an_empty_one_never_does(tmp_path: Path) -> None:
    clock = Clock()
    stream = aged(tmp_path, clock)
    assert stream.due_s is None
    clock.now_s = 1000.0
    stream.commit(())
    assert len(segments(tmp_path)) == 1
    stream.commit(BODIES)
    assert stream.due_s is not None
    assert stream.due_s <= 0
    stream.commit(())
    assert len(segments(tmp_path)) == 2
    clock.now_s = 5000.0
    stream.commit(())
    assert len(segments(tmp_path)) == 2
    stream.close()
    assert verify(tmp_path).ok


@pytest.mark.parametrize("written", [0, 1, 100, 500])
def test_a_disk_that_fills_up_in_the_middle_of_a_write_loses_nothing_once_there_is_room(
    writer: StreamWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    writer.commit(BODIES)
    (path,) = segments(tmp_path)
    before = path.read_bytes()
    known = writer.checkpoint
    room = [written]
    real = os.write

    def full(descriptor: int, data: memoryview) -> int:
        count = min(room[0], len(data))
        room[0] -= count
        if not count:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:count])

    monkeypatch.setattr(os, "write", full)
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            writer.commit(BODIES)
        assert writer.checkpoint == known
        assert verify(tmp_path).ok
    writer.discard_uncommitted()
    assert path.read_bytes() == before
    monkeypatch.setattr(os, "write", real)
    writer.commit(BODIES)
    assert path.read_bytes().startswith(before)
    result = verify(tmp_path)
    assert result.ok
    assert result.records == 6


def test_a_sync_that_fails_does_not_count_and_the_bytes_are_written_again(
    writer: StreamWriter, tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = writer.checkpoint

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(stream_module, "_sync_data", fail)
        with pytest.raises(OSError, match="Input/output"):
            writer.commit(BODIES)
    assert writer.checkpoint == known
    calls.clear()
    writer.commit(BODIES)
    # After a failed sync the kernel calls the old pages clean: only writing anew makes them durable.
    assert calls == ["write", "_sync_data", "pwrite"]
    assert verify(tmp_path).records == 3


def test_a_new_segment_that_cannot_be_opened_is_tried_again_under_the_same_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = StreamWriter(tmp_path, digest_key="0" * 16, segment_bytes=100)
    real = os.open

    def refuse(path: str | os.PathLike[str], flags: int, mode: int = 0o777) -> int:
        if str(path).endswith(".000002.jsonl"):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(OSError, match="Too many"):
            stream.commit(BODIES)
    stream.commit(BODIES)
    stream.close()
    assert len(segments(tmp_path)) == 2
    assert verify(tmp_path).ok


def test_a_segment_that_is_removed_while_in_use_is_an_error_and_the_next_one_takes_over(
    writer: StreamWriter, tmp_path: Path
) -> None:
    segments(tmp_path)[0].unlink()
    with pytest.raises(OSError, match="removed"):
        writer.commit(BODIES)
    writer.commit(BODIES)
    assert [path.name.split(".")[1] for path in segments(tmp_path)] == ["000002"]
    result = verify(tmp_path)
    assert [finding.kind for finding in result.findings] == ["missing"]
    assert result.records == 3


@pytest.mark.usefixtures("writer")
def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
