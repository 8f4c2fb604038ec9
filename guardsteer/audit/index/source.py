"""Opens logs and indices as one set of tables, locked: questions read these tables and nothing else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardsteer.audit.checkpoint import parse_checkpoint
from guardsteer.audit.files import list_log
from guardsteer.audit.index.compact import read_apart
from guardsteer.audit.index.engine import connect, literal, told
from guardsteer.audit.index.manifest import Indexed, is_index, load_manifest
from guardsteer.audit.index.tables import Window, base_table, views
from guardsteer.errors import AuditError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["Answer", "Tables", "open_tables"]

_FETCHED_ROWS = 10_000
_UNANSWERED = "the question cannot be answered"


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows with named columns; ``rows`` can be read once, while the tables are open."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of an audit; ``damaged`` lines are in none, ``altered`` ones do not fit to the last."""

    connection: DuckDBPyConnection
    damaged: int
    altered: int

    def ask(self, query: str) -> Answer:
        """Return what one SELECT gives; raises ``AuditError`` for anything else, and where it fails.

        Nothing can be written, no other file read, no extension loaded and no network reached.
        """
        result = self._execute(query)
        columns = tuple((str(name), str(type_)) for name, type_, *_ in result.description or ())
        names = tuple(name for name, _ in columns)
        return Answer(names, tuple(type_ for _, type_ in columns), self._rows(result))

    def batches(self, query: str, rows: int) -> Any:
        """Return what ``ask`` would as Arrow's reader of record batches of ``rows`` rows."""
        with told(_UNANSWERED):
            return self.connection.sql(self._wrapped(query)).to_arrow_reader(rows)

    def _execute(self, query: str) -> DuckDBPyConnection:
        with told(_UNANSWERED):
            return self.connection.execute(self._wrapped(query))

    def _wrapped(self, query: str) -> str:
        """Return one SELECT as a subquery; raises ``AuditError`` for anything else."""
        statements = self.connection.extract_statements(query)
        kind = statements[0].type.name if len(statements) == 1 else ""
        if kind not in ("SELECT", "MULTI"):
            got = kind or f"{len(statements)} statements"
            raise AuditError(f"SQL that only reads is wanted: one SELECT; got {got}")
        # No common table expression may write in a subquery: only one at the top can.
        return f"SELECT * FROM (\n{query.strip().rstrip(';')}\n)"

    def _rows(self, result: DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
        with told(_UNANSWERED):
            while rows := result.fetchmany(_FETCHED_ROWS):
                yield from rows


@contextmanager
def open_tables(sources: Iterable[str | os.PathLike[str]], window: Window | None = None) -> Iterator[Tables]:
    """Open folders of logs and of indices as the tables of ``tables.VIEWS``.

    A log's lines that one of the indices holds are not read again; the others are read into a temporary
    index, which takes as long as ``compact``. Lines that no checkpoint covers yet do not count. Raises
    ``AuditError`` when a folder is neither a log nor an index, or cannot be read.
    """
    folders = [Path(source) for source in sources]
    indices = [folder for folder in folders if is_index(folder)]
    logs = [folder for folder in folders if folder not in indices]
    for log in logs:
        if not log.is_dir() or not list_log(log).streams:
            raise AuditError(f"{log}: neither an audit log nor an index of one; name the folder of either")
    held = _furthest(indices)
    with tempfile.TemporaryDirectory(prefix="guardsteer-query-") as name:
        fresh, spill = Path(name, "index"), Path(name, "spill")
        fresh.mkdir()
        parts = list(held.values())
        streams = {stream: indexed for stream, (_, indexed) in held.items()}
        if logs:
            streams = read_apart(logs, streams, fresh, spill).streams
            parts += [(fresh, indexed) for indexed in streams.values()]
        with connect(spill) as connection:
            _fill(connection, parts, streams, window or Window())
            places = [indexed.place for indexed in streams.values()]
            damaged, altered = sum(each.damaged for each in places), sum(each.altered for each in places)
            yield Tables(connection, damaged, altered)


def _furthest(indices: Sequence[Path]) -> dict[str, tuple[Path, Indexed]]:
    """Return, for each stream, the index that holds most of it."""
    found: dict[str, tuple[Path, Indexed]] = {}
    for folder in indices:
        for stream, indexed in load_manifest(folder).streams.items():
            if stream not in found or found[stream][1].place.lines < indexed.place.lines:
                found[stream] = (folder, indexed)
    return found


def _fill(
    connection: DuckDBPyConnection,
    parts: Sequence[tuple[Path, Indexed]],
    streams: Mapping[str, Indexed],
    window: Window,
) -> None:
    """Make the tables and views, and shut everything else off for good."""
    try:
        statement = base_table(parts)
    except FileNotFoundError as error:
        raise AuditError(
            f"{error.filename}: this part of the index is gone; remove the index and compact anew"
        ) from error
    paths = [literal(str(folder / part.path)) for folder, indexed in parts for part in indexed.parts]
    with told("the index cannot be read"):
        connection.execute("SET parquet_metadata_cache = true")
        for each in (statement, *views(window), *_streams(streams)):
            connection.execute(each)
        connection.execute(f"SET allowed_paths = [{', '.join(paths)}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")


def _streams(streams: Mapping[str, Indexed]) -> Iterator[str]:
    yield (
        "CREATE TABLE streams (stream VARCHAR, lines BIGINT, committed BIGINT, verified BIGINT, "
        "damaged BIGINT, altered BIGINT, closed BOOLEAN)"
    )
    for stream, indexed in sorted(streams.items()):
        place, note = indexed.place, parse_checkpoint(indexed.checkpoint.encode())
        committed = note.checkpoint.lines if note else "NULL"
        yield (
            f"INSERT INTO streams VALUES ({literal(stream)}, {place.lines}, {committed}, {indexed.verified}, "
            f"{place.damaged}, {place.altered}, {place.closed})"
        )
