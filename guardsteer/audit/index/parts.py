"""Wide rows on their way into Parquet: gathered per day and stream, sorted, written beside and renamed."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from guardsteer.audit.index.columns import LINE_TYPES, create_lines, typed
from guardsteer.audit.index.engine import arrow, literal, told
from guardsteer.audit.index.lines import Batch
from guardsteer.audit.index.manifest import MANIFEST, SPILL, Indexed, Manifest, Part, sync
from guardsteer.errors import AuditError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["PartWriter", "clear_leftovers"]

GROUP_ROWS = 61_440
"""Rows of a row group: what is read to find one request."""
_MERGE_ROWS = 65_536
_BESIDE = "_part.new"
_ARROW_TYPES = {
    "BIGINT": "int64",
    "INTEGER": "int32",
    "BOOLEAN": "bool_",
    "BLOB": "binary",
    "VARCHAR": "string",
}
_LINE = ", ".join(LINE_TYPES)


class PartWriter:
    """Gathers rows in memory (and beyond it in the connection's spill folder), and writes them as parts.

    Nothing that it writes counts before the manifest says so, and no row is ever in two parts: what is
    added to a part takes its place in one step.
    """

    def __init__(self, folder: Path, connection: DuckDBPyConnection, *, durable: bool = True) -> None:
        self._folder = folder
        self._durable = durable
        self._connection = connection
        self.rows = 0
        self.written = 0
        connection.execute(create_lines("staged"))

    def add(self, stream: str, batch: Batch) -> None:
        """Take up lines of a stream."""
        pa = arrow()
        columns = {
            name: pa.array(getattr(batch, name), getattr(pa, _ARROW_TYPES[kind])())
            for name, kind in LINE_TYPES.items()
        }
        day = "make_timestamp(time_ns // 1000)::DATE"
        self._connection.register("batch", pa.table(columns))
        with told(f"{self._folder}: lines of {stream} cannot be taken up"):
            self._connection.execute(
                f"INSERT INTO staged SELECT {_LINE}, {day}, {literal(stream)} FROM batch"
            )
        self._connection.unregister("batch")
        self.rows += len(batch.seq)

    def flush(self, before: Manifest) -> dict[str, tuple[Part, ...]]:
        """Write what was gathered since ``before`` was saved; return the parts of each stream it concerns."""
        with told(f"{self._folder}: the lines that were taken up cannot be written"):
            groups = self._connection.execute(
                "SELECT stream, day, count(*), min(seq), max(seq) FROM staged GROUP BY ALL ORDER BY ALL"
            ).fetchall()
        found: dict[str, tuple[Part, ...]] = {}
        for stream, day, rows, first, last in groups:
            indexed = before.streams.get(stream, Indexed())
            parts = found.get(stream, indexed.parts)
            found[stream] = self._write(stream, day, Part("", rows, first, last, 0), parts)
        if groups:
            self._connection.execute(f"DROP TABLE staged; {create_lines('staged')}")
        self.rows = 0
        return found

    def _write(self, stream: str, day: date, new: Part, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        place = f"day={day.isoformat()}/stream={stream}"
        here = [part for part in parts if part.path.startswith(place + "/")]
        name = f"{place}/part-{new.first:012d}.parquet"
        grown = next((part for part in here if part.path == name), None)
        if grown is None and here and here[-1].rows < _MERGE_ROWS:
            grown = here[-1]
        ours = f"stream = {literal(stream)} AND day = {literal(day.isoformat())}"
        query = f"SELECT {_LINE} FROM staged WHERE {ours}"
        if grown is not None:
            old = literal(str(self._folder / grown.path))
            # What lies behind the part's last row was added by a compaction that was killed.
            query += (
                f" UNION ALL SELECT {_LINE} FROM read_parquet({old}, hive_partitioning = false)"
                f" WHERE seq <= {grown.last}"
            )
            rows, name = new.rows + grown.rows, grown.path
            new = Part(name, rows, min(new.first, grown.first), max(new.last, grown.last), 0)
        size = self._replace(query, self._folder / name)
        self.written += 1
        part = msgspec.structs.replace(new, path=name, bytes=size)
        return (*(each for each in parts if each is not grown), part)

    def _replace(self, query: str, path: Path) -> int:
        """Write a query's rows, sorted, in the place of ``path``, and return its size in bytes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.parent / _BESIDE
        rows = typed(f"({query} ORDER BY request, seq)")
        form = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP_ROWS}"
        with told(f"{path}: this part of the index cannot be written"):
            self._connection.execute(f"COPY ({rows}) TO {literal(str(beside))} ({form})")
        # As the log's own: what it says is for nobody else to read.
        beside.chmod(0o600)
        if self._durable:
            sync(beside)
        beside.replace(path)
        if self._durable:
            # The names of the new folders too, up to the index's own.
            for folder in (path.parent, path.parent.parent, self._folder):
                sync(folder)
        return path.stat().st_size


def clear_leftovers(folder: Path, manifest: Manifest) -> None:
    """Take away the files that a compaction which was killed left behind: the manifest knows none of them.

    Raises ``AuditError`` when a part that the manifest knows is gone.
    """
    (folder / f"{MANIFEST}.new").unlink(missing_ok=True)
    for spilled in folder.glob(f"{SPILL}*"):
        shutil.rmtree(spilled)
    known = {part.path for indexed in manifest.streams.values() for part in indexed.parts}
    for path in folder.glob(f"day=*/stream=*/{_BESIDE}"):
        path.unlink()
    for path in folder.glob("day=*/stream=*/part-*.parquet"):
        if path.relative_to(folder).as_posix() not in known:
            path.unlink()
    for name in sorted(known):
        if not (folder / name).is_file():
            raise AuditError(
                f"{folder / name}: this part of the index is gone; remove {folder} and compact anew"
            )
