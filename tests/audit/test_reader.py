"""Reading gives typed records, leaves damaged lines out and never crashes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardsteer.audit import SegmentBegan, StoredEvent, StreamClosed, format_trail, read, trail, verify
from guardsteer.audit.chain import MAX_LINE_BYTES
from guardsteer.audit.files import read_lines
from guardsteer.errors import AuditError
from tests.audit.support import flag, segments, story, write_log


def test_reading_gives_every_record_with_its_stream_and_number(tmp_path: Path) -> None:
    write_log(tmp_path, story(), segment_bytes=900, group=2)
    stored = list(read(tmp_path))
    (stream,) = verify(tmp_path).streams
    assert [record.seq for record in stored] == list(range(stream.lines))
    assert {record.stream for record in stored} == {stream.name}
    assert isinstance(stored[0].event, SegmentBegan)
    assert isinstance(stored[-1].event, StreamClosed)
    own = [record.event for record in stored if not isinstance(record.event, SegmentBegan | StreamClosed)]
    assert own == story()
    assert all(record.intact for record in stored)


def test_a_trail_holds_one_request_alone(tmp_path: Path) -> None:
    mixed = [event for pair in zip(story("r-1"), story('r-"2" ü'), strict=True) for event in pair]
    write_log(tmp_path, mixed)
    assert [stored.event for stored in trail(tmp_path, 'r-"2" ü')] == story('r-"2" ü')
    assert [stored.event for stored in trail(tmp_path, "r-1")] == story("r-1")
    assert trail(tmp_path, "r-") == ()


def test_a_context_that_names_another_request_does_not_join_its_trail(tmp_path: Path) -> None:
    started = msgspec.structs.replace(story("r-2")[0], context={"request": "r-1"})
    write_log(tmp_path, [started, flag(0, "r-1")])
    assert [stored.event for stored in trail(tmp_path, "r-1")] == [flag(0, "r-1")]


def test_a_line_that_is_too_long_is_cut_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * (3 * MAX_LINE_BYTES + 5) + b"\nnext\n" + b"y" * (2 * MAX_LINE_BYTES))
    first, second, torn = read_lines(path)
    assert first == b"x" * MAX_LINE_BYTES + b"\n"
    assert second == b"next\n"
    assert torn == b"y" * MAX_LINE_BYTES


def test_a_trail_over_several_streams_is_in_the_order_of_their_start(tmp_path: Path) -> None:
    write_log(tmp_path, [flag(0), flag(1)])
    write_log(tmp_path, [flag(2)])
    found = trail(tmp_path, "r-1")
    assert len({stored.stream for stored in found}) == 2
    assert sorted(stored.stream for stored in found) == [stored.stream for stored in found]


def test_an_altered_record_is_marked_and_a_line_that_is_none_is_left_out(tmp_path: Path) -> None:
    write_log(tmp_path, [flag(step) for step in range(5)])
    (path,) = segments(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"hostile"', b'"friendl"')
    lines[4] = b"rubbish\n"
    path.write_bytes(b"".join(lines))
    damage: list[tuple[str, int]] = []
    stored = list(read(tmp_path, on_damage=lambda file, line: damage.append((file, line))))
    assert damage == [(path.name, 5)]
    assert [record.seq for record in stored if not record.intact] == [2]
    assert stored[1].intact
    assert stored[3].intact


def test_an_unfinished_last_line_is_no_damage(tmp_path: Path) -> None:
    write_log(tmp_path, [flag(0)])
    (path,) = segments(tmp_path)
    path.write_bytes(path.read_bytes() + b'{"seq":3,"ki')
    damage: list[tuple[str, int]] = []
    assert len(list(read(tmp_path, on_damage=lambda *place: damage.append(place)))) == 3
    assert damage == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_makes_reading_showing_or_verifying_crash(tmp_path: Path, data: st.DataObject) -> None:
    for path in tmp_path.iterdir():
        path.unlink()
    write_log(tmp_path, story())
    (path,) = segments(tmp_path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(at, min(at + 30, len(content))))
        content[at:end] = data.draw(st.binary(max_size=30))
    path.write_bytes(content)
    format_trail(read(tmp_path), color=True)
    trail(tmp_path, "r-1")
    verify(tmp_path)


def test_a_directory_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="cannot be read"):
        list(read(tmp_path / "absent"))
    write_log(tmp_path, [flag(0)])
    (path,) = segments(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(AuditError, match="cannot be read"):
        list(read(tmp_path))


def test_a_stored_event_is_a_plain_value() -> None:
    assert StoredEvent("s", 1, flag(0)) == StoredEvent("s", 1, flag(0))
