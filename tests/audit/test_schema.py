"""The published schema is what is written, older logs go on being read, and newer ones hide nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from guardsteer.audit import SCHEMA_VERSION, SegmentBegan, StoredEvent, read, strengths_of, trail, verify
from guardsteer.audit.records import Record
from guardsteer.audit.schema import make_schema, published_schema
from guardsteer.audit.stream import StreamWriter
from guardsteer.cli.main import main
from guardsteer.core.events import Attached, PolicyAdopted, RequestStarted, RowRevised
from guardsteer.errors import AuditError
from tests.audit.support import flag, segments, story, write_log

jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema is not installed")

SCHEMA_1 = Path(__file__).parent / "logs" / "schema-1"


def lines(directory: Path) -> Iterator[Any]:
    for path in segments(directory):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def problems(schema: dict[str, Any], line: Any) -> list[str]:
    """Return what a validator of other makers says of a line; by its kind, so that it says what is wrong."""
    known = schema["$defs"].get(line["kind"])
    if known is None:
        return [f"unknown kind {line['kind']}"]
    validator = jsonschema.Draft202012Validator({**known, "$defs": schema["$defs"]})
    return [f"{line['kind']}: {error.message}" for error in validator.iter_errors(line)]


def test_the_published_schema_is_that_of_the_structs() -> None:
    """After an addition: guardsteer.audit.schema.make_schema() into guardsteer/audit/schemas/VERSION.json."""
    assert published_schema() == make_schema()


@pytest.mark.parametrize("number", range(1, SCHEMA_VERSION + 1))
def test_every_published_schema_is_one(number: int) -> None:
    jsonschema.Draft202012Validator.check_schema(published_schema(number))


def test_a_schema_describes_every_kind_in_words() -> None:
    described = published_schema()["$defs"]
    assert len(described) == len(get_args(Record))
    assert all(len(each["description"]) > 20 for each in described.values())


@pytest.mark.parametrize("number", range(1, SCHEMA_VERSION))
def test_nothing_is_ever_taken_away_and_what_is_added_has_a_default(number: int) -> None:
    older, newer = published_schema(number)["$defs"], published_schema(number + 1)["$defs"]
    assert older.keys() <= newer.keys()
    for kind, before in older.items():
        after = newer[kind]
        assert after["required"] == before["required"], kind
        assert before["properties"].keys() <= after["properties"].keys(), kind
        for name in after["properties"].keys() - before["properties"].keys():
            assert "default" in after["properties"][name], (kind, name)


def test_lines_are_what_their_schema_says(tmp_path: Path) -> None:
    write_log(tmp_path, story())
    found = list(lines(tmp_path))
    schema = published_schema()
    assert [problem for line in found for problem in problems(schema, line)] == []
    whole = jsonschema.Draft202012Validator(schema)
    assert all(whole.is_valid(line) for line in found)


@pytest.mark.parametrize(
    "change",
    [{"kind": "no_such"}, {"seq": -1}, {"hash": "0"}, {"time_ns": "now"}, {"request": None}, {"up": 1}],
    ids=lambda change: next(iter(change)),
)
def test_a_line_that_is_none_is_found_by_the_schema(change: dict[str, Any], tmp_path: Path) -> None:
    write_log(tmp_path, [flag(0)])
    line = next(line for line in lines(tmp_path) if line["kind"] == "flag_changed")
    whole = jsonschema.Draft202012Validator(published_schema())
    assert whole.is_valid(line)
    assert not whole.is_valid({**line, **change})


# --- older logs ---------------------------------------------------------------------------------


def test_a_log_of_the_first_schema_is_whole_and_fits_its_own_and_the_newest_schema() -> None:
    result = verify(SCHEMA_1)
    assert (result.ok, result.records, result.segments) == (True, 263, 4)
    for number in range(1, SCHEMA_VERSION + 1):
        schema = published_schema(number)
        assert [problem for line in lines(SCHEMA_1) for problem in problems(schema, line)] == []


def test_what_the_first_schema_did_not_know_has_its_default() -> None:
    damage: list[Any] = []
    stored = list(read(SCHEMA_1, on_damage=lambda *place: damage.append(place)))
    assert not damage
    assert all(each.intact for each in stored)
    events = [each.event for each in stored]
    assert {event.schema for event in events if isinstance(event, SegmentBegan)} == {1}
    (attached,) = (event for event in events if isinstance(event, Attached))
    assert (attached.versions, attached.device) == ({}, "")
    started = [event for event in events if isinstance(event, RequestStarted)]
    assert {(event.call, event.rows, event.seed, event.turns, event.text) for event in started} == {
        ("", 0, None, None, "")
    }
    assert {event.request for event in started} == {f"r-{number}" for number in range(1, 9)}
    assert [event.policy for event in events if isinstance(event, PolicyAdopted)] == [
        "scripted",
        "next",
        "next",
    ]


def test_strengths_are_rebuilt_from_a_log_of_the_first_schema() -> None:
    told = trail(SCHEMA_1, "r-4")
    revised = next(each.event for each in told if isinstance(each.event, RowRevised))
    assert (revised.position, revised.dropped) == (9, 2)
    both = {"one": 0.8, "two": -0.5}
    assert strengths_of(told) == {8: both, 9: both, 10: both, 12: both}
    theirs = {"one": 0.6, "two": -0.5}
    assert strengths_of(told, track="next", mode="shadow") == {8: theirs, 9: theirs, 10: theirs, 12: theirs}
    # The kill switch was on while r-6 was generated.
    assert strengths_of(trail(SCHEMA_1, "r-6")) == {}


# --- newer logs ---------------------------------------------------------------------------------


def newer(directory: Path) -> None:
    """Write a log as a newer version would: another kind, and another field of a known kind."""
    known = msgspec.json.encode(flag(1))
    stream = StreamWriter(directory, digest_key="0" * 16, segment_bytes=1 << 20)
    stream.commit([known, known[:-1] + b',"mood":"calm"}'])
    stream.commit([b'{"kind":"thought_read","time_ns":1,"request":"r-1","sequence":0,"thought":"?"}', known])
    stream.commit([b'{"kind":"flag_changed","time_ns":"?"}'])
    stream.close()


def test_a_kind_that_only_a_newer_version_knows_is_reported_and_hides_nothing(tmp_path: Path) -> None:
    newer(tmp_path)
    unknown: list[tuple[str, int, str]] = []
    damage: list[tuple[str, int]] = []

    def events(request: str | None = None) -> list[StoredEvent]:
        return list(
            read(
                tmp_path,
                request,
                on_damage=lambda *place: damage.append(place),
                on_unknown=lambda *place: unknown.append(place),
            )
        )

    assert [stored.event for stored in events()][1:] == [flag(1)] * 3
    (file,) = segments(tmp_path)
    assert unknown == [(file.name, 4, "thought_read")]
    # A known kind that cannot be read is damaged, whoever wrote it.
    assert damage == [(file.name, 6)]
    unknown.clear()
    assert len(events("r-1")) == 3
    assert len(unknown) == 1
    assert len(list(read(tmp_path))) == 4


def test_verification_notes_a_newer_kind_by_its_name_and_finds_nothing(tmp_path: Path) -> None:
    newer(tmp_path)
    result = verify(tmp_path)
    assert result.ok
    (note,) = [note for note in result.notes if note.kind == "unknown"]
    assert (note.line, "thought_read" in note.message) == (4, True)


def test_show_names_newer_kinds_and_shows_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = StreamWriter(tmp_path, digest_key="0" * 16, segment_bytes=1 << 20)
    stream.commit([b'{"kind":"thought_read","time_ns":1}', msgspec.json.encode(flag(1))])
    stream.close()
    assert main(["audit", "show", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "hostile up" in out
    assert "1 record left out, of kinds that this version does not know (thought_read)" in err


# --- the command --------------------------------------------------------------------------------


def test_the_command_prints_the_published_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == published_schema()
    assert main(["audit", "schema", "--version", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == published_schema(1)


@pytest.mark.parametrize("number", [0, SCHEMA_VERSION + 1, -1])
def test_a_version_that_there_is_not_is_refused(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AuditError, match=f"knows 1 to {SCHEMA_VERSION}"):
        published_schema(number)
    assert main(["audit", "schema", "--version", str(number)]) == 2
    assert "segment_began" in capsys.readouterr().err


def test_the_validator_is_one_of_other_makers() -> None:
    assert version("jsonschema")
