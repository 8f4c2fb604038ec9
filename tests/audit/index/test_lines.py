"""Lines are read from any place on as they are from the beginning."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardsteer.audit import open_journal
from guardsteer.audit.files import list_log
from guardsteer.audit.index.lines import Batch, Place, StreamLines
from guardsteer.core.events import RequestStarted
from tests.audit.index.support import KEY, events, lines_of, write

NAMES = [each.name for each in fields(Batch)]


def read_on(
    log: Path, place: Place, limit: int | None, size: int = 7
) -> tuple[list[tuple[object, ...]], Place]:
    """Return rows, and the place behind them."""
    ((stream, numbers),) = list_log(log).streams.items()
    lines = StreamLines(log, stream, numbers, place, limit=limit)
    rows = [
        row
        for batch, _ in lines.batches(size)
        for row in zip(*(getattr(batch, name) for name in NAMES), strict=True)
    ]
    return rows, lines.place


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a log of one stream and several segments."""
    folder = tmp_path_factory.mktemp("log")
    write(folder, events(0), segment_bytes=6_000)
    return folder


@given(stops=st.lists(st.integers(0, 260), max_size=5), size=st.integers(1, 40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_in_any_pieces_the_rows_are_the_same(log: Path, stops: list[int], size: int) -> None:
    expected, end = read_on(log, Place(), None)
    got: list[tuple[object, ...]] = []
    place = Place()
    for stop in [*sorted(stops), None]:
        # A place is kept as JSON between two runs.
        place = msgspec.json.decode(msgspec.json.encode(place), type=Place)
        rows, place = read_on(log, place, stop, size)
        assert stop is None or place.lines <= max(stop, 0) or place.lines == len(got) + len(rows)
        got += rows
    assert got == expected
    assert place == end


def test_a_batch_is_bounded_in_bytes_too(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardsteer.audit.index.lines._BATCH_BYTES", 2_000)
    ((stream, numbers),) = list_log(log).streams.items()
    batches = [batch for batch, _ in StreamLines(log, stream, numbers, Place()).batches(1_000)]
    assert max(sum(map(len, batch.body)) for batch in batches) < 3_000
    monkeypatch.undo()
    assert sum(len(batch.seq) for batch in batches) == len(read_on(log, Place(), None)[0])


def test_every_record_of_a_row_says_which_row_and_tenant_it_is_of(log: Path) -> None:
    rows, _ = read_on(log, Place(), None)
    starts: dict[str, tuple[int, str]] = {}
    for values in rows:
        row = dict(zip(NAMES, values, strict=True))
        record = msgspec.json.decode(str(row["body"]))
        if record["kind"] == "request_started" and not record.get("track"):
            starts[record["request"]] = (record_seq(row), record.get("tenant", ""))
        if "request" in record:
            assert (row["row_start"], row["tenant"]) == starts[record["request"]]
            assert row["principal"] == "=cmd()"
        else:
            assert (row["row_start"], row["tenant"], row["principal"]) == (None, None, None)


def record_seq(row: dict[str, object]) -> int:
    """Return a row's number."""
    seq = row["seq"]
    assert isinstance(seq, int)
    return seq


def test_a_log_of_the_first_schema_has_the_tenant_in_the_context(tmp_path: Path) -> None:
    started = RequestStarted(
        time_ns=1,
        request="r",
        sequence=0,
        guard="g",
        policy_digest="b3:0",
        context={"tenant": "acme"},
        prompt_digest="hk:0",
        prompt_tokens=1,
        settings={},
    )
    write(tmp_path, [started])
    rows, _ = read_on(tmp_path, Place(), None)
    assert [dict(zip(NAMES, row, strict=True))["tenant"] for row in rows] == [None, "acme", None]


def test_an_id_that_comes_again_is_another_row(tmp_path: Path) -> None:
    with open_journal(tmp_path, key=KEY) as journal:
        for tenant in ("one", "two"):
            for event in events(3, requests=2):
                if getattr(event, "request", "") == "r-3-0":
                    journal.append(
                        msgspec.structs.replace(event, tenant=tenant) if is_start(event) else event
                    )
    rows = [dict(zip(NAMES, row, strict=True)) for row in read_on(tmp_path, Place(), None)[0]]
    found = [(row["row_start"], row["tenant"]) for row in rows if row["request"]]
    assert sorted({tenant for _, tenant in found}, key=str) == ["one", "two"]
    assert len({start for start, _ in found}) == 2


def is_start(event: object) -> bool:
    """Tell whether it admits the row of the policy in force."""
    return isinstance(event, RequestStarted) and not event.track


def test_rows_that_never_end_do_not_make_the_place_grow_without_bound(tmp_path: Path) -> None:
    write(tmp_path, events(2, requests=400))
    place = read_on(tmp_path, Place(), len(next(iter(lines_of(tmp_path).values()))) - 1)[1]
    assert len(place.ended) == 256
    assert len(place.rows) < 40
