"""The journal: what was flushed is there, what was lost is said, and an append never raises."""

from __future__ import annotations

import errno
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from guardsteer.audit import RecordsDropped, open_journal, read, verify
from guardsteer.audit import health as health_module
from guardsteer.audit.health import Health
from guardsteer.audit.journal import Journal
from guardsteer.audit.stream import StreamWriter
from guardsteer.core.events import ClassifierFailed, FlagChanged, RequestStarted
from guardsteer.errors import AuditError, AuditWriteError
from tests.audit.support import KEY, TIME_NS, flag, segments, story


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = open_journal(tmp_path / "log", key=KEY)
    yield opened
    try:
        opened.close()
    except AuditWriteError:
        assert opened.failure


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A disk that is full until the fixture's value is called; a little of each write still fits."""
    real = os.write
    full = [True]

    def write(descriptor: int, data: memoryview) -> int:
        if full[0] and len(data) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[: len(data) // 2] if full[0] else data)

    def free() -> None:
        full[0] = False

    monkeypatch.setattr(os, "write", write)
    yield free
    free()


def steps(directory: Path) -> list[int]:
    return [stored.event.step for stored in read(directory) if isinstance(stored.event, FlagChanged)]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s, "waited for 10 s in vain"
        time.sleep(0.002)


def test_what_was_flushed_is_in_the_log_in_order(journal: Journal) -> None:
    for step in range(5000):
        journal.append(flag(step))
    journal.flush()
    assert steps(journal.directory) == list(range(5000))
    assert not journal.failed
    assert journal.backlog == 0


def test_a_writer_to_whom_nothing_comes_soon_sleeps_and_takes_nothing_from_the_thread_that_generates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits_s: list[float] = []
    wait = threading.Event.wait

    def counted(event: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread().name == "guardsteer-audit":
            waits_s.append(math.inf if timeout is None else timeout)
        return wait(event, timeout)

    def slept(since: int) -> bool:
        return max(waits_s[since:], default=0.0) > 1.0

    monkeypatch.setattr(threading.Event, "wait", counted)
    with open_journal(tmp_path, key=KEY) as journal:
        for step in range(3):
            seen = len(waits_s)
            journal.append(flag(step))
            journal.flush()
            wait_until(partial(slept, seen))
            assert len(waits_s[seen:]) <= 8


def test_an_event_is_durable_soon_without_a_flush(journal: Journal) -> None:
    journal.append(flag(0))
    wait_until(lambda: journal.checkpoint.splitlines()[1] == "2")


def test_every_event_of_the_library_comes_back_as_it_was(journal: Journal) -> None:
    for event in story():
        journal.append(event)
    journal.flush()
    assert [stored.event for stored in read(journal.directory)][1:] == story()


def test_closing_flushes_and_writes_a_closing_record_and_may_be_repeated(tmp_path: Path) -> None:
    with open_journal(tmp_path, key=KEY) as journal:
        journal.append(flag(0))
    journal.close()
    result = verify(tmp_path)
    assert result.streams[0].closed
    assert steps(tmp_path) == [0]


def test_threads_may_append_together_and_each_ones_events_keep_their_order(journal: Journal) -> None:
    def append(thread: int) -> None:
        for step in range(500):
            journal.append(flag(step, f"r-{thread}"))
        journal.flush()

    threads = [threading.Thread(target=append, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(6):
        found = [stored.event for stored in read(journal.directory, f"r-{number}")]
        assert [event.step for event in found if isinstance(event, FlagChanged)] == list(range(500))
    assert verify(journal.directory).ok


def test_two_journals_of_one_directory_write_two_streams(tmp_path: Path) -> None:
    with open_journal(tmp_path, key=KEY) as one, open_journal(tmp_path, key=KEY) as two:
        one.append(flag(1))
        two.append(flag(2))
    assert len(verify(tmp_path).streams) == 2
    assert sorted(steps(tmp_path)) == [1, 2]


def test_a_full_disk_fails_loudly_and_recovers_without_a_gap(
    journal: Journal, full_disk: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for step in range(10):
        journal.append(flag(step))
    with pytest.raises(AuditWriteError, match="No space"):
        journal.flush()
    assert journal.failed
    assert "No space" in journal.failure
    for step in range(10, 20):
        journal.append(flag(step))
    time.sleep(0.6)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(re.findall("audit.failed", printed.err)) == 1
    assert verify(journal.directory).ok
    full_disk()
    journal.flush()
    assert not journal.failed
    assert journal.dropped == 0
    assert steps(journal.directory) == list(range(20))
    assert verify(journal.directory).ok
    assert "audit.recovered" in capsys.readouterr().err


def test_without_a_flush_a_failed_write_is_tried_again(
    journal: Journal, full_disk: Callable[[], None]
) -> None:
    journal.append(flag(0))
    wait_until(lambda: journal.failed)
    full_disk()
    wait_until(lambda: not journal.failed)
    assert steps(journal.directory) == [0]


@pytest.mark.usefixtures("full_disk")
def test_a_journal_is_not_opened_on_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(AuditWriteError, match="cannot be opened"):
        open_journal(tmp_path / "other", key=KEY)


def test_what_could_not_be_written_when_closing_is_counted_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(tmp_path, key=KEY)
    real = os.write

    def full(descriptor: int, data: memoryview) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:-50])

    monkeypatch.setattr(os, "write", full)
    for step in range(3):
        journal.append(flag(step))
    with pytest.raises(AuditWriteError, match="3 events are lost"):
        journal.close()
    assert journal.failed
    assert journal.dropped == 3
    monkeypatch.undo()
    result = verify(tmp_path)
    assert result.ok
    assert [note.kind for note in result.notes] == ["open"]


def test_a_full_queue_drops_events_says_so_and_the_log_says_how_many(
    tmp_path: Path,
) -> None:
    journal = open_journal(tmp_path, key=KEY, queue_records=50)
    stuck = threading.Lock()
    stuck.acquire()
    real = StreamWriter.commit

    def wait(self: StreamWriter, bodies: tuple[bytes, ...]) -> None:
        with stuck:
            real(self, bodies)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StreamWriter, "commit", wait)
        journal.append(flag(0))
        wait_until(lambda: journal.backlog == 0)
        for step in range(1, 81):
            journal.append(flag(step))
        assert journal.failed
        assert "full" in journal.failure
        assert journal.dropped == 30
        stuck.release()
        with pytest.raises(AuditWriteError, match="30 events are lost"):
            journal.flush()
    journal.append(flag(99))
    journal.flush()
    assert not journal.failed
    assert steps(tmp_path) == [*range(51), 99]
    (dropped,) = [stored.event for stored in read(tmp_path) if isinstance(stored.event, RecordsDropped)]
    assert dropped.count == 30
    assert dropped.first_ns <= dropped.last_ns
    journal.close()
    result = verify(tmp_path)
    assert result.ok
    assert [note.kind for note in result.notes] == ["dropped"]


@pytest.mark.parametrize(
    "event",
    [
        ClassifierFailed(
            time_ns=TIME_NS, request="\ud800", sequence=0, step=0, classifier="c", error="a lone surrogate"
        ),
        ClassifierFailed(
            time_ns=TIME_NS, request="r", sequence=0, step=0, classifier="c", error="long" * 300_000
        ),
        "not an event",
        None,
    ],
    ids=["text that is no text", "too long", "text", "nothing"],
)
def test_an_event_that_cannot_be_recorded_is_counted_and_the_others_are_recorded(
    journal: Journal, event: FlagChanged
) -> None:
    journal.append(flag(0))
    journal.append(event)
    journal.append(flag(1))
    with pytest.raises(AuditWriteError, match="1 events are lost"):
        journal.flush()
    assert journal.failed
    assert steps(journal.directory) == [0, 1]
    journal.append(flag(2))
    journal.flush()
    assert not journal.failed
    result = verify(journal.directory)
    assert result.ok
    assert [note.kind for note in result.notes].count("dropped") == 1


def test_a_journal_whose_losses_were_told_closes_in_order(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, key=KEY)
    journal.append("not an event")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(AuditWriteError, match="1 events are lost"):
        journal.flush()
    journal.close()
    assert verify(tmp_path).streams[0].closed


def test_a_failure_is_not_over_while_losses_are_unrecorded(tmp_path: Path) -> None:
    health = Health(str(tmp_path))
    health.lose("the queue is full", 2)
    health.recover()
    assert health.failed
    record = health.take_record()
    assert record is not None
    assert record.count == 2
    health.recover()
    assert not health.failed
    assert health.take_record() is None
    assert (health.take_unreported(), health.take_unreported(), health.dropped) == (2, 0, 2)


def test_an_event_after_closing_is_lost_and_said_so_without_an_exception(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, key=KEY)
    journal.close()
    journal.append(flag(0))
    assert journal.failed
    assert journal.dropped == 1
    with pytest.raises(AuditWriteError, match="closed"):
        journal.flush()


def test_an_error_in_the_body_of_a_with_statement_is_not_hidden_by_the_journals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def body() -> None:
        with open_journal(tmp_path, key=KEY) as journal:
            monkeypatch.setattr(os, "write", full)
            journal.append(flag(0))
            raise KeyError("the body's own")

    with pytest.raises(KeyError, match="own"):
        body()


def test_flush_gives_up_after_its_timeout(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, key=KEY)
    stuck = threading.Event()
    real = StreamWriter.commit

    def wait(self: StreamWriter, bodies: tuple[bytes, ...]) -> None:
        stuck.wait()
        real(self, bodies)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StreamWriter, "commit", wait)
        journal.append(flag(0))
        with pytest.raises(AuditWriteError, match=r"not durable after 0\.05 s"):
            journal.flush(timeout_s=0.05)
        stuck.set()
        journal.close()


def test_a_write_that_hangs_is_a_failure_until_it_is_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "STUCK_S", 0.05)
    journal = open_journal(tmp_path, key=KEY)
    hanging = threading.Event()
    real = StreamWriter.commit

    def wait(self: StreamWriter, bodies: tuple[bytes, ...]) -> None:
        hanging.wait()
        real(self, bodies)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StreamWriter, "commit", wait)
        assert not journal.failed
        journal.append(flag(0))
        wait_until(lambda: journal.failed)
        assert "stuck" in journal.failure
        hanging.set()
        wait_until(lambda: not journal.failed)
    assert steps(tmp_path) == [0]
    journal.close()


def test_a_directory_that_cannot_be_written_is_refused_when_opening(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditWriteError, match="cannot be opened"):
        open_journal(tmp_path / "file" / "log")
    with pytest.raises(AuditWriteError, match="cannot be opened"):
        open_journal(tmp_path / "file")


@pytest.mark.parametrize("options", [{"segment_bytes": 0}, {"queue_records": 0}])
def test_sizes_below_one_are_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(AuditError, match="expected 1 or more"):
        open_journal(tmp_path, **options)  # type: ignore[arg-type]  # wrong on purpose


def test_a_directory_that_becomes_read_only_fails_at_the_next_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(tmp_path, key=KEY, segment_bytes=100)
    real = os.open

    def refuse(path: str | os.PathLike[str], flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        journal.append(flag(0))
        with pytest.raises(AuditWriteError, match="Read-only"):
            journal.flush()
        assert journal.failed
    journal.close()
    assert verify(tmp_path).ok
    assert steps(tmp_path) == [0]


def test_no_text_is_written_only_its_keyed_digest(journal: Journal) -> None:
    prompt = b"my card ends in *secret*"
    journal.append(
        RequestStarted(
            time_ns=TIME_NS,
            request="r-1",
            sequence=0,
            guard="g",
            policy_digest="b3:0",
            context={},
            prompt_digest=journal.keyed_digest(prompt),
            prompt_tokens=7,
            settings={},
        )
    )
    journal.flush()
    content = b"".join(path.read_bytes() for path in journal.directory.iterdir())
    assert b"*secret*" not in content
    assert journal.keyed_digest(prompt).encode() in content
    assert KEY not in content
    assert len(segments(journal.directory)) == 1


def test_a_segment_ends_for_its_age_while_nothing_comes(tmp_path: Path) -> None:
    """What an idle process wrote is sealed, and the key that sealed it is forgotten, without a new event."""
    with open_journal(tmp_path, key=KEY, segment_s=0.3) as journal:
        journal.append(flag(1))
        journal.flush()
        wait_until(lambda: len(segments(tmp_path)) == 2)
        time.sleep(0.7)
        assert len(segments(tmp_path)) == 2
    assert steps(tmp_path) == [1]
    assert verify(tmp_path).ok


@pytest.mark.parametrize("segment_s", [0.0, -1.0, float("nan")])
def test_an_age_that_is_none_is_refused(segment_s: float, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"segment_s=.*expected seconds above 0"):
        open_journal(tmp_path, segment_s=segment_s)
