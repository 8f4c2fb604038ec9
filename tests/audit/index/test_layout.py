"""Other tools read the index as it is: DuckDB here, with no code of this library."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from guardsteer.audit.index import compact
from guardsteer.audit.index.columns import COLUMNS
from tests.audit.index.support import duckdb, events, stored, write


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of several hosts' indices, as they lie on object storage; each host's log beside it."""
    folder = tmp_path_factory.mktemp("lake")
    for seed, host in enumerate(("a", "b", "c")):
        for process in range(2):
            write(folder / "logs" / host, events(10 * seed + process, requests=15))
        compact([folder / "logs" / host], folder / f"host={host}")
    return folder


def ask(query: str) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        rows: list[tuple[object, ...]] = connection.execute(query).fetchall()
    return rows


def test_one_glob_reads_the_records_of_many_folders(lake: Path) -> None:
    source = f"read_parquet('{lake}/**/*.parquet', hive_partitioning = true)"
    got = ask(f"SELECT host, stream, seq, kind, time_ns FROM {source} ORDER BY ALL")
    expected = sorted(
        (host, each.stream, each.seq, each.event.__struct_config__.tag, each.event.time_ns)
        for host in "abc"
        for each in stored(lake / "logs" / host)
    )
    assert got == expected


def test_the_columns_have_their_names_and_types(lake: Path) -> None:
    source = f"read_parquet('{lake}/**/*.parquet', hive_partitioning = true)"
    got = {str(row[0]): str(row[1]) for row in ask(f"DESCRIBE SELECT * FROM {source}")}
    expected = {column.name: column.type for column in COLUMNS}
    assert got == expected | {"day": "DATE", "stream": "VARCHAR", "host": "VARCHAR"}


def test_days_that_are_not_asked_for_are_not_read(lake: Path) -> None:
    source = f"read_parquet('{lake}/**/*.parquet', hive_partitioning = true)"
    (plan,) = ask(f"EXPLAIN ANALYZE SELECT count(*) FROM {source} WHERE day = '2025-01-07' AND seq >= 0")
    read, of = map(int, re.findall(r"Scanning Files: (\d+)/(\d+)", str(plan[1]))[0])
    assert 0 < read < of


def test_the_queries_of_the_document_run(lake: Path, repository: Path) -> None:
    text = (repository / "docs/audit-query.md").read_text(encoding="utf-8")
    queries = [query for query in re.findall(r"```sql\n(.*?)```", text, re.DOTALL) if "read_parquet" in query]
    assert queries
    for query in queries:
        assert ask(query.replace("s3://audit", str(lake)))
