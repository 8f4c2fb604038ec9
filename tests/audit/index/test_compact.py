"""The index holds the log's lines to the byte, each once, whatever happens while it is written."""

from __future__ import annotations

import os
import random
import shutil
from importlib import import_module
from pathlib import Path

import pytest

from guardsteer.audit import open_journal, verify
from guardsteer.audit.index import compact, open_tables, parts
from guardsteer.audit.index.manifest import MANIFEST, load_manifest, locked
from guardsteer.errors import AuditError
from tests.audit.index.support import (
    KEY,
    duckdb,
    events,
    lines_of,
    plain_rows,
    rebuilt,
    stored,
    write,
)

COMPACT = import_module("guardsteer.audit.index.compact")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log of three streams, several segments each."""
    folder = tmp_path / "audit"
    for seed in range(3):
        write(folder, events(seed), segment_bytes=8_000)
    return folder


def test_the_lines_rebuilt_from_the_index_are_the_logs_to_the_byte(log: Path, tmp_path: Path) -> None:
    done = compact([log], tmp_path / "index")
    assert rebuilt(tmp_path / "index") == lines_of(log)
    assert done.added == sum(map(len, lines_of(log).values()))
    assert all(stream.lines == stream.committed for stream in done.streams)


def test_it_is_partitioned_by_the_day_of_the_record_and_the_stream(log: Path, tmp_path: Path) -> None:
    compact([log], tmp_path / "index")
    rows = plain_rows(tmp_path / "index", "day, stream, time_ns, filename")
    days = {str(day) for day, *_ in rows}
    assert {"2025-01-06", "2025-01-07", "2025-01-08"} < days
    for day, stream, time_ns, file in rows:
        assert f"/day={day}/stream={stream}/part-" in file
        assert time_ns // 86_400_000_000_000 == (day - type(day)(1970, 1, 1)).days


def test_a_second_run_changes_nothing(log: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    compact([log], index)
    before = {path: path.stat().st_mtime_ns for path in index.rglob("*.parquet")}
    again = compact([log], index)
    assert (again.added, again.parts) == (0, 0)
    assert {path: path.stat().st_mtime_ns for path in index.rglob("*.parquet")} == before


@pytest.mark.parametrize("merge_rows", [10, 100_000])
def test_what_grows_is_added_and_ends_as_if_it_was_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merge_rows: int
) -> None:
    monkeypatch.setattr(parts, "_MERGE_ROWS", merge_rows)
    log, index = tmp_path / "audit", tmp_path / "index"
    story = events(0)
    with open_journal(log, key=KEY, segment_bytes=8_000) as journal:
        for at, event in enumerate(story):
            journal.append(event)
            if at % 40 == 0:
                journal.flush()
                assert compact([log], index).added > 0
    compact([log], index)
    assert rebuilt(index) == lines_of(log)
    compact([log], tmp_path / "at-once")
    columns = "* EXCLUDE (hash)"
    assert plain_rows(index, columns) == plain_rows(tmp_path / "at-once", columns)
    files = len(list(index.rglob("*.parquet")))
    assert files > 8 if merge_rows == 10 else files <= 4


def test_killed_at_any_write_it_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, index = tmp_path / "audit", tmp_path / "index"
    write(log, events(4, requests=30, days=2), segment_bytes=8_000)
    real, left = Path.replace, 0

    class Killed(BaseException):
        pass

    def replace(self: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0 and target.is_relative_to(index):
            raise Killed
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    for budget in range(1, 20):
        shutil.rmtree(index, ignore_errors=True)
        left = budget
        try:
            compact([log], index, part_rows=100)
        except Killed:
            # Whatever is there may be read: each line at most once.
            if list(index.rglob("*.parquet")):
                places = plain_rows(index, "stream, seq")
                assert len(places) == len(set(places))
        else:
            break
        left = 10**6
        compact([log], index, part_rows=100)
        assert rebuilt(index) == lines_of(log)
        assert not list(index.rglob("*.new"))
    else:
        pytest.fail("it never came to its end")


def test_a_part_that_was_grown_and_not_counted_yet_is_not_read_twice(
    tmp_path: Path,
) -> None:
    log, index = tmp_path / "audit", tmp_path / "index"
    story = events(1)
    with open_journal(log, key=KEY) as journal:
        for event in story[:100]:
            journal.append(event)
        journal.flush()
        compact([log], index)
        before = (index / MANIFEST).read_bytes()
        for event in story[100:]:
            journal.append(event)
    compact([log], index)
    # As if it was killed after the parts and before the contents.
    (index / MANIFEST).write_bytes(before)
    with open_tables([index]) as tables:
        assert next(tables.ask("SELECT count(*) FROM records").rows) == (101,)
    with open_tables([index, log]) as tables:
        assert next(tables.ask("SELECT count(*), count(DISTINCT seq) FROM records").rows) == (
            len(stored(log)),
            len(stored(log)),
        )
    compact([log], index)
    assert rebuilt(index) == lines_of(log)


def test_lines_that_are_not_committed_are_left_for_later(tmp_path: Path) -> None:
    log = tmp_path / "audit"
    stream = write(log, events(0)[:20], close=False)
    (path,) = log.glob("*.jsonl")
    committed = path.read_bytes()
    path.write_bytes(committed + committed.splitlines(keepends=True)[-1] + b'{"seq":99,"ki')
    done = compact([log], tmp_path / "index")
    assert rebuilt(tmp_path / "index") == {stream: committed.splitlines(keepends=True)}
    assert [(each.lines, each.committed) for each in done.streams] == [(21, 21)]


def test_altered_and_damaged_lines_are_told_and_the_rest_is_there(log: Path, tmp_path: Path) -> None:
    path = sorted(log.glob("*.jsonl"))[0]
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"sequence":0', b'"sequence":1', 1)
    lines[5] = lines[5].replace(b'"kind"', b'\xff"kind"', 1)
    lines[7] = b"nonsense\n"
    path.write_bytes(b"".join(lines))
    done = compact([log], tmp_path / "index")
    told = {stream.stream: (stream.altered, stream.damaged) for stream in done.streams}
    assert told.pop(path.name.split(".")[0]) == (2, 2)
    assert set(told.values()) == {(0, 0)}
    rows = plain_rows(tmp_path / "index", "stream, seq, intact")
    assert len(rows) == sum(map(len, lines_of(log).values())) - 2
    assert [seq for stream, seq, intact in rows if not intact] == [3]


def test_no_change_of_a_line_stops_the_rest_from_being_read(log: Path) -> None:
    chance = random.Random(0)
    whole = {path: path.read_bytes() for path in log.glob("*.jsonl")}
    for _ in range(12):
        for path, data in whole.items():
            changed = bytearray(data)
            for _ in range(40):
                at = chance.randrange(len(changed))
                if changed[at] != ord("\n"):
                    changed[at] = chance.choice(b'\x00"\\{}[],:0-9eEx\xff\xc3u d')
            path.write_bytes(changed)
        with open_tables([log]) as tables:
            ((read, altered),) = tables.ask("SELECT count(*), count(*) FILTER (NOT intact) FROM records").rows
            lines = sum(data.count(b"\n") for data in whole.values())
            assert lines - tables.damaged == read
            assert 0 < altered <= tables.altered
            assert list(tables.ask("SELECT count(*) FROM requests").rows)


def test_a_log_that_was_changed_behind_the_index_does_not_go_on_in_it(tmp_path: Path) -> None:
    log, index = tmp_path / "audit", tmp_path / "index"
    story = events(0)
    with open_journal(log, key=KEY) as journal:
        for event in story[:50]:
            journal.append(event)
        journal.flush()
        compact([log], index)
        shutil.copytree(log, tmp_path / "earlier")
        for event in story[50:]:
            journal.append(event)
    (path,) = log.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    whole = path.read_bytes()
    lines[51] = lines[51].replace(b'"sequence":0', b'"sequence":1', 1)
    path.write_bytes(b"".join(lines))
    with pytest.raises(AuditError, match="does not go on where its index ends"):
        compact([log], index)
    path.write_bytes(whole)
    compact([log], index)
    with pytest.raises(AuditError, match="does not go on where its index ends"):
        compact([tmp_path / "earlier"], index)


def test_verified_lines_are_told_apart_from_those_that_are_only_chained(log: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    assert {stream.verified for stream in compact([log], index).streams} == {0}
    # What was indexed before is read again, and must be the same.
    checked = compact([log], index, check=True)
    assert checked.added == 0
    assert all(stream.verified == stream.lines for stream in checked.streams)
    fresh = compact([log], tmp_path / "fresh", check=True)
    assert all(stream.verified == stream.lines == stream.added for stream in fresh.streams)
    manifest = load_manifest(index)
    for stream in verify(log).streams:
        assert manifest.streams[stream.name].checkpoint == stream.checkpoint


def test_nothing_is_indexed_of_a_log_with_a_finding(log: Path, tmp_path: Path) -> None:
    path = sorted(log.glob("*.jsonl"))[0]
    path.write_bytes(path.read_bytes().replace(b'"eos"', b'"eot"', 1))
    done = compact([log], tmp_path / "index", check=True)
    assert [finding.kind for finding in done.findings] == ["changed"]
    assert (done.added, list((tmp_path / "index").rglob("*.parquet"))) == (0, [])


def test_a_log_that_changes_after_it_was_verified_is_no_verified_index(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = COMPACT._verified

    def verified_then_forged(*given: object) -> object:
        result = real(*given)
        # Every hash made anew, as somebody could who may write: only the verified root tells.
        for path in log.glob("*.jsonl"):
            path.unlink()
        other = tmp_path / "other"
        write(other, events(9))
        (forged,) = other.glob("*.jsonl")
        name = sorted(log.glob("*.checkpoint"))[0].name.removesuffix(".checkpoint")
        shutil.copy(forged, log / f"{name}.000001.jsonl")
        return result

    monkeypatch.setattr(COMPACT, "_verified", verified_then_forged)
    with pytest.raises(AuditError, match="was changed between verification and reading"):
        compact([log], tmp_path / "index", check=True)


def test_logs_of_many_folders_share_an_index(tmp_path: Path) -> None:
    logs = [tmp_path / "a", tmp_path / "b"]
    for seed, folder in enumerate(logs):
        write(folder, events(seed))
    compact(logs, tmp_path / "index")
    assert rebuilt(tmp_path / "index") == {**lines_of(logs[0]), **lines_of(logs[1])}


def test_a_folder_with_other_files_is_no_place_for_an_index(log: Path, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="holds files and no _guardsteer"):
        compact([log], log)
    with pytest.raises(AuditError, match=r"none of \* \? \["):
        compact([log], tmp_path / "in[dex")


def test_an_index_that_cannot_be_used_says_so(log: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    compact([log], index)
    with locked(index), pytest.raises(AuditError, match="another 'guardsteer audit compact'"):
        compact([log], index)
    next(iter(index.rglob("*.parquet"))).unlink()
    with pytest.raises(AuditError, match="this part of the index is gone"):
        compact([log], index)
    text = (index / MANIFEST).read_text()
    (index / MANIFEST).write_text(text.replace('"path":"day=', '"path":"../day=', 1))
    with pytest.raises(AuditError, match="is no part of an index"):
        compact([log], index)
    (index / MANIFEST).write_text('{"format": 99, "library": "9", "streams": {}}')
    with pytest.raises(AuditError, match="format 99"):
        compact([log], index)
    (index / MANIFEST).write_text("nonsense")
    with pytest.raises(AuditError, match="not the contents of an index"):
        compact([log], index)


def test_the_index_belongs_to_no_one_else_than_the_log(log: Path, tmp_path: Path) -> None:
    compact([log], tmp_path / "index")
    assert {os.stat(path).st_mode & 0o077 for path in (tmp_path / "index").rglob("*") if path.is_file()} == {
        0
    }


def test_rows_of_a_part_are_sorted_by_request(log: Path, tmp_path: Path) -> None:
    compact([log], tmp_path / "index")
    for path in (tmp_path / "index").rglob("*.parquet"):
        with duckdb.connect() as connection:
            found = connection.execute(f"SELECT request, seq FROM read_parquet('{path}')").fetchall()
        assert found == sorted(found, key=lambda row: (row[0] is None, row[0] or "", row[1]))
