"""Kills, forks and ends of processes: each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from guardsteer.audit import read, verify
from guardsteer.core.events import FlagChanged
from tests.audit.support import segments

PREAMBLE = """
import os, resource, sys, time
from guardsteer.audit import open_journal
from guardsteer.errors import AuditWriteError
from tests.audit.support import KEY, flag
journal = open_journal(sys.argv[1], key=KEY)
"""


def run(program: str, directory: Path, repository: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PREAMBLE + program, str(directory)],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


def steps(directory: Path) -> list[list[int]]:
    """Return the steps of each stream's flags, streams in order."""
    found: dict[str, list[int]] = {}
    for stored in read(directory):
        kept = found.setdefault(stored.stream, [])
        if isinstance(stored.event, FlagChanged):
            kept.append(stored.event.step)
    return sorted(found.values())


def test_kills_lose_no_committed_record_and_tamperings_are_found(tmp_path: Path, repository: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.audit_faults", "--json", "--directory", str(tmp_path)),
            *("--kills", "16", "--tamperings", "90", "--requests", "12", "--seed", "1"),
        ],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(done.stdout)
    assert results["ok"]
    assert results["committed_records"] > 0
    assert (results["lost_committed_records"], results["logs_that_did_not_verify"]) == (0, 0)
    assert (results["tamperings_tried"], results["not_found"], results["false_alarms"]) == (90, 0, 0)


def test_a_process_that_just_ends_has_closed_its_stream(tmp_path: Path, repository: Path) -> None:
    run("for step in range(300): journal.append(flag(step))", tmp_path, repository)
    result = verify(tmp_path)
    assert result.ok
    assert result.notes == ()
    assert steps(tmp_path) == [list(range(300))]


def test_a_forked_child_writes_a_stream_of_its_own_and_none_of_its_parents_events(
    tmp_path: Path, repository: Path
) -> None:
    run(
        """
for step in range(50): journal.append(flag(step))
child = os.fork()
if child == 0:
    assert journal.stream == "" == journal.checkpoint and not journal.failed
    journal.flush()
    for step in range(100, 120): journal.append(flag(step))
    journal.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
for step in range(50, 60): journal.append(flag(step))
""",
        tmp_path,
        repository,
    )
    assert steps(tmp_path) == [list(range(60)), list(range(100, 120))]
    result = verify(tmp_path)
    assert result.ok
    assert result.notes == ()


def test_what_failed_for_a_parent_has_not_failed_for_its_child(tmp_path: Path, repository: Path) -> None:
    run(
        """
journal.append(flag(0))
journal.flush()
health = journal.health
health.fail("the disk is full")
child = os.fork()
if child == 0:
    assert not journal.failed and not journal.failure and journal.health is health
    journal.append(flag(100))
    journal.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert journal.failed
health.recover()
""",
        tmp_path,
        repository,
    )
    assert steps(tmp_path) == [[0], [100]]


def test_a_child_that_records_nothing_leaves_nothing(tmp_path: Path, repository: Path) -> None:
    run(
        """
journal.append(flag(0))
child = os.fork()
if child == 0:
    journal.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
""",
        tmp_path,
        repository,
    )
    assert steps(tmp_path) == [[0]]
    assert len(segments(tmp_path)) == 1


def test_a_worker_of_multiprocessing_has_closed_its_stream_when_it_ends(
    tmp_path: Path, repository: Path
) -> None:
    run(
        """
import multiprocessing
def work(first):
    for step in range(first, first + 40): journal.append(flag(step))
workers = [multiprocessing.get_context("fork").Process(target=work, args=(n,)) for n in (100, 200)]
for worker in workers: worker.start()
for worker in workers: worker.join()
""",
        tmp_path,
        repository,
    )
    assert steps(tmp_path) == [[], list(range(100, 140)), list(range(200, 240))]
    assert verify(tmp_path).notes == ()


def test_forks_in_the_midst_of_writing_leave_every_stream_whole(tmp_path: Path, repository: Path) -> None:
    run(
        """
import threading
stop = threading.Event()
def write():
    step = 0
    while not stop.is_set():
        journal.append(flag(step))
        step += 1
        if step % 50 == 0: time.sleep(0.0005)
thread = threading.Thread(target=write)
thread.start()
for number in range(15):
    child = os.fork()
    if child == 0:
        journal.append(flag(number))
        journal.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
thread.join()
""",
        tmp_path,
        repository,
    )
    result = verify(tmp_path)
    assert result.ok
    assert result.notes == ()
    assert len(result.streams) == 16


def test_a_child_whose_stream_cannot_be_opened_says_so_and_does_not_raise(
    tmp_path: Path, repository: Path
) -> None:
    done = run(
        """
child = os.fork()
if child == 0:
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    tries, real = [], os.open
    os.open = lambda *args: tries.append(1) or real(*args)
    for step in range(5): journal.append(flag(step))
    ok = journal.failed and journal.dropped == 5 and len(tries) < 4
    try:
        journal.flush()
        ok = False
    except AuditWriteError:
        pass
    os._exit(0 if ok else 1)
assert os.waitpid(child, 0)[1] == 0
""",
        tmp_path,
        repository,
    )
    assert done.stderr.count("audit.failed") == 1
    assert verify(tmp_path).ok


def test_a_limit_on_the_size_of_files_is_a_failed_journal_and_a_log_that_verifies(
    tmp_path: Path, repository: Path
) -> None:
    done = run(
        """
journal.append(flag(0))
journal.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
for step in range(1, 100): journal.append(flag(step))
try:
    journal.flush()
    sys.exit("no error")
except AuditWriteError as error:
    assert "too large" in str(error), error
assert journal.failed
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.flush()
assert not journal.failed
""",
        tmp_path,
        repository,
    )
    assert "audit.failed" in done.stderr
    assert done.stdout == ""
    assert steps(tmp_path) == [list(range(100))]
    assert verify(tmp_path).notes == ()


def test_the_room_loads_neither_torch_nor_numpy(tmp_path: Path, repository: Path) -> None:
    run("assert not {'torch', 'numpy', 'transformers'} & set(sys.modules)", tmp_path, repository)


@pytest.mark.parametrize("configured", ["", "import structlog; structlog.configure()"])
def test_a_failure_is_told_on_stderr_or_wherever_the_application_sends_its_log(
    tmp_path: Path, repository: Path, configured: str
) -> None:
    done = run(
        f"""
{configured}
journal.append("not an event")
try:
    journal.flush()
except AuditWriteError:
    pass
""",
        tmp_path,
        repository,
    )
    told, other = (done.stdout, done.stderr) if configured else (done.stderr, done.stdout)
    assert told.count("audit.failed") == 1
    assert "audit.failed" not in other
