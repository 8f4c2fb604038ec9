"""The wide table says of each record what the record itself says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import msgspec

from guardsteer.audit.index import compact, open_tables
from guardsteer.audit.index.columns import COLUMNS, FIELDS, PLACE
from guardsteer.audit.records import Record, decode_record, encode_record
from guardsteer.audit.stream import StreamWriter
from tests.audit.index.support import events, write

# In ``body`` alone: long, nested, or of interest to the journal itself.
BODY_ALONE = {
    "scores", "context", "settings", "binding", "model", "vectors", "classifiers", "versions", "attention",
    "threads", "width", "seed", "rng", "turns", "unrecorded", "heads", "bounds", "keep_norm", "text", "part",
    "key", "keys", "offset", "bytes", "digest", "format", "stream", "number", "previous", "digest_key", "pid",
    "seal", "schema", "kernels",
}  # fmt: skip


def kinds() -> list[type[msgspec.Struct]]:
    return list(get_args(Record))


def test_every_field_of_every_record_is_a_column_or_known_to_be_in_the_body_alone() -> None:
    columns = {column.field for column in FIELDS} | {column.name for column in PLACE}
    fields = {field.name for kind in kinds() for field in msgspec.structs.fields(kind)}
    assert fields - columns == BODY_ALONE
    assert not columns - fields - {"kind", "seq", "segment", "intact", "hash", "time", "row_start"}


def sample(kind: type[msgspec.Struct], *, bare: bool) -> Any:
    """Return a record of a kind with each field set, or only those that must be."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if bare and not field.required:
            continue
        text = str(field.type)
        if field.name == "time_ns":
            values[field.name] = 1_736_121_600_000_000_123
        elif field.name == "overrides":
            values[field.name] = {"empathy": (0.75, 0.5)}
        elif "dict" in text:
            values[field.name] = {"a": 0.5} if "float" in text else {"a": "b"}
        elif "tuple[int" in text:
            values[field.name] = (3, 4)
        elif "tuple[float" in text:
            values[field.name] = (0.5, 1.25)
        elif "tuple" in text and field.name != "turns":
            values[field.name] = ("one", "two")
        elif field.name == "turns":
            values[field.name] = (("user", 0, 3),)
        elif field.type is bool:
            values[field.name] = True
        elif "int" in text:
            values[field.name] = 5
        elif "float" in text:
            values[field.name] = 0.625
        else:
            values[field.name] = f"{field.name} 'é'"
    return kind(**values)


def test_columns_are_the_fields_of_the_record_with_their_defaults(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    writer = StreamWriter(log, digest_key="", segment_bytes=2**20)
    writer.commit([encode_record(sample(kind, bare=bare)) for kind in kinds() for bare in (False, True)])
    writer.close()
    compact([log], tmp_path / "index")
    names = {column.name: column.field for column in FIELDS}
    seen = set()
    with open_tables([tmp_path / "index"]) as tables:
        answer = tables.ask("SELECT * FROM records ORDER BY seq")
        for values in answer.rows:
            row = dict(zip(answer.columns, values, strict=True))
            record = decode_record(row["body"].encode())
            seen.add(type(record))
            for name, field in names.items():
                expected = getattr(record, field, None)
                if name == "kind":
                    expected = record.__struct_config__.tag
                elif name == "overrides":
                    asked = expected
                    expected = '{"empathy":[0.75,0.5]}' if asked else None
                elif isinstance(expected, tuple):
                    expected = list(expected)
                assert row[name] == expected, (row["kind"], name)
            assert row["time_ns"] == record.time_ns
    assert seen == set(kinds())


def test_a_record_of_a_kind_that_is_not_known_yet_is_kept(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    writer = StreamWriter(tmp_path / "log", digest_key="", segment_bytes=2**20)
    writer.commit([b'{"kind":"from_the_future","time_ns":5,"rule":7,"request":"r","more":{"a":[1]}}'])
    writer.close()
    with open_tables([tmp_path / "log"]) as tables:
        (row,) = tables.ask("SELECT kind, request, rule, body->'$.more.a' FROM records WHERE seq = 1").rows
    assert row == ("from_the_future", "r", "7", "[1]")


def test_the_document_tells_every_column(repository: Path) -> None:
    text = (repository / "docs/audit-query.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([a-z_]+)` \| ([A-Z\[\]]+) \|", text, flags=re.MULTILINE))
    assert told == {column.name: column.type for column in COLUMNS} | {"day": "DATE", "stream": "VARCHAR"}


def test_the_times_are_utc(tmp_path: Path) -> None:
    write(tmp_path / "log", events(0, requests=3))
    with open_tables([tmp_path / "log"]) as tables:
        rows = list(tables.ask("SELECT time, time_ns, day FROM records WHERE kind = 'policy_adopted'").rows)
    assert {(str(time), str(day)) for time, _, day in rows[:1]} == {("2025-01-06 00:00:00", "2025-01-06")}
