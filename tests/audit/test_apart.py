"""Checking segments apart from each other saves time and changes no finding."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from guardsteer.audit import open_journal, verify
from guardsteer.audit.apart import check_segment
from guardsteer.audit.check import SegmentReport, StreamCheck
from tests.audit.support import KEY, checkpoint, flag, segments, story, write_log

# The package's own name for it is the function.
VERIFY = sys.modules["guardsteer.audit.verify"]


def serially(
    directory: Path, tasks: Sequence[tuple[str, int, frozenset[int]]], _: int
) -> dict[tuple[str, int], SegmentReport]:
    found = {
        (stream, number): check_segment(directory, stream, number, wanted) for stream, number, wanted in tasks
    }
    return {place: report for place, report in found.items() if report is not None}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two streams of several segments, one of them still open."""
    directory = tmp_path / "log"
    write_log(directory, story(), segment_bytes=1000, group=2)
    return directory


def drop_line(chance: random.Random, log: Path) -> None:
    path = chance.choice(segments(log))
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[chance.randrange(len(lines))]
    path.write_bytes(b"".join(lines))


def flip_bit(chance: random.Random, log: Path) -> None:
    path = chance.choice([*segments(log), checkpoint(log)])
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def exchange_segments(chance: random.Random, log: Path) -> None:
    one, two = chance.sample(segments(log), 2)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def drop_segment(chance: random.Random, log: Path) -> None:
    chance.choice(segments(log)).unlink()


def cut(chance: random.Random, log: Path) -> None:
    path = chance.choice(segments(log))
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data))])


def leave(_: random.Random, log: Path) -> None:
    assert log.exists()


@pytest.mark.parametrize("change", [leave, drop_line, flip_bit, exchange_segments, drop_segment, cut])
def test_the_result_is_the_one_of_reading_in_order(
    log: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[random.Random, Path], None]
) -> None:
    monkeypatch.setattr(VERIFY, "check_apart", serially)
    whole = {path: path.read_bytes() for path in log.iterdir()}
    (stream,) = verify(log).streams
    for seed in range(25):
        change(random.Random(seed), log)
        assert verify(log, [stream.checkpoint], processes=2) == verify(log, [stream.checkpoint])
        for path, data in whole.items():
            path.write_bytes(data)


def test_a_whole_log_is_not_read_a_second_time(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VERIFY, "check_apart", serially)
    expected = verify(log)
    read: list[str] = []
    real = StreamCheck._read_segment

    def watch(
        self: StreamCheck, directory: Path, file: str, number: int, *, joined: bool, last: bool
    ) -> None:
        read.append(file)
        real(self, directory, file, number, joined=joined, last=last)

    monkeypatch.setattr(StreamCheck, "_read_segment", watch)
    assert verify(log, processes=2) == expected
    assert sorted(read) == [path.name for path in segments(log)]


def test_a_clock_set_back_between_two_segments_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VERIFY, "check_apart", serially)
    write_log(tmp_path, [flag(90 * 10**9), flag(0)], segment_bytes=400, group=1)
    assert [finding.kind for finding in verify(tmp_path, processes=2).findings] == ["clock"]


def test_processes_of_their_own_find_what_one_finds(log: Path) -> None:
    with open_journal(log, key=KEY, segment_bytes=2000) as journal:
        for step in range(60):
            journal.append(flag(step))
            if step % 7 == 0:
                journal.flush()
    assert verify(log, processes=2) == verify(log)
    path = max(segments(log), key=lambda each: each.stat().st_size)
    path.write_bytes(path.read_bytes().replace(b"hostile", b"hostilf", 1))
    found = verify(log, processes=2)
    assert found == verify(log)
    assert [finding.kind for finding in found.findings] == ["changed"]


def test_a_checkpoint_and_an_anchor_in_the_first_segment_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VERIFY, "check_apart", serially)
    write_log(tmp_path / "one", [flag(step) for step in range(9)])
    assert verify(tmp_path / "one", processes=2) == verify(tmp_path / "one")
    with open_journal(tmp_path / "many", key=KEY, segment_bytes=2000) as journal:
        journal.append(flag(0))
        journal.flush()
        anchor = journal.checkpoint
        for step in range(1, 30):
            journal.append(flag(step))
            journal.flush()
    assert len(segments(tmp_path / "many")) > 2
    assert verify(tmp_path / "many", [anchor], processes=2) == verify(tmp_path / "many", [anchor])
    assert verify(tmp_path / "many", [anchor], processes=2).ok
