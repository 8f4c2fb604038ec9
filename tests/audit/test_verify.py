"""Verification finds every change, and finds nothing where nothing was changed."""

from __future__ import annotations

import shutil
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardsteer.audit import Head, SegmentBegan, Verification, open_journal, verify
from guardsteer.audit.chain import decode_head, encode_head, head_name, seal, segment_name
from guardsteer.audit.records import encode_record
from guardsteer.errors import AuditError
from tests.audit.support import KEY, flag, head, segments, story, write_log

FORGED = "20260101T000000Z-77-0123abcd"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A closed log of four segments."""
    write_log(tmp_path / "log", story(), segment_bytes=900, group=2)
    assert len(segments(tmp_path / "log")) == 4
    return tmp_path / "log"


def kinds(verification: Verification) -> list[str]:
    return [finding.kind for finding in verification.findings]


def test_an_untouched_log_has_no_finding_and_counts_its_records(log: Path) -> None:
    result = verify(log)
    assert result.ok
    assert result.notes == ()
    assert (result.records, result.segments) == (len(story()) + 1, 4)
    assert result.streams[0].closed
    assert result.streams[0].head == decode_head(head(log).read_bytes())


@pytest.mark.parametrize(
    "change",
    [
        lambda data, at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
        lambda data, at: data[:at] + b"\n" + data[at + (data[at] != 10) :],
        lambda data, at: data[:at] + data[at + 1 :],
        lambda data, at: data[: at + 1] + b"0" + data[at + 1 :],
    ],
    ids=["one bit flipped", "newline put in", "byte deleted", "byte inserted"],
)
def test_a_change_of_any_single_byte_of_any_file_is_found(
    tmp_path: Path, change: Callable[[bytes, int], bytes]
) -> None:
    log = tmp_path / "small"
    write_log(log, [flag(0)], segment_bytes=450)
    assert len(segments(log)) == 2
    missed = []
    for path in (*segments(log), head(log)):
        data = path.read_bytes()
        for at in range(len(data)):
            path.write_bytes(change(data, at))
            if verify(log).ok:
                missed.append((path.suffix, at))
        path.write_bytes(data)
    assert missed == []
    assert verify(log).ok


def every_line(log: Path) -> Iterator[tuple[Path, list[bytes], int]]:
    for path in segments(log):
        lines = path.read_bytes().splitlines(keepends=True)
        for at in range(len(lines)):
            yield path, lines, at


def test_every_deleted_line_is_found_first_and_last_too(log: Path) -> None:
    for path, lines, at in list(every_line(log)):
        path.write_bytes(b"".join(lines[:at] + lines[at + 1 :]))
        assert not verify(log).ok, (path, at)
        path.write_bytes(b"".join(lines))


def test_every_repeated_line_and_every_swap_of_two_lines_is_found(log: Path) -> None:
    for path, lines, at in list(every_line(log)):
        path.write_bytes(b"".join([*lines[: at + 1], *lines[at:]]))
        assert not verify(log).ok
        for other in range(at):
            swapped = list(lines)
            swapped[at], swapped[other] = lines[other], lines[at]
            path.write_bytes(b"".join(swapped))
            assert not verify(log).ok
        path.write_bytes(b"".join(lines))


@pytest.mark.parametrize("at", [1, 2, 3])
def test_one_changed_line_gives_one_finding_at_its_place(tmp_path: Path, at: int) -> None:
    write_log(tmp_path, story())
    (path,) = segments(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[at] = lines[at].replace(b'"sequence":0', b'"sequence":1')
    path.write_bytes(b"".join(lines))
    (finding,) = verify(tmp_path).findings
    assert (finding.file, finding.line, finding.kind) == (path.name, at + 1, "changed")


def test_a_changed_hash_gives_one_finding_at_its_place(tmp_path: Path) -> None:
    write_log(tmp_path, story())
    (path,) = segments(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:-10] + b"ffff" + lines[2][-6:]
    path.write_bytes(b"".join(lines))
    assert [(finding.line, finding.kind) for finding in verify(tmp_path).findings] == [(3, "changed")]


def test_deleted_lines_are_named(tmp_path: Path) -> None:
    write_log(tmp_path, story())
    (path,) = segments(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[4:]))
    (finding,) = verify(tmp_path).findings
    assert (finding.line, finding.kind) == (3, "missing")
    assert "lines 2 to 3" in finding.message
    assert str(finding).startswith(f"{path.name}:3: ")


def test_a_cut_end_is_found_by_the_head_however_much_is_cut(log: Path) -> None:
    last = segments(log)[-1]
    data = last.read_bytes()
    for size in range(len(data)):
        last.write_bytes(data[:size])
        assert "cut" in kinds(verify(log))
    last.unlink()
    assert kinds(verify(log)) == ["cut"]


@pytest.mark.parametrize(("index", "kind"), [(0, "missing"), (1, "missing"), (2, "missing"), (3, "cut")])
def test_a_missing_segment_is_one_finding(log: Path, index: int, kind: str) -> None:
    segments(log)[index].unlink()
    assert kinds(verify(log)) == [kind]


def test_all_segments_gone_but_the_head_there_is_a_finding(log: Path) -> None:
    for path in segments(log):
        path.unlink()
    assert kinds(verify(log)) == ["cut"]


def test_a_missing_head_is_a_finding(log: Path) -> None:
    head(log).unlink()
    assert kinds(verify(log)) == ["head"]


def test_an_older_head_put_back_after_a_changed_line_does_not_hide_the_change(log: Path) -> None:
    known = decode_head(head(log).read_bytes())
    assert known is not None
    head(log).write_bytes(encode_head(type(known)(known.stream, known.lines, "f" * 64)))
    assert kinds(verify(log)) == ["head"]


def test_a_segment_of_another_stream_under_this_ones_name_is_foreign(log: Path, tmp_path: Path) -> None:
    write_log(tmp_path / "other", story("r-2"), segment_bytes=900, group=2)
    target = segments(log)[1]
    shutil.copy(segments(tmp_path / "other")[1], target)
    found = verify(log).findings
    assert (found[0].file, found[0].kind) == (target.name, "foreign")


def test_two_segments_of_a_stream_exchanged_are_found(log: Path) -> None:
    first, second, *_ = segments(log)
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    assert "foreign" in kinds(verify(log))


def test_lines_after_the_closing_record_are_found_even_when_they_chain(log: Path) -> None:
    known = decode_head(head(log).read_bytes())
    assert known is not None
    more, lines, last_hash = seal(
        [b'{"kind":"detached","time_ns":1,"guard":"g"}'], known.lines, known.hash.encode()
    )
    path = segments(log)[-1]
    path.write_bytes(path.read_bytes() + more)
    assert kinds(verify(log)) == ["closed"]
    head(log).write_bytes(encode_head(type(known)(known.stream, lines, last_hash.decode())))
    assert kinds(verify(log)) == ["closed"]


def test_a_torn_line_that_was_never_committed_is_a_note(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, key=KEY)
    journal.append(flag(0))
    journal.flush()
    (path,) = segments(tmp_path)
    committed = path.read_bytes()
    path.write_bytes(committed + b'{"seq":2,"kind":"flag_ch')
    result = verify(tmp_path)
    assert result.ok
    assert result.records == 1
    assert sorted(note.kind for note in result.notes) == ["open", "torn"]
    assert "torn" in [note.kind for note in result.notes if note.line == 3]
    path.write_bytes(committed)
    journal.close()


def test_a_rebuilt_chain_is_found_with_an_anchor_only(tmp_path: Path) -> None:
    write_log(tmp_path / "log", story())
    write_log(tmp_path / "kept", story())
    (stream,) = verify(tmp_path / "log").streams
    anchor = str(stream.head)
    (path,) = segments(tmp_path / "log")
    lines = path.read_bytes().splitlines(keepends=True)
    bodies = [b"{" + line.split(b",", 1)[1][:-76] + b"}" for line in lines]
    bodies[3] = bodies[3].replace(b"warm", b"cold")
    data, count, last_hash = seal(bodies, 0, b"0" * 64)
    path.write_bytes(data)
    head(tmp_path / "log").write_bytes(encode_head(type(stream.head)(stream.name, count, last_hash.decode())))
    assert verify(tmp_path / "log").ok
    assert kinds(verify(tmp_path / "log", [anchor])) == ["anchor"]


def began(number: int = 1, version: int = 1) -> bytes:
    return encode_record(
        SegmentBegan(
            time_ns=1,
            format=version,
            stream=FORGED,
            number=number,
            previous="0" * 64,
            digest_key="k",
            library="0",
            pid=1,
        )
    )


def forge(directory: Path, bodies: list[bytes], first_seq: int = 0) -> Verification:
    """Verify one segment whose chain and head are right, whatever its lines say."""
    data, lines, last_hash = seal(bodies, first_seq, b"0" * 64)
    (directory / segment_name(FORGED, 1)).write_bytes(data)
    (directory / head_name(FORGED)).write_bytes(encode_head(Head(FORGED, lines, last_hash.decode())))
    return verify(directory)


def test_a_chain_that_holds_must_still_say_what_a_log_says(tmp_path: Path) -> None:
    event = encode_record(flag(0))
    assert kinds(forge(tmp_path, [began(), event])) == []
    assert kinds(forge(tmp_path, [event, event])) == ["header"]
    assert kinds(forge(tmp_path, [began(), event, began()])) == ["header"]
    assert kinds(forge(tmp_path, [began(version=2), event])) == ["header"]
    assert kinds(forge(tmp_path, [began(number=2), event])) == ["foreign"]
    assert kinds(forge(tmp_path, [began(), event], first_seq=1)) == ["missing"]


def test_the_head_of_another_stream_is_no_head(log: Path, tmp_path: Path) -> None:
    write_log(tmp_path / "other", story(), segment_bytes=900, group=2)
    head(log).write_bytes(head(tmp_path / "other").read_bytes())
    found = verify(log).findings
    assert [finding.kind for finding in found] == ["head"]
    assert "changed" in found[0].message


def test_an_anchor_finds_a_deleted_stream_and_fits_an_untouched_one(log: Path, tmp_path: Path) -> None:
    (stream,) = verify(log).streams
    assert verify(log, [str(stream.head)]).ok
    write_log(tmp_path / "other", story())
    assert kinds(verify(tmp_path / "other", [str(stream.head)])) == ["anchor"]
    with pytest.raises(AuditError, match="not an anchor"):
        verify(log, ["nonsense"])


def test_no_log_or_no_directory_is_an_error_not_a_success(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="no audit log"):
        verify(tmp_path)
    with pytest.raises(AuditError, match="cannot be read"):
        verify(tmp_path / "absent")


def test_other_files_and_another_digest_key_are_notes(log: Path) -> None:
    (log / "prompts.jsonl").write_text("{}\n")
    (log / "digest.key").write_text("another key, long enough\n")
    result = verify(log)
    assert result.ok
    assert sorted(note.kind for note in result.notes) == ["key", "other_file"]


def test_a_record_of_a_later_version_is_a_note(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, key=KEY)
    known = journal.head
    assert known is not None
    (path,) = segments(tmp_path)
    more, _, _ = seal([b'{"kind":"of tomorrow"}'], known.lines, known.hash.encode())
    data = path.read_bytes()
    path.write_bytes(data + more)
    result = verify(tmp_path)
    assert result.ok
    assert "unknown" in [note.kind for note in result.notes]
    path.write_bytes(data)
    journal.close()


@pytest.mark.parametrize("data", [b"\n" * 500, b"\0" * 3_000_000, bytes(range(256)) * 200, b'{"seq":' * 9])
def test_a_segment_of_rubbish_gives_findings_and_no_exception(log: Path, data: bytes) -> None:
    segments(log)[1].write_bytes(data)
    found = verify(log).findings
    assert found
    assert len(found) < 250


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=12),
    st.integers(1, 3000),
    st.integers(0, 4),
)
def test_whatever_is_recorded_and_however_it_is_cut_up_there_is_no_false_alarm(
    tmp_path_factory: pytest.TempPathFactory, requests: list[str], segment_bytes: int, group: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    events = [flag(step, request) for step, request in enumerate(requests)]
    write_log(directory, list(events), segment_bytes=segment_bytes, group=group)
    result = verify(directory)
    assert result.findings == ()
    assert result.notes == ()
    assert result.records == len(requests) + 1


def test_a_log_that_is_being_written_and_rotated_has_no_finding(tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        with open_journal(tmp_path, key=KEY, segment_bytes=4000) as journal:
            step = 0
            while not stop.is_set():
                journal.append(flag(step))
                step += 1
                if step % 20 == 0:
                    journal.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not segments(tmp_path):
            pass
        results = [verify(tmp_path)]
        while len(results) < 40 or results[-1].segments < 5:
            results.append(verify(tmp_path))
    finally:
        stop.set()
        writer.join()
    assert [result.findings for result in results if not result.ok] == []


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        directory = tmp_path / str(count)
        with open_journal(directory, key=KEY) as journal:
            for step in range(count):
                journal.append(flag(step))
        tracemalloc.start()
        try:
            assert verify(directory).records == count + 1
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(10_000) < peak(1_000) + 100_000
