"""The page of a period: every figure is the log's, and neither time nor size grows out of hand."""

from __future__ import annotations

import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.audit import verify
from guardsteer.core.events import (
    ClassifierFailed,
    Event,
    PolicyRefused,
    RequestFailed,
    Resumed,
    RowHalted,
    RuleFired,
    Stopped,
)
from guardsteer.errors import AuditError
from guardsteer.report import period_page
from guardsteer.report.axis import time_axis
from guardsteer.report.period_spread import drift, quantile
from tests.evaluate.stories import adopted, policy_of
from tests.report.logs import began, ended, finish, lines, start, up, write
from tests.report.reading import Page, read_page

_S = 1_000_000_000
FIRST_NS = 1_795_000_000 * _S
HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(2)>'
TENANTS = ("acme", "globex", "initech")


def traffic(requests: int, every_ns: int, first_ns: int = FIRST_NS) -> list[Event]:
    """Return requests of three tenants, some of which are steered, halted or fail, one after the other."""
    events: list[Event] = []
    for number in range(requests):
        name, at = f"r-{number}", first_ns + number * every_ns
        row: dict[str, Any] = {"time_ns": at, "request": name, "sequence": 0}
        took = (number % 7 + 1) * 10_000_000
        clock = 1 + number * every_ns
        events.append(start(name, time_ns=at, tenant=TENANTS[number % 5 % 3], monotonic_ns=clock))
        steered = 0
        if number % 2 == 0:
            events.append(up("billing", 0, 0.5 + (number % 50) / 100, name, at))
            events.append(RuleFired(**row, step=0, rule="warm", scores={}))
            act = began("empathy", 9, 0.5, name, rule="warm", time_ns=at)
            events += [act, ended(act, 9 + number % 4)]
            steered = number % 4 + 1
        if number % 11 == 0:
            mode = "shadow" if number % 22 else "enforce"
            act = began("praise", 10, -0.25, name, rule="less", mode=mode, time_ns=at)
            events += [act, ended(act, 12)]
        if number % 9 == 0:
            events.append(RowHalted(**row, step=3, rule="stop", position=12, fallback_digest="hk:0"))
        if number % 13 == 0:
            events.append(ClassifierFailed(**row, step=1, classifier="mood", error="E"))
        if number % 17 == 16:
            events.append(RequestFailed(**row, error="RuntimeError"))
        else:
            events.append(finish(name, 8, steered, time_ns=at + took, monotonic_ns=clock + took))
    return events


def made(folder: Path, **options: Any) -> Page:
    """Return the page of a period of a log whose records lie in ``FIRST_NS`` and later."""
    given: dict[str, Any] = {"since_ns": FIRST_NS, "until_ns": FIRST_NS + 40 * 86400 * _S, **options}
    return read_page(period_page(folder, made_ns=FIRST_NS, **given))


def at(event: Event, time_ns: int) -> Event:
    return msgspec.structs.replace(event, time_ns=time_ns)


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_the_page_has_its_parts_in_order(tmp_path: Path) -> None:
    policy = policy_of()
    first = at(adopted(policy), FIRST_NS)
    page = made(write(tmp_path, [first, *traffic(100, _S)]), until_ns=None)
    assert page.headings[0][1].startswith("Audit of 2026-11-18 11:06:40")
    assert page.headings[1:] == [
        (2, "What was in force"),
        (3, "Policies, kill switch, gaps"),
        (2, "What was done"),
        (3, "Requests and steered share"),
        (3, "Activations by rule"),
        (3, "Activations by vector"),
        (3, "Activations by tenant"),
        (3, "Would have acted, by rule"),
        (2, "Score drift"),
        (3, "Scores when flags went up"),
        (2, "Durations"),
        (3, "Durations of requests"),
        (2, "What went wrong"),
        (3, "Halts, revisions, errors and gaps"),
        (2, "The log"),
    ]


def test_every_count_is_that_of_the_log(tmp_path: Path) -> None:
    page = made(write(tmp_path, traffic(200, _S)))
    log = lines(tmp_path)
    acts = [line for line in log if line["kind"] == "activation_began" and line.get("mode") != "shadow"]
    ends = [line for line in log if line["kind"] == "activation_ended" and line.get("mode") != "shadow"]
    tenants = {line["request"]: line["tenant"] for line in log if line["kind"] == "request_started"}
    by: dict[str, Callable[[dict[str, Any]], str]] = {
        "Activations by rule": lambda line: str(line["rule"]),
        "Activations by vector": lambda line: str(line["vector"]),
        "Activations by tenant": lambda line: str(tenants[line["request"]]),
    }
    for caption, name in by.items():
        counted = Counter(map(name, acts))
        tokens: Counter[str] = Counter()
        for line in ends:
            tokens[name(line)] += line["tokens"]
        rows = page.table(caption).rows
        assert {row[0]: (number(row[1]), number(row[2])) for row in rows} == {
            key: (counted[key], tokens[key]) for key in counted
        }
    finished = [line for line in log if line["kind"] == "request_ended"]
    written = sum(line["generated_tokens"] for line in finished)
    steered = sum(line["steered_tokens"] for line in finished)
    over_time = page.table("Requests, tokens and steered share")
    assert sum(map(number, over_time.column("tokens"))) == written
    assert sum(map(number, over_time.column("steered"))) == steered
    assert sum(map(number, over_time.column("requests"))) == 200
    for _, _, every, part, share in over_time.rows:
        assert share == (f"{number(part) / number(every):.1%}" if number(every) else "")
    bars = [mark for mark in page.marks if mark.told.startswith("steered share, ")]
    for row in over_time.rows:
        told = [mark for mark in bars if mark.told == f"steered share, {row[0]}: {row[4]}"]
        assert len(told) == (number(row[3]) > 0)
        assert not told or told[0].number("height") == pytest.approx(
            92 * number(row[3]) / number(row[2]), abs=0.01
        )
    assert f"{steered / written:.1%}" in page.text
    kinds = Counter(line["kind"] for line in log)
    wrong = {row[0]: number(row[1]) for row in page.table("Halts, revisions, errors and gaps").rows}
    assert wrong == {
        "halted by a rule": kinds["row_halted"],
        "classifier failed": kinds["classifier_failed"],
        "generation failed": kinds["request_failed"],
    }
    shadow = sum(line["kind"] == "activation_began" and line.get("mode") == "shadow" for line in log)
    assert number(page.table("Would have acted").rows[0][1]) == shadow > 0


def test_what_a_candidate_would_have_done_is_not_counted_as_done(tmp_path: Path) -> None:
    live = began("empathy", 9, 0.5, time_ns=FIRST_NS)
    beside = began("praise", 9, 0.5, time_ns=FIRST_NS, track="bolder")
    events: list[Event] = [start(time_ns=FIRST_NS), start(time_ns=FIRST_NS, track="bolder"), live, beside]
    events += [ended(live, 9), ended(beside, 9), finish(time_ns=FIRST_NS)]
    page = made(write(tmp_path, events), until_ns=FIRST_NS + 1)
    assert [row[:3] for row in page.table("Activations by vector").rows] == [["empathy", "1", "1"]]
    assert number(page.table("Requests, tokens").rows[0][1]) == 1


def test_bars_are_as_high_as_what_they_count_and_stand_at_its_time(tmp_path: Path) -> None:
    # Buckets of ten seconds: five requests in the first, one in the last.
    seconds = (0, 1, 2, 3, 4, 405)
    events: list[Event] = []
    for place, second in enumerate(seconds):
        act = began("empathy", 9, 0.5, f"r-{place}", time_ns=FIRST_NS + second * _S)
        events += [start(f"r-{place}", time_ns=act.time_ns), act, ended(act, 9)]
    page = made(write(tmp_path, events), until_ns=FIRST_NS + 406 * _S)
    bars = [mark for mark in page.marks if mark.told.startswith("empathy, ")]
    assert [mark.told.rpartition(": ")[2] for mark in bars] == ["5 activations", "1 activation"]
    assert bars[0].number("height") == pytest.approx(5 * bars[1].number("height"), abs=0.01)
    assert bars[0].number("left") < 3
    assert bars[1].number("left") > 95


def test_durations_are_those_of_the_monotonic_clock_and_quantiles_are_right(tmp_path: Path) -> None:
    page = made(write(tmp_path, traffic(120, _S)))
    log = lines(tmp_path)
    begun = {line["request"]: line["monotonic_ns"] for line in log if line["kind"] == "request_started"}
    took = [
        (line["monotonic_ns"] - begun[line["request"]]) / 1e6
        for line in log
        if line["kind"] == "request_ended"
    ]
    caption = page.table("Durations of requests").caption
    expected = np.percentile(took, [50, 95, 99])
    assert caption.endswith(
        f"all: median {expected[0]:,.0f} ms, 95 % {expected[1]:,.0f} ms, 99 % {expected[2]:,.0f} ms"
    )
    assert "by the monotonic clock" in page.text
    assert "does not hold how long each stage took" in page.text


def test_scores_are_spread_over_time_with_their_threshold_and_their_drift(tmp_path: Path) -> None:
    events: list[Event] = [at(adopted(policy_of()), FIRST_NS)]
    first = [0.6 + place / 1000 for place in range(50)]
    second = [0.8 + place / 1000 for place in range(50)]
    for place, score in enumerate([*first, *second]):
        when = FIRST_NS + place * _S
        events += [start(f"r-{place}", time_ns=when), up("billing", 0, score, f"r-{place}", when)]
    page = made(write(tmp_path, events), until_ns=FIRST_NS + 100 * _S)
    (row,) = page.table("Scores when a flag went up").rows
    assert row[:4] == ["billing", "intent.billing", "0.6", "100"]
    assert row[4].startswith(f"{np.median(first):.3f}")
    assert row[5].startswith(f"{np.median(second):.3f}")
    assert float(row[6]) == pytest.approx(1.0, abs=0.05)


def test_what_was_in_force_and_when_the_kill_switch_was_on_is_drawn_to_scale(tmp_path: Path) -> None:
    policy = policy_of()
    other = policy_of(policy.text.replace("name: support", "name: other"))
    day = 86400 * _S
    events: list[Event] = [
        at(adopted(policy), FIRST_NS - day),
        at(adopted(other, approved_by="Ada Lovelace"), FIRST_NS + 5 * day),
        Stopped(time_ns=FIRST_NS + 4 * day, guard="g", by="call", reason="drill"),
        Stopped(time_ns=FIRST_NS + 5 * day, guard="g", by="file"),
        Resumed(time_ns=FIRST_NS + 6 * day, guard="g", by="call"),
        Resumed(time_ns=FIRST_NS + 7 * day, guard="g", by="file"),
        start(time_ns=FIRST_NS + 10 * day),
    ]
    page = made(write(tmp_path, events), until_ns=FIRST_NS + 10 * day)
    spans = page.table("What was in force").rows
    assert [(row[0], row[3][:10], row[4][:10]) for row in spans] == [
        ("support", "2026-11-18", "2026-11-23"),
        ("other", "2026-11-23", "2026-11-28"),
        ("kill switch", "2026-11-22", "2026-11-25"),
    ]
    assert "approved by Ada Lovelace" in spans[1][6]
    assert spans[2][5] == "by call: drill"
    (stop,) = (mark for mark in page.marks if mark.told.startswith("every strength was zero"))
    (mine,) = (mark for mark in page.marks if mark.told.startswith("support "))
    assert stop.number("width") == pytest.approx(mine.number("width") * 3 / 5, rel=0.01)


def test_a_period_holds_its_beginning_and_not_its_end(tmp_path: Path) -> None:
    write(tmp_path, traffic(100, _S))
    page = made(tmp_path, since_ns=FIRST_NS + 20 * _S, until_ns=FIRST_NS + 30 * _S)
    started = [
        line
        for line in lines(tmp_path)
        if line["kind"] == "request_started" and 20 <= (line["time_ns"] - FIRST_NS) // _S < 30
    ]
    assert len(started) == 10
    assert sum(map(number, page.table("Requests, tokens").column("requests"))) == 10
    assert page.headings[0][1] == "Audit of 2026-11-18 11:07:00 to 11:07:10 UTC"
    with pytest.raises(
        AuditError, match="no record lies in that time; the log goes from 2026-11-18 11:06:40"
    ):
        made(tmp_path, since_ns=FIRST_NS + 400 * 86400 * _S, until_ns=FIRST_NS + 401 * 86400 * _S)


def test_a_page_does_not_grow_with_the_log(tmp_path: Path) -> None:
    small = period_page(
        write(tmp_path / "small", traffic(100, 100 * _S)), since_ns=FIRST_NS, until_ns=FIRST_NS + 10**13
    )
    large = period_page(
        write(tmp_path / "large", traffic(5000, 2 * _S)), since_ns=FIRST_NS, until_ns=FIRST_NS + 10**13
    )
    assert len(large) < 2 * len(small) + 100_000
    found = read_page(large)
    assert "more are counted above and not listed" in found.text
    assert len(found.table("The first").rows) == 200


def test_many_tenants_are_drawn_as_the_most_frequent_and_the_others_together(tmp_path: Path) -> None:
    events: list[Event] = []
    for place in range(60):
        for again in range(1 + (place == 7)):
            name = f"r-{place}-{again}"
            act = began("empathy", 9, 0.5, name, time_ns=FIRST_NS)
            events += [start(name, tenant=f"tenant {place:02}", time_ns=FIRST_NS), act, ended(act, 9)]
    page = made(write(tmp_path, events), until_ns=FIRST_NS + 1)
    rows = page.table("Activations by tenant").rows
    assert rows[0][:2] == ["tenant 07", "2"]
    assert rows[-1][:2] == ["48 others", "48"]
    assert len(rows) == 13
    assert "10 more are not listed" in page.table("Tenants by requests").caption


def test_values_of_the_log_cannot_become_markup(tmp_path: Path) -> None:
    act = began(HOSTILE, 9, 0.5, HOSTILE, rule=HOSTILE, time_ns=FIRST_NS)
    row: dict[str, Any] = {"time_ns": FIRST_NS, "request": HOSTILE, "sequence": 0}
    events: list[Event] = [
        PolicyRefused(time_ns=FIRST_NS, guard="g", file=HOSTILE, error=HOSTILE),
        Stopped(time_ns=FIRST_NS, guard="g", by=HOSTILE, reason=HOSTILE),
        start(HOSTILE, tenant=HOSTILE, time_ns=FIRST_NS),
        up(HOSTILE, 0, 0.9, HOSTILE, FIRST_NS),
        act,
        ended(act, 12),
        ClassifierFailed(**row, step=0, classifier=HOSTILE, error=HOSTILE),
        RequestFailed(**row, error=HOSTILE),
    ]
    page = made(write(tmp_path, events), until_ns=FIRST_NS + 1)
    assert "<script" not in page.source
    assert "<img" not in page.source
    assert page.text.count(HOSTILE) > 10


def test_whether_the_log_is_whole_is_said_first(tmp_path: Path) -> None:
    write(tmp_path, traffic(5, 1_000_000, time.time_ns()))
    whole = read_page(period_page(tmp_path, verification=verify(tmp_path)))
    assert "The record is whole" in whole.text
    assert whole.table("Streams as verified").column("closed") == ["yes"]
    assert "Not verified" in read_page(period_page(tmp_path)).text
    (segment,) = tmp_path.glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"steered_tokens":1', b'"steered_tokens":0'))
    changed = read_page(period_page(tmp_path, verification=verify(tmp_path)))
    assert "Not to be relied on" in changed.text
    assert "The record is whole" not in changed.text


@pytest.mark.parametrize("every", [1, 3600])
def test_a_period_is_that_of_what_happened_not_of_streams_that_stood_open(every: int, tmp_path: Path) -> None:
    page = read_page(period_page(write(tmp_path, traffic(10, every * _S))))
    assert page.headings[0][1].startswith("Audit of 2026-11-18 11:06:40 to ")
    assert "2026-11-2" not in page.headings[0][1]


def test_an_empty_log_and_a_log_of_no_requests_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AuditError, match="the log holds no record"):
        period_page(tmp_path / "empty")
    page = read_page(period_page(write(tmp_path / "log", [])))
    assert "No flag went up in this period" in page.text
    assert "No request ended in this period" in page.text
    assert "No halt, revision, error or lost record" in page.text


@given(st.integers(0, 2**61), st.integers(0, 2**61))
def test_buckets_hold_the_whole_period_and_are_few(one: int, two: int) -> None:
    first, last = min(one, two), max(one, two)
    axis = time_axis(first, last)
    assert 1 <= axis.count <= 48
    assert axis.start_ns <= first
    assert last < axis.end_ns
    assert 0 <= axis.place(first) <= axis.place(last) < 1
    assert axis.bucket(first) == 0 or axis.start_ns + axis.width_s * _S <= first
    places = [tick.place for tick in axis.ticks()]
    assert places == sorted(places)
    assert len(places) <= 20


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_is_that_of_numpy(values: list[float], share: float) -> None:
    assert quantile(sorted(values), share) == pytest.approx(np.quantile(values, share), abs=1e-9)


@given(st.lists(st.floats(0, 1), max_size=30), st.lists(st.floats(0, 1), max_size=30))
def test_drift_is_the_largest_distance_of_two_distributions(one: list[float], two: list[float]) -> None:
    buckets: dict[int, array[float]] = defaultdict(lambda: array("d"))
    buckets[0].extend(one)
    buckets[9].extend(two)
    first, second, apart = drift(buckets, 10)
    assert (first, second) == (sorted(one), sorted(two))
    if not one or not two:
        assert apart is None
        return
    steps = np.sort(np.array([*one, *two]))
    shares = [np.searchsorted(np.sort(side), steps, side="right") / len(side) for side in (one, two)]
    assert apart == pytest.approx(np.abs(shares[0] - shares[1]).max())
