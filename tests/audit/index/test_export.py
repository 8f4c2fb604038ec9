"""What is exported is what was recorded, and no spreadsheet runs it."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from guardsteer.audit.index import (
    EXPORTS,
    Answer,
    Window,
    compact,
    export,
    format_table,
    open_tables,
    write_csv,
)
from guardsteer.audit.index.columns import COLUMNS
from guardsteer.errors import AuditError
from tests.audit.index.support import duckdb, events, stored, write


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a log."""
    folder = tmp_path_factory.mktemp("audit")
    write(folder, events(0, requests=20))
    return folder


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_has_each_record_with_all_its_fields(log: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / "out"
    with open_tables([log]) as tables:
        rows = export(tables, "records", form, out)
    text = out.read_text()
    found = json.loads(text) if form == "json" else [json.loads(line) for line in text.splitlines()]
    expected = [
        {
            "stream": each.stream,
            "seq": each.seq,
            "intact": True,
            "event": msgspec.json.decode(msgspec.json.encode(each.event)),
        }
        for each in stored(log)
    ]
    assert found == expected
    assert rows == len(expected)


def test_csv_and_parquet_have_the_columns_in_their_order(log: Path, tmp_path: Path) -> None:
    with open_tables([log]) as tables:
        export(tables, "records", "csv", tmp_path / "out.csv")
        export(tables, "records", "parquet", tmp_path / "out.parquet")
    with (tmp_path / "out.csv").open(newline="") as file:
        table = list(csv.reader(file))
    names = ["day", "stream", *(column.name for column in COLUMNS)]
    assert table[0] == names
    with duckdb.connect() as connection:
        result = connection.execute(f"SELECT * FROM '{tmp_path / 'out.parquet'}'")
        assert [name for name, *_ in result.description] == names
        bodies = [row[names.index("body")] for row in result.fetchall()]
    assert [row[names.index("body")] for row in table[1:]] == bodies
    assert len(bodies) == len(stored(log))


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "parquet"])
@pytest.mark.parametrize("what", EXPORTS)
def test_every_view_is_exported_in_every_form(log: Path, tmp_path: Path, what: str, form: str) -> None:
    with open_tables([log], Window(tenant="acme")) as tables:
        rows = export(tables, what, form, tmp_path / "out")
        (expected,) = next(tables.ask(f"SELECT count(*) FROM {what}").rows)
    assert rows == expected > 0


def test_the_file_is_new_whole_and_its_owners(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with open_tables([log]) as tables:
        export(tables, "records", "csv", out)
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        with pytest.raises(AuditError, match="is there already"):
            export(tables, "records", "csv", out)
        with pytest.raises(AuditError, match="cannot be written: No such file"):
            export(tables, "records", "csv", tmp_path / "absent" / "out")
        # An error in the middle leaves nothing.
        with pytest.raises(AuditError):
            export(tables, "nothing", "csv", tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def answer(*values: Any) -> Answer:
    """Return one row."""
    return Answer(("a",) * len(values), ("VARCHAR",) * len(values), iter([values]))


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_text_that_a_spreadsheet_would_run_is_made_text(text: str) -> None:
    file = io.StringIO(newline="")
    write_csv(answer(text, -1, -0.5, None, True, [1, "=x"]), file)
    (_, row) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert row == [f"'{text}", "-1", "-0.5", "", "true", '[1, "=x"]']


def test_what_a_caller_chose_is_guarded_in_an_export(log: Path, tmp_path: Path) -> None:
    with open_tables([log]) as tables:
        export(tables, "requests", "csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        assert {row["principal"] for row in csv.DictReader(file)} == {"'=cmd()"}


def test_a_table_is_plain_text_whatever_is_in_it() -> None:
    text = format_table(answer("a\x1b[2Jb\nc", None, 1234567, 0.25, [1, 2]))
    assert "\x1b" not in text
    assert text.splitlines()[2].split() == ["a\ufffd[2Jb\ufffdc", "1,234,567", "0.25", "[1,", "2]"]
    assert format_table(Answer(("a",), ("VARCHAR",), iter([]))) == ""


def test_an_export_of_an_index_and_of_its_log_are_the_same(log: Path, tmp_path: Path) -> None:
    compact([log], tmp_path / "index")
    for name, source in (("a", log), ("b", tmp_path / "index")):
        with open_tables([source], Window(rule="warm")) as tables:
            export(tables, "records", "csv", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
