"""Writes records, or a view of them, to one file for other tools."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

from guardsteer.audit.index.engine import arrow
from guardsteer.audit.index.formats import write_csv, write_json, write_jsonl
from guardsteer.audit.index.source import Answer, Tables
from guardsteer.errors import AuditError

__all__ = ["EXPORTS", "FORMATS", "export"]

FORMATS = ("csv", "json", "jsonl", "parquet")
EXPORTS = ("records", "requests", "activations", "flags", "rules")
_BATCH_ROWS = 20_000
_WRITERS: dict[str, Callable[[Answer, IO[str]], int]] = {
    "csv": write_csv,
    "json": write_json,
    "jsonl": write_jsonl,
}
_ORDER = {
    "records": "seq",
    "requests": "row_start",
    "activations": "began, row_start",
    "flags": "row_start, step",
}


def export(tables: Tables, what: str, form: str, path: Path) -> int:
    """Write a view of ``EXPORTS`` in a form of ``FORMATS`` to a new file; return how many rows.

    The file belongs to its owner alone. CSV and Parquet have the view's columns, always in the same order.
    JSON has an object for each row; for ``records`` that of ``audit show --json``: stream, seq, intact, and
    the event with all its fields. Raises ``AuditError`` when the file is there already or cannot be written.
    """
    if path.exists():
        raise AuditError(f"{path}: is there already, and is not overwritten; name another file")
    beside = path.with_name(f"{path.name}.part")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            rows = _write(tables, _query(what, form), form, file)
        beside.replace(path)
    except OSError as error:
        raise AuditError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)
    return rows


def _write(tables: Tables, query: str, form: str, file: TextIOWrapper) -> int:
    if form != "parquet":
        return _WRITERS[form](tables.ask(query), file)
    arrow()
    from pyarrow import parquet  # type: ignore[import-untyped, unused-ignore]

    reader: Any = tables.batches(query, _BATCH_ROWS)
    rows = 0
    with parquet.ParquetWriter(file.buffer, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _query(what: str, form: str) -> str:
    columns = (
        "stream, seq, intact, body::JSON AS event" if what == "records" and form in ("json", "jsonl") else "*"
    )
    return f"SELECT {columns} FROM {what} ORDER BY stream, {_ORDER.get(what, 'row_start, time')}"
