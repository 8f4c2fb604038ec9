"""SQL reads the tables of the audit and can do nothing else, whoever writes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardsteer.audit.index import VIEWS, Tables, compact, open_tables
from guardsteer.errors import AuditError
from tests.audit.index.support import events, write


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an index."""
    folder = tmp_path_factory.mktemp("audit")
    write(folder / "log", events(0, requests=10))
    compact([folder / "log"], folder / "index")
    return folder / "index"


@pytest.fixture
def tables(index: Path) -> Iterator[Tables]:
    """Return the tables of the index."""
    with open_tables([index]) as opened:
        yield opened


@pytest.mark.parametrize("view", VIEWS)
def test_every_table_that_is_named_can_be_read(tables: Tables, view: str) -> None:
    (count,) = next(tables.ask(f"FROM {view} SELECT count(*)").rows)
    assert count > 0
    assert {row[0] for row in tables.ask(f"DESCRIBE {view}").rows}


@pytest.mark.parametrize(
    "query",
    [
        "SELECT kind, count(*) FROM records GROUP BY ALL ORDER BY ALL;",
        "WITH a AS (SELECT * FROM flags) SELECT count(*) FROM a -- and a comment )",
        "PIVOT (SELECT mode, rule FROM rules) ON mode IN ('enforce', 'shadow') USING count(*)",
        "SELECT body->>'$.settings.max_new_tokens' FROM records WHERE kind = 'request_started'",
        "VALUES (1), (2)",
        "SHOW TABLES",
    ],
)
def test_what_reads_is_answered(tables: Tables, query: str) -> None:
    assert list(tables.ask(query).rows)


def test_the_order_that_is_asked_for_is_kept(tables: Tables) -> None:
    rows = [row[0] for row in tables.ask("SELECT seq FROM records ORDER BY seq DESC").rows]
    assert rows == sorted(rows, reverse=True)
    assert len(rows) > 50


STATEMENTS = """
COPY records TO '{out}' (FORMAT csv)
COPY (SELECT 1) TO '{part}' (FORMAT parquet, USE_TMP_FILE false)
EXPORT DATABASE '{out}'
IMPORT DATABASE '{out}'
ATTACH '{out}' AS other
DETACH memory
USE memory
INSTALL httpfs
FORCE INSTALL httpfs
LOAD httpfs
CREATE TABLE x AS SELECT 1
CREATE SECRET (TYPE s3)
DROP VIEW records
DELETE FROM streams
INSERT INTO streams SELECT * FROM streams
UPDATE streams SET verified = lines
ALTER TABLE streams ADD COLUMN x INTEGER
SET enable_external_access = true
SET allowed_directories = ['/']
RESET lock_configuration
PRAGMA database_list
CALL pragma_version()
EXPLAIN ANALYZE SELECT 1
BEGIN
VACUUM
PREPARE x AS SELECT 1
EXECUTE x
SELECT 1; SELECT 2
SELECT 1; COPY (SELECT 1) TO '{out}'
WITH x AS (COPY (SELECT 1) TO '{part}' (FORMAT parquet, USE_TMP_FILE false)) SELECT 1
WITH x AS MATERIALIZED (COPY (SELECT 1) TO '{part}' (FORMAT parquet, USE_TMP_FILE false)) SELECT * FROM x
WITH x AS (INSERT INTO streams SELECT * FROM streams RETURNING *) SELECT * FROM x
WITH x AS (DELETE FROM streams RETURNING *) SELECT * FROM x
WITH x AS (UPDATE streams SET verified = 9 RETURNING *) SELECT * FROM x
SELECT * FROM query('WITH x AS (COPY (SELECT 1) TO ''{part}'' (FORMAT parquet, USE_TMP_FILE false)) SELECT 1')
SELECT 1) UNION ALL (WITH x AS (COPY (SELECT 1) TO '{part}' (FORMAT parquet, USE_TMP_FILE false)) SELECT 1
SELECT 1) ; COPY (SELECT 1) TO '{part}' (FORMAT parquet, USE_TMP_FILE false); SELECT (1
SELECT * FROM read_csv('{secret}')
SELECT * FROM '{secret}'
SELECT * FROM read_text('{secret}')
SELECT * FROM read_blob('{secret}')
SELECT * FROM read_json('{secret}')
SELECT * FROM read_parquet('{secret}')
SELECT * FROM sniff_csv('{secret}')
SELECT * FROM parquet_metadata('{secret}')
SELECT * FROM glob('{folder}/*')
SELECT * FROM read_parquet('{folder}/*/*/*.parquet')
SELECT * FROM read_text('{part}/../../../../secret.csv')
SELECT * FROM read_parquet('https://example.com/x.parquet')
SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')
SELECT * FROM read_parquet('s3://bucket/x.parquet')
SELECT getenv('HOME')
SELECT * FROM duckdb_secrets()
SELECT * FROM sqlite_scan('{secret}', 't')
SELECT * FROM index
SELECT * FROM tables
SELECT * FROM monkeypatch
"""


@pytest.mark.parametrize("query", STATEMENTS.strip().splitlines())
def test_what_does_anything_else_is_refused(tables: Tables, index: Path, tmp_path: Path, query: str) -> None:
    secret = index.parent / "secret.csv"
    secret.write_text("planted,secret\n")
    part = sorted(index.rglob("*.parquet"))[0]
    before = {path: path.read_bytes() for path in index.rglob("*") if path.is_file()}
    rows = list(tables.ask("SELECT * FROM streams").rows)
    with pytest.raises(AuditError) as caught:
        list(tables.ask(query.format(out=tmp_path / "out", part=part, secret=secret, folder=index)).rows)
    assert "planted" not in str(caught.value)
    assert {path: path.read_bytes() for path in index.rglob("*") if path.is_file()} == before
    assert list(tmp_path.iterdir()) == []
    assert list(tables.ask("SELECT * FROM streams").rows) == rows


def test_what_goes_wrong_in_the_middle_is_said_in_one_error(tables: Tables) -> None:
    with pytest.raises(AuditError, match="cannot be answered"):
        list(tables.ask("SELECT CAST(body AS INTEGER) FROM records").rows)
    with pytest.raises(AuditError, match="one SELECT; got 0 statements"):
        tables.ask("")


def test_nothing_is_left_behind(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    with open_tables([index]) as tables:
        list(tables.ask("SELECT * FROM records ORDER BY hash").rows)
    assert os.listdir(tmp_path) == []
