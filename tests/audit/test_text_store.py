"""Kept text: encrypted, durable, authenticated, read back by its key alone, and forgotten with it."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardsteer.audit import Verification, open_journal, read, verify
from guardsteer.audit.journal import Journal
from guardsteer.audit.text import Kept, SubjectKeys, TextStore, forget, open_text_store, read_texts
from guardsteer.audit.text.sealing import Said, open_line, seal
from guardsteer.core.events import RequestStarted, TextDropped, TextForgotten, TextKept
from guardsteer.errors import AuditError, AuditWriteError
from tests.audit.support import KEY, segments

SECRET = "the answer is forty-two"


def split(tokens: Sequence[int]) -> list[str]:
    return [chr(token) for token in tokens]


def kept(part: str = "prompt", said: str = SECRET, **changes: Any) -> Kept:
    given: dict[str, Any] = {"subject": "ann", "text": "c-0", "request": "r-1", "sequence": 0, **changes}
    return Kept(**given, part=part, tokens=tuple(map(ord, said)), split=split)


def started(text: str = "c-0", request: str = "r-1") -> RequestStarted:
    return RequestStarted(
        time_ns=1,
        request=request,
        sequence=0,
        guard="g",
        policy_digest="b3:1",
        context={},
        prompt_digest="",
        prompt_tokens=3,
        settings={},
        text=text,
    )


@pytest.fixture
def keys(tmp_path: Path) -> SubjectKeys:
    return SubjectKeys(tmp_path / "keys")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = open_journal(tmp_path / "log", key=KEY)
    yield opened
    try:
        opened.close()
    except AuditWriteError:
        assert opened.failure


def write(journal: Journal, keys: SubjectKeys, *texts: Kept, **settings: Any) -> None:
    """Keep texts and close all."""
    store = open_text_store(journal, keys, **settings)
    for name, request in dict.fromkeys((text.text, text.request) for text in texts):
        journal.append(started(name, request))
    for text in texts:
        store.keep(text)
    store.close()
    journal.close()


def side_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "log" / "text").iterdir())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_what_was_kept_is_read_back_token_by_token(
    journal: Journal, keys: SubjectKeys, tmp_path: Path
) -> None:
    write(journal, keys, kept(), kept("output", "yes"), kept("output", "no", sequence=1))
    found = read_texts(tmp_path / "log", keys, "r-1")
    assert found.prompt is not None
    assert found.prompt.tokens == tuple(map(ord, SECRET))
    assert found.prompt.pieces == tuple(SECRET)
    assert found.prompt.text == SECRET
    assert {sequence: output.text for sequence, output in found.outputs.items()} == {0: "yes", 1: "no"}
    assert verify(tmp_path / "log").ok


def test_nothing_that_was_kept_lies_in_the_open(journal: Journal, keys: SubjectKeys, tmp_path: Path) -> None:
    write(journal, keys, kept())
    tokens = ",".join(str(ord(each)) for each in SECRET)
    for path in (tmp_path / "log").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"forty" not in data
            assert tokens.encode() not in data
            assert b"ann" not in data


def test_the_record_says_where_the_text_lies_and_its_digest(
    journal: Journal, keys: SubjectKeys, tmp_path: Path
) -> None:
    write(journal, keys, kept(), kept("output", "yes"))
    (path,) = side_files(tmp_path)
    data = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    records = [stored.event for stored in read(tmp_path / "log") if isinstance(stored.event, TextKept)]
    assert [(record.part, record.file) for record in records] == [
        ("prompt", path.name),
        ("output", path.name),
    ]
    end = 0
    for record in records:
        assert record.offset == end
        line = json.loads(data[record.offset : record.offset + record.bytes])
        assert (line["text"], line["part"], line["key"]) == ("c-0", record.part, record.key)
        end = record.offset + record.bytes + 1
    assert end == len(data)


def test_a_full_side_file_is_followed_by_the_next(
    journal: Journal, keys: SubjectKeys, tmp_path: Path
) -> None:
    store = open_text_store(journal, keys, file_bytes=100)
    journal.append(started())
    for part in ("prompt", "output"):
        store.keep(kept(part))
        store.flush()
    store.close()
    journal.close()
    assert len(side_files(tmp_path)) == 2
    found = read_texts(tmp_path / "log", keys, "r-1")
    assert found.prompt is not None
    assert found.prompt.text == found.outputs[0].text == SECRET
    assert verify(tmp_path / "log").ok


def test_each_subject_has_its_own_key(journal: Journal, keys: SubjectKeys, tmp_path: Path) -> None:
    write(journal, keys, kept(), kept(text="c-1", request="r-2", subject="bob"))
    records = [stored.event for stored in read(tmp_path / "log") if isinstance(stored.event, TextKept)]
    assert len({record.key for record in records}) == 2
    forget(tmp_path / "log", keys, "ann")
    gone, here = (read_texts(tmp_path / "log", keys, request).prompt for request in ("r-1", "r-2"))
    assert gone is not None
    assert here is not None
    assert "was destroyed" in gone.problem
    assert (gone.text, gone.tokens) == ("", ())
    assert here.text == SECRET


def test_forgetting_is_recorded_and_the_log_stays_whole(
    journal: Journal, keys: SubjectKeys, tmp_path: Path
) -> None:
    write(journal, keys, kept())
    anchor = journal.checkpoint
    before = [path.read_bytes() for path in [*segments(tmp_path / "log"), *side_files(tmp_path)]]
    destroyed = forget(tmp_path / "log", keys, "ann", reason="asked for")
    result = verify(tmp_path / "log", [anchor])
    assert result.ok
    (record,) = (each.event for each in read(tmp_path / "log") if isinstance(each.event, TextForgotten))
    assert (record.keys, record.reason) == (destroyed, "asked for")
    kept_under = {each.event.key for each in read(tmp_path / "log") if isinstance(each.event, TextKept)}
    assert kept_under == set(destroyed)
    after = [path.read_bytes() for path in [*segments(tmp_path / "log"), *side_files(tmp_path)]]
    assert set(before) <= set(after)
    assert "ann" not in str(record)


def test_forgetting_somebody_unknown_says_so_and_records_nothing(
    journal: Journal, keys: SubjectKeys, tmp_path: Path
) -> None:
    write(journal, keys, kept())
    with pytest.raises(AuditError, match=r"no key of the subject 'Ann'.*else its 'principal"):
        forget(tmp_path / "log", keys, "Ann")
    assert not [each for each in read(tmp_path / "log") if isinstance(each.event, TextForgotten)]
    with pytest.raises(AuditError, match="no such folder"):
        forget(tmp_path / "elsewhere", keys, "ann")
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_that_another_process_destroys_is_not_used_again(
    journal: Journal, keys: SubjectKeys, tmp_path: Path
) -> None:
    store = open_text_store(journal, keys)
    journal.append(started())
    store.keep(kept())
    store.flush()
    SubjectKeys(tmp_path / "keys").destroy("ann")
    store.keep(kept("output", "later"))
    store.close()
    journal.close()
    found = read_texts(tmp_path / "log", keys, "r-1")
    assert found.prompt is not None
    assert "was destroyed" in found.prompt.problem
    assert found.outputs[0].text == "later"


def test_of_an_id_that_was_used_again_the_last_request_is_read(
    journal: Journal, keys: SubjectKeys, tmp_path: Path
) -> None:
    write(journal, keys, kept(said="old"), kept("output", "older"), kept(said="new", text="c-9"))
    found = read_texts(tmp_path / "log", keys, "r-1")
    assert found.prompt is not None
    assert found.prompt.text == "new"
    assert found.outputs == {}


# --- tampering ----------------------------------------------------------------------------------


def changed(tmp_path: Path, change: Callable[[Path], object]) -> Verification:
    (path,) = side_files(tmp_path)
    change(path)
    return verify(tmp_path / "log")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (flip, "was changed"),
        (lambda path: path.write_bytes(b" " + path.read_bytes()), "was changed"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "is gone"),
        (lambda path: path.unlink(), "is gone"),
        (lambda path: path.rename(path.with_name("other.text")), "is gone"),
    ],
    ids=["bit", "moved", "cut", "removed", "renamed"],
)
def test_verification_finds_text_that_is_not_what_was_written(
    change: Callable[[Path], object], told: str, journal: Journal, keys: SubjectKeys, tmp_path: Path
) -> None:
    write(journal, keys, kept())
    assert verify(tmp_path / "log").ok
    result = changed(tmp_path, change)
    (finding,) = result.findings
    assert (finding.kind, told in finding.message, "r-1" in finding.message) == ("text", True, True)
    # The log itself is whole: its checkpoint holds, and what is changed in it too is found.
    assert result.streams[0].checkpoint == journal.checkpoint
    found = read_texts(tmp_path / "log", keys, "r-1").prompt
    assert found is not None
    assert found.problem


def test_processes_that_verify_apart_find_it_too(journal: Journal, keys: SubjectKeys, tmp_path: Path) -> None:
    write(journal, keys, kept())
    flip(side_files(tmp_path)[0])
    alone, apart = (verify(tmp_path / "log", processes=number) for number in (1, 2))
    assert alone.findings == apart.findings
    assert len(apart.findings) == 1


def test_a_line_cannot_be_opened_in_anothers_place_or_by_anothers_key() -> None:
    about: dict[str, Any] = {"text": "c-0", "part": "prompt", "sequence": 0, "key_id": "ab"}
    said = Said((1, 2), ("a", "b"))
    line = seal(said, **about, key=b"k" * 32)
    assert open_line(line, b"k" * 32, **about) == said
    for change in ({"text": "c-1"}, {"part": "output"}, {"sequence": 1}, {"key_id": "cd"}):
        assert open_line(line, b"k" * 32, **{**about, **change}) is None
    assert open_line(line, b"l" * 32, **about) is None
    assert open_line(b"{}", b"k" * 32, **about) is None
    assert seal(said, **about, key=b"k" * 32) != line


def test_a_record_that_names_a_file_elsewhere_is_not_followed(journal: Journal, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"x" * 10)
    (tmp_path / "log" / "text").mkdir()
    record = TextKept(
        time_ns=1,
        request="r",
        sequence=0,
        text="c-0",
        part="prompt",
        key="ab",
        file="../../outside",
        offset=0,
        bytes=10,
        digest="",
    )
    journal.append(record)
    journal.close()
    (finding,) = verify(tmp_path / "log").findings
    assert "is gone" in finding.message


# --- failures -----------------------------------------------------------------------------------


def test_the_keys_may_not_lie_in_the_log(journal: Journal) -> None:
    with pytest.raises(AuditError, match="keep them in another folder"):
        open_text_store(journal, SubjectKeys(journal.directory / "keys"))


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A disk on which no side file can be written until the fixture's value is called."""
    real, full = os.write, [True]

    def write_some(descriptor: int, data: Any) -> int:
        if full[0] and b'"nonce"' in bytes(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    def free() -> None:
        full[0] = False

    monkeypatch.setattr(os, "write", write_some)
    yield free
    free()


def test_a_full_disk_is_told_and_nothing_is_lost_once_there_is_room(
    full_disk: Callable[[], None], journal: Journal, keys: SubjectKeys, tmp_path: Path
) -> None:
    store = open_text_store(journal, keys)
    journal.append(started())
    store.keep(kept())
    wait_until(lambda: store.failed)
    assert "No space" in store.failure
    with pytest.raises(AuditWriteError, match="No space"):
        store.flush()
    store.keep(kept("output", "yes"))
    full_disk()
    wait_until(lambda: not store.failed)
    store.close()
    journal.close()
    assert store.dropped == 0
    found = read_texts(tmp_path / "log", keys, "r-1")
    assert found.prompt is not None
    assert found.prompt.text == SECRET
    assert found.outputs[0].text == "yes"
    assert verify(tmp_path / "log").ok


def test_what_is_not_written_when_the_store_closes_is_counted_and_recorded(
    full_disk: Callable[[], None], journal: Journal, keys: SubjectKeys, tmp_path: Path
) -> None:
    store = open_text_store(journal, keys)
    store.keep(kept())
    store.keep(kept("output"))
    wait_until(lambda: store.failed)
    with pytest.raises(AuditWriteError):
        store.close()
    assert store.dropped == 2
    full_disk()
    journal.close()
    (lost,) = (each.event for each in read(tmp_path / "log") if isinstance(each.event, TextDropped))
    assert (lost.count, "No space" in lost.reason) == (2, True)


def test_a_queue_that_is_full_drops_counts_and_recovers(
    journal: Journal, keys: SubjectKeys, tmp_path: Path
) -> None:
    go = threading.Event()

    def slow(tokens: Sequence[int]) -> list[str]:
        go.wait(10)
        return split(tokens)

    store = open_text_store(journal, keys, queue_tokens=50)
    store.keep(replace(kept(), split=slow))
    store.keep(kept("output", "x" * 40))
    assert store.failed
    assert store.dropped == 1
    go.set()
    wait_until(lambda: not store.failed)
    with pytest.raises(AuditWriteError, match="1 texts were not kept"):
        store.flush()
    store.keep(kept("output"))
    store.close()
    journal.close()
    (lost,) = (each.event for each in read(tmp_path / "log") if isinstance(each.event, TextDropped))
    assert (lost.count, "tokens wait" in lost.reason) == (1, True)


def test_a_text_that_cannot_be_split_is_lost_without_its_words_and_the_next_is_kept(
    journal: Journal, keys: SubjectKeys, tmp_path: Path
) -> None:
    def refuse(_: Sequence[int]) -> list[str]:
        raise ValueError(SECRET)

    store = open_text_store(journal, keys)
    journal.append(started())
    store.keep(replace(kept(), split=refuse))
    wait_until(lambda: store.dropped == 1)
    assert store.failure == "a text could not be read: ValueError"
    with pytest.raises(AuditWriteError):
        store.flush()
    store.keep(kept("output", "yes"))
    store.close()
    journal.close()
    assert read_texts(tmp_path / "log", keys, "r-1").outputs[0].text == "yes"
    assert all(SECRET.encode() not in path.read_bytes() for path in segments(tmp_path / "log"))


def test_a_text_after_the_end_is_counted(journal: Journal, keys: SubjectKeys) -> None:
    store = open_text_store(journal, keys)
    store.close()
    store.close()
    store.keep(kept())
    assert store.failed
    assert store.dropped == 1


def test_a_forked_child_writes_files_of_its_own(journal: Journal, keys: SubjectKeys, tmp_path: Path) -> None:
    store = open_text_store(journal, keys)
    journal.append(started())
    store.keep(kept())
    store.flush()
    journal.flush()
    child = os.fork()
    if not child:
        code = 1
        try:
            journal.append(started("c-1", "r-2"))
            store.keep(kept(said="of the child", text="c-1", request="r-2"))
            store.close()
            journal.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    store.keep(kept("output", "of the parent"))
    store.close()
    journal.close()
    assert len(side_files(tmp_path)) == 2
    assert verify(tmp_path / "log").ok
    theirs, ours = (read_texts(tmp_path / "log", keys, request) for request in ("r-2", "r-1"))
    assert theirs.prompt is not None
    assert theirs.prompt.text == "of the child"
    assert ours.outputs[0].text == "of the parent"


def test_what_failed_for_a_parent_has_not_failed_for_its_child(journal: Journal, keys: SubjectKeys) -> None:
    store = open_text_store(journal, keys)
    health = store.health
    health.lose("no room", 2)
    child = os.fork()
    if not child:
        sound = not store.failed and (store.failure, store.dropped) == ("", 0) and store.health is health
        os._exit(0 if sound else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (store.failed, store.dropped) == (True, 2)
    with pytest.raises(AuditWriteError, match="2 texts were not kept"):
        store.close()


def test_keeping_costs_the_caller_next_to_nothing(journal: Journal, keys: SubjectKeys) -> None:
    """It is queued: neither split nor encrypted by the caller."""
    callers: set[int] = set()

    def note(tokens: Sequence[int]) -> list[str]:
        callers.add(threading.get_ident())
        return split(tokens)

    store: TextStore = open_text_store(journal, keys)
    store.keep(replace(kept(), split=note))
    store.close()
    assert callers
    assert threading.get_ident() not in callers


def test_what_cannot_be_encrypted_is_lost_and_the_thread_goes_on(
    journal: Journal, keys: SubjectKeys, tmp_path: Path
) -> None:
    store = open_text_store(journal, keys)
    journal.append(started())
    store.keep(kept(subject="\ud800"))
    wait_until(lambda: store.dropped == 1)
    assert store.failure == "texts could not be encrypted: UnicodeEncodeError"
    with pytest.raises(AuditWriteError):
        store.flush()
    store.keep(kept("output", "yes"))
    store.close()
    journal.close()
    assert read_texts(tmp_path / "log", keys, "r-1").outputs[0].text == "yes"
