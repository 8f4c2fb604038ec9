"""Verification finds every change, and finds nothing where nothing was changed."""

from __future__ import annotations

import os
import shutil
import threading
import tracemalloc
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardsteer.audit import SegmentBegan, Verification, open_journal, verify
from guardsteer.audit.chain import chain, checkpoint_name, segment_name
from guardsteer.audit.checkpoint import Checkpoint
from guardsteer.audit.merkle import EMPTY_ROOT, Range, leaf_hash
from guardsteer.audit.records import decode_record, encode_record
from guardsteer.audit.signed_note import public_bytes
from guardsteer.errors import AuditError
from tests.audit.support import KEY, TIME_NS, checkpoint, flag, segments, story, write_log

FORGED = "20260101T000000Z-77-0123abcd"
ATTACKER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A closed log of five segments."""
    write_log(tmp_path / "log", story(), segment_bytes=1000, group=2)
    assert len(segments(tmp_path / "log")) == 5
    return tmp_path / "log"


def kinds(verification: Verification) -> list[str]:
    return [finding.kind for finding in verification.findings]


def test_an_untouched_log_has_no_finding_and_counts_its_records(log: Path) -> None:
    result = verify(log)
    assert result.ok
    assert result.notes == ()
    assert (result.records, result.segments) == (len(story()) + 1, 5)
    assert result.streams[0].closed
    assert result.first is None
    assert result.streams[0].checkpoint == checkpoint(log).read_text()
    assert result.streams[0].lines == len(list(every_line(log)))


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
    write_log(log, [flag(0)], segment_bytes=600)
    assert len(segments(log)) == 2
    missed = []
    for path in (*segments(log), checkpoint(log)):
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


def test_a_cut_end_is_found_by_the_checkpoint_however_much_is_cut(log: Path) -> None:
    last = segments(log)[-1]
    data = last.read_bytes()
    for size in range(len(data)):
        last.write_bytes(data[:size])
        assert "cut" in kinds(verify(log))
    last.unlink()
    assert kinds(verify(log)) == ["cut"]


@pytest.mark.parametrize(("index", "kind"), [(0, "missing"), (1, "missing"), (3, "missing"), (4, "cut")])
def test_a_missing_segment_is_one_finding(log: Path, index: int, kind: str) -> None:
    segments(log)[index].unlink()
    assert kinds(verify(log)) == [kind]


def test_all_segments_gone_but_the_checkpoint_there_is_a_finding(log: Path) -> None:
    for path in segments(log):
        path.unlink()
    assert kinds(verify(log)) == ["cut"]


def test_a_missing_checkpoint_is_a_finding(log: Path) -> None:
    checkpoint(log).unlink()
    assert kinds(verify(log)) == ["checkpoint"]


def test_an_emptied_checkpoint_is_a_finding(log: Path) -> None:
    checkpoint(log).write_bytes(b"")
    assert kinds(verify(log)) == ["checkpoint"]


def test_a_checkpoint_of_another_root_or_by_another_key_is_a_finding(log: Path) -> None:
    (stream,) = verify(log).streams
    checkpoint(log).write_bytes(Checkpoint(stream.name, stream.lines, b"\1" * 32).signed(ATTACKER))
    assert "first" in verify(log).findings[0].message
    checkpoint(log).write_bytes(Checkpoint(stream.name, stream.lines, root_of(log)).signed(ATTACKER))
    (finding,) = verify(log).findings
    assert (finding.kind, "not signed by the key" in finding.message) == ("checkpoint", True)


def root_of(log: Path) -> bytes:
    tree = Range()
    for _, lines, at in every_line(log):
        tree.append(leaf_hash(lines[at][:-1]))
    return tree.root()


def test_the_seal_of_a_segment_is_no_checkpoint_of_the_stream(log: Path) -> None:
    last = segments(log)[-1]
    header = decode_record(last.read_bytes().splitlines()[0])
    assert isinstance(header, SegmentBegan)
    last.unlink()
    checkpoint(log).write_text(header.seal)
    assert kinds(verify(log)) == ["checkpoint"]


def test_a_segment_of_another_stream_under_this_ones_name_is_foreign(log: Path, tmp_path: Path) -> None:
    write_log(tmp_path / "other", story("r-2"), segment_bytes=1000, group=2)
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
    path = segments(log)[-1]
    data = path.read_bytes()
    detached = b'{"kind":"detached","time_ns":%d,"guard":"g"}' % TIME_NS
    more = chain([detached], len(list(every_line(log))), data[-67:-3])
    path.write_bytes(data + more.data)
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


def rebuild(log: Path, change: tuple[bytes, bytes], *, keep_keys: bool, first: int = 1) -> None:
    """Change a log as somebody does who may write to it: every hash, root and seal anew.

    With ``keep_keys`` the headers and seals go on naming the keys that he has not got; else they name his
    own. Segments before ``first`` stay as they are.
    """
    lines, previous, tree = 0, b"0" * 64, Range()
    for number, path in enumerate(segments(log), start=1):
        bodies = [b"{" + line.split(b",", 1)[1][:-75] + b"}" for line in path.read_bytes().splitlines()]
        header = decode_record(bodies[0])
        assert isinstance(header, SegmentBegan)
        key = b64decode(header.key) if keep_keys else public_bytes(ATTACKER)
        seal = Checkpoint(header.stream, lines, tree.root(), key).signed(ATTACKER).decode()
        changed = {
            "previous": previous.decode(),
            "key": b64encode(key).decode(),
            "seal": seal if number > 1 else "",
        }
        if number >= first:
            bodies[0] = encode_record(msgspec.structs.replace(header, **changed))
        chained = chain([body.replace(*change) for body in bodies], lines, previous)
        path.write_bytes(chained.data)
        lines, previous = chained.following, chained.hash
        for leaf in chained.leaves:
            tree.append(leaf)
    stream = checkpoint(log).stem
    checkpoint(log).write_bytes(Checkpoint(stream, lines, tree.root()).signed(ATTACKER))


def test_a_log_that_was_rebuilt_with_its_own_keys_in_the_headers_is_found(log: Path) -> None:
    rebuild(log, (b"warm", b"cold"), keep_keys=True)
    (finding,) = verify(log).findings
    assert (finding.file, finding.line, finding.kind) == (segments(log)[1].name, 1, "signature")


@pytest.mark.parametrize("first", [2, 3, 4, 5])
def test_whoever_takes_over_later_cannot_rebuild_what_was_sealed_before(log: Path, first: int) -> None:
    rebuild(log, (b"nothing", b"changed"), keep_keys=False, first=first)
    (finding,) = verify(log).findings
    assert (finding.file, finding.kind) == (segments(log)[first - 1].name, "signature")
    assert "not vouched for by the key of the segment before" in finding.message


def test_a_log_that_was_rebuilt_with_new_keys_is_found_by_an_anchor_or_a_trusted_key(tmp_path: Path) -> None:
    signer = Ed25519PrivateKey.generate()
    log, trusted = tmp_path / "log", [public_bytes(signer)]
    with open_journal(log, key=KEY, signing_key=signer, segment_bytes=1000) as journal:
        for event in story():
            journal.append(event)
            journal.flush()
        anchor = journal.checkpoint
    assert verify(log, [anchor], trusted=trusted).ok
    assert verify(log, trusted=trusted).streams[0].vouched_by == trusted[0].hex()
    rebuild(log, (b"warm", b"cold"), keep_keys=False)
    assert verify(log).ok
    assert kinds(verify(log, [anchor])) == ["anchor"]
    assert kinds(verify(log, trusted=trusted)) == ["signature"]


def test_a_stream_that_nobody_vouches_for_fails_where_somebody_must(log: Path) -> None:
    assert verify(log).ok
    found = verify(log, trusted=[public_bytes(ATTACKER)])
    assert kinds(found) == ["signature"]
    assert found.streams[0].vouched_by == ""


def test_the_key_of_one_stream_vouches_for_no_other(tmp_path: Path) -> None:
    signer = Ed25519PrivateKey.generate()
    trusted = [public_bytes(signer)]
    for name in ("one", "two"):
        with open_journal(tmp_path / name, key=KEY, signing_key=signer) as journal:
            journal.append(flag(0))
    seals = []
    for name in ("one", "two"):
        header = decode_record(segments(tmp_path / name)[0].read_bytes().splitlines()[0])
        assert isinstance(header, SegmentBegan)
        seals.append(header.seal)
    (path,) = segments(tmp_path / "one")
    bodies = [b"{" + line.split(b",", 1)[1][:-75] + b"}" for line in path.read_bytes().splitlines()]
    header = decode_record(bodies[0])
    assert isinstance(header, SegmentBegan)
    bodies[0] = encode_record(msgspec.structs.replace(header, seal=seals[1]))
    path.write_bytes(chain(bodies, 0, b"0" * 64).data)
    assert "another stream or key" in str(verify(tmp_path / "one", trusted=trusted).first)


def test_a_clock_that_was_set_back_is_found_at_its_line(tmp_path: Path) -> None:
    write_log(tmp_path, [flag(60 * 10**9), flag(0), flag(1)])
    (finding,) = verify(tmp_path).findings
    assert (finding.line, finding.kind) == (3, "clock")
    assert "60.0 s" in finding.message


def began(number: int = 1, version: int = 2) -> bytes:
    return encode_record(
        SegmentBegan(
            time_ns=TIME_NS,
            format=version,
            stream=FORGED,
            number=number,
            previous="0" * 64,
            digest_key="k",
            library="0",
            pid=1,
            key=b64encode(public_bytes(ATTACKER)).decode(),
            seal="",
        )
    )


def forge(directory: Path, bodies: list[bytes], first_seq: int = 0) -> Verification:
    """Verify one segment whose chain and checkpoint are right, whatever its lines say."""
    chained = chain(bodies, first_seq, b"0" * 64)
    tree = Range()
    for leaf in chained.leaves:
        tree.append(leaf)
    (directory / segment_name(FORGED, 1)).write_bytes(chained.data)
    (directory / checkpoint_name(FORGED)).write_bytes(
        Checkpoint(FORGED, tree.end, tree.root()).signed(ATTACKER)
    )
    return verify(directory)


def test_a_chain_that_holds_must_still_say_what_a_log_says(tmp_path: Path) -> None:
    event = encode_record(flag(0))
    assert kinds(forge(tmp_path, [began(), event])) == []
    assert kinds(forge(tmp_path, [event, event])) == ["header"]
    assert kinds(forge(tmp_path, [began(), event, began()])) == ["header"]
    assert kinds(forge(tmp_path, [began(version=1), event])) == ["header"]
    assert kinds(forge(tmp_path, [began(number=2), event])) == ["foreign"]
    assert kinds(forge(tmp_path, [began(), event], first_seq=1)) == ["missing"]


def test_the_checkpoint_of_another_stream_is_none(log: Path, tmp_path: Path) -> None:
    write_log(tmp_path / "other", story(), segment_bytes=1000, group=2)
    checkpoint(log).write_bytes(checkpoint(tmp_path / "other").read_bytes())
    found = verify(log).findings
    assert [finding.kind for finding in found] == ["checkpoint"]
    assert "changed" in found[0].message


def test_an_anchor_finds_a_deleted_stream_and_fits_an_untouched_one(log: Path, tmp_path: Path) -> None:
    (stream,) = verify(log).streams
    assert verify(log, [stream.checkpoint]).ok
    write_log(tmp_path / "other", story())
    assert kinds(verify(tmp_path / "other", [stream.checkpoint])) == ["anchor"]
    with pytest.raises(AuditError, match="is not one"):
        verify(log, ["nonsense"])


def test_an_anchor_finds_an_end_that_was_cut_together_with_its_checkpoint(tmp_path: Path) -> None:
    with open_journal(tmp_path / "log", key=KEY) as journal:
        journal.append(flag(0))
        journal.flush()
        early = journal.checkpoint
        (path,) = segments(tmp_path / "log")
        short = path.read_bytes()
        journal.append(flag(1))
        journal.flush()
        late = journal.checkpoint
    assert verify(tmp_path / "log", [early, late + early]).ok
    path.write_bytes(short)
    checkpoint(tmp_path / "log").write_text(early)
    assert verify(tmp_path / "log", [early]).ok
    (finding,) = verify(tmp_path / "log", [late]).findings
    assert (finding.kind, "2 lines alone" in finding.message) == ("anchor", True)


def test_an_anchor_at_nothing_and_one_by_another_key_are_told_apart(log: Path) -> None:
    (stream,) = verify(log).streams
    zero = Checkpoint(stream.name, 0, EMPTY_ROOT).signed(ATTACKER).decode()
    (finding,) = verify(log, [zero]).findings
    assert (finding.kind, "not signed" in finding.message) == ("anchor", True)


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
    (path,) = segments(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data + chain([b'{"kind":"of tomorrow"}'], 1, data[-67:-3]).data)
    result = verify(tmp_path)
    assert result.ok
    assert sorted(note.kind for note in result.notes) == ["open", "uncommitted", "unknown"]
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


def test_a_segment_that_a_listing_misses_is_not_gone(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = os.listdir(log)
    for missed in segments(log)[:-1]:
        monkeypatch.setattr(os, "listdir", lambda _, missed=missed: [n for n in names if n != missed.name])
        assert verify(log).ok
    monkeypatch.undo()
    segments(log)[2].unlink()
    assert "missing" in kinds(verify(log))


def test_a_huge_number_of_a_segment_costs_nothing(log: Path) -> None:
    stream = checkpoint(log).name.removesuffix(".checkpoint")
    (log / segment_name(stream, 999_999_999_999)).write_bytes(b"")
    assert "missing" in kinds(verify(log))


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
