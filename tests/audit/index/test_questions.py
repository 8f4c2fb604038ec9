"""Every ready-made question gives what a plain walk over the log's records gives."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from guardsteer.audit import StoredEvent, read
from guardsteer.audit.index import QUESTIONS, Tables, Window, compact, open_tables, query_of
from guardsteer.core.events import (
    ActivationBegan,
    ActivationEnded,
    ClassifierFailed,
    Event,
    FlagChanged,
    RequestEnded,
    RequestFailed,
    RequestStarted,
    RowHalted,
    RowRevised,
    RuleFired,
)
from guardsteer.errors import AuditError
from tests.audit.index.support import DAY_NS, FIRST_NS, events, stored, write

WINDOWS = {
    "everything": Window(),
    "a day": Window(since_ns=FIRST_NS + DAY_NS, until_ns=FIRST_NS + 2 * DAY_NS),
    "a tenant": Window(tenant='Ünï, "Co"'),
    "a rule": Window(rule="warm"),
    "all of it": Window(FIRST_NS + DAY_NS // 2, FIRST_NS + 2 * DAY_NS, "acme", "calm"),
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a log of two processes."""
    folder = tmp_path_factory.mktemp("audit")
    for seed in range(2):
        write(folder, events(seed, requests=60))
    return folder


@pytest.fixture(scope="module")
def index(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the index of that log."""
    folder = tmp_path_factory.mktemp("index")
    compact([log], folder)
    return folder


@pytest.fixture(scope="module", params=list(WINDOWS))
def window(request: pytest.FixtureRequest) -> Window:
    """Return what counts."""
    return WINDOWS[request.param]


@pytest.fixture(scope="module", params=["index", "log"])
def tables(request: pytest.FixtureRequest, window: Window, log: Path, index: Path) -> Iterator[Tables]:
    """Return the tables of the index, or of the log itself, in a window."""
    with open_tables([index if request.param == "index" else log], window) as opened:
        yield opened


def rows(tables: Tables, question: str, by: tuple[str, ...] = (), **more: Any) -> list[dict[str, Any]]:
    answer = tables.ask(query_of(question, by, limit=0, **more))
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


class Walk:
    """The records that a window leaves, found by walking over all of them."""

    def __init__(self, log: Path, window: Window) -> None:
        self.all = stored(log)
        self.window = window
        self.tenants: dict[tuple[str, str], str] = {}
        self.fired: set[tuple[str, str]] = set()
        for each in self.all:
            event = each.event
            if isinstance(event, RequestStarted) and not event.track:
                self.tenants[each.stream, event.request] = event.tenant
            if isinstance(event, RuleFired) and event.rule == window.rule:
                self.fired.add((each.stream, event.request))

    def tenant(self, each: StoredEvent) -> str | None:
        return self.tenants.get((each.stream, getattr(each.event, "request", "")))

    def counts(self, each: StoredEvent) -> bool:
        window, event = self.window, each.event
        if window.since_ns is not None and event.time_ns < window.since_ns:
            return False
        if window.until_ns is not None and event.time_ns >= window.until_ns:
            return False
        if window.tenant is not None and self.tenant(each) != window.tenant:
            return False
        if window.rule is None:
            return True
        rule = getattr(event, "rule", None)
        if rule is not None:
            return bool(rule == window.rule)
        return (each.stream, getattr(event, "request", "")) in self.fired

    def of(self, *kinds: type) -> list[tuple[StoredEvent, Any]]:
        return [
            (each, each.event) for each in self.all if isinstance(each.event, kinds) and self.counts(each)
        ]


def day(event: Any) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(event.time_ns // 10**9, UTC).date().isoformat()


def test_activations(tables: Tables, window: Window, log: Path) -> None:
    walk = Walk(log, window)
    expected: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for each, event in walk.of(ActivationBegan):
        key = (event.mode, event.rule, event.vector, walk.tenant(each) or "", day(event))
        expected[key]["activations"] += 1
    for each, event in walk.of(ActivationEnded):
        expected[event.mode, event.rule, event.vector, walk.tenant(each) or "", day(event)]["tokens"] += (
            event.tokens
        )
    got = {
        (row["mode"], row["rule"], row["vector"], row["tenant"], str(row["day"])): (
            row["activations"],
            row["tokens"] or 0,
        )
        for row in rows(tables, "activations", ("rule", "vector", "tenant", "day"))
    }
    assert got == {key: (counts["activations"], counts["tokens"]) for key, counts in expected.items()}


def test_a_strength_that_subtracts_is_told_with_its_sign(tmp_path: Path) -> None:
    began = next(event for event in events(0) if isinstance(event, ActivationBegan))
    ended = next(event for event in events(0) if isinstance(event, ActivationEnded))
    story: list[Event] = []
    for tokens, applied in ((1, 0.1), (3, -0.6)):
        story.append(msgspec.structs.replace(began, rule="less", applied=applied))
        story.append(
            msgspec.structs.replace(ended, rule="less", applied=applied, tokens=tokens, vector=began.vector)
        )
    write(tmp_path / "log", story)
    with open_tables([tmp_path / "log"]) as tables:
        (row,) = rows(tables, "activations", ("rule",))
    assert (row["activations"], row["tokens"], row["strongest"]) == (2, 4, -0.6)
    assert row["mean_strength"] == pytest.approx((0.1 - 3 * 0.6) / 4)


def test_the_steered_share(tables: Tables, window: Window, log: Path) -> None:
    walk = Walk(log, window)
    expected: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for _, event in walk.of(RequestEnded):
        if not event.track:
            one = expected[day(event)]
            one[0] += 1
            one[1] += event.generated_tokens
            one[2] += event.steered_tokens
    got = {
        str(row["day"]): [row["requests"], row["tokens"], row["steered_tokens"]]
        for row in rows(tables, "steered")
    }
    assert got == expected
    for row in rows(tables, "steered"):
        assert row["share"] == pytest.approx(row["steered_tokens"] / row["tokens"], abs=1e-4)


def test_the_distribution_of_strengths(tables: Tables, window: Window, log: Path) -> None:
    walk = Walk(log, window)
    expected: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _, event in walk.of(ActivationEnded):
        expected[event.mode, event.vector].append(event.applied)
    got = rows(tables, "strengths")
    assert {(row["mode"], row["vector"]): row["activations"] for row in got} == {
        key: len(found) for key, found in expected.items()
    }
    for row in got:
        found = sorted(expected[row["mode"], row["vector"]])
        assert (row["min"], row["max"]) == (found[0], found[-1])
        assert row["median"] == found[(len(found) - 1) // 2]


def test_the_bounds_that_cut(tables: Tables, window: Window, log: Path) -> None:
    expected = Counter(
        (event.mode, bound, event.vector)
        for _, event in Walk(log, window).of(ActivationBegan)
        for bound in event.limits
    )
    got = {(row["mode"], row["bound"], row["vector"]): row["activations"] for row in rows(tables, "bounds")}
    assert got == expected


def test_shadow_beside_enforced(tables: Tables, window: Window, log: Path) -> None:
    expected: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    names: dict[type, str] = {
        RuleFired: "fired",
        ActivationBegan: "activations",
        RowHalted: "halts",
        RowRevised: "revisions",
    }
    for _, event in Walk(log, window).of(*names, ActivationEnded):
        one = expected[event.track, event.rule, event.mode]
        if isinstance(event, ActivationEnded):
            one["tokens"] += event.tokens
        else:
            one[names[type(event)]] += 1
    got = {
        (row["track"], row["rule"], row["mode"]): Counter(
            {name: row[name] for name in (*names.values(), "tokens") if row[name]}
        )
        for row in rows(tables, "shadow")
    }
    assert got == expected


def test_rules_and_flags_and_halts(tables: Tables, window: Window, log: Path) -> None:
    walk = Walk(log, window)
    fired = Counter((event.rule, event.mode) for _, event in walk.of(RuleFired))
    got = {(row["rule"], row["mode"]): row["fired"] for row in rows(tables, "rules") if row["fired"]}
    assert got == fired
    raised = Counter(event.flag for _, event in walk.of(FlagChanged) if event.up)
    assert {row["flag"]: row["raised"] for row in rows(tables, "flags")} == raised
    ended = sorted(
        (event.request, event.rule, event.mode, getattr(event, "dropped", None))
        for _, event in walk.of(RowHalted, RowRevised)
    )
    halts = [(row["request"], row["rule"], row["mode"], row["dropped"]) for row in rows(tables, "halts")]
    assert sorted(halts) == ended


def test_requests_with_their_outcome_and_duration(tables: Tables, window: Window, log: Path) -> None:
    everything = Walk(log, Window())
    ends = {
        (each.stream, event.request): event
        for each, event in everything.of(RequestEnded, RequestFailed)
        if not event.track
    }
    expected = {}
    for each, event in Walk(log, window).of(RequestStarted):
        if not event.track:
            end = ends.get((each.stream, event.request))
            outcome = "open" if end is None else getattr(end, "reason", "failed")
            took = None if end is None else (end.monotonic_ns - event.monotonic_ns) / 1e6
            expected[event.request] = (event.tenant, event.mode, outcome, took and round(took, 1))
    got = {
        row["request"]: (row["tenant"], row["mode"], row["outcome"], row["duration_ms"])
        for row in rows(tables, "requests")
    }
    assert got == expected
    slowest = [row["duration_ms"] for row in rows(tables, "slowest")]
    assert slowest == sorted((took for *_, took in expected.values() if took is not None), reverse=True)


def test_tenants(tables: Tables, window: Window, log: Path) -> None:
    walk = Walk(log, window)
    expected: dict[str, Counter[str]] = defaultdict(Counter)
    for each, event in walk.of(RequestStarted, RequestEnded, RequestFailed, RowHalted):
        if event.track:
            continue
        one = expected[walk.tenant(each) or ""]
        match event:
            case RequestStarted():
                one["requests"] += 1
            case RequestEnded():
                one["tokens"] += event.generated_tokens
                one["steered_tokens"] += event.steered_tokens
            case RequestFailed():
                one["failed"] += 1
            case RowHalted(mode="enforce"):
                one["halts"] += 1
    names = ("requests", "tokens", "steered_tokens", "failed", "halts")
    got = {row["tenant"]: {name: row[name] for name in names} for row in rows(tables, "tenants")}
    assert got == {tenant: {name: one[name] for name in names} for tenant, one in expected.items()}


def test_overrides_and_errors(tables: Tables, window: Window, log: Path) -> None:
    walk = Walk(log, window)
    chosen = sorted(
        (event.request, vector, *asked)
        for _, event in walk.of(RequestStarted)
        for vector, asked in event.overrides.items()
    )
    got = [(row["request"], row["vector"], row["asked"], row["got"]) for row in rows(tables, "overrides")]
    assert sorted(got) == chosen
    failed = Counter(
        (getattr(event, "classifier", None), event.error)
        for _, event in walk.of(ClassifierFailed, RequestFailed)
    )
    assert {(row["classifier"], row["error"]): row["times"] for row in rows(tables, "errors")} == failed


def test_policies_and_the_requests_that_they_admitted(index: Path) -> None:
    with open_tables([index]) as tables:
        found = rows(tables, "policies")
    assert [row["policy_digest"] for row in found if not row["track"]] == [
        "b3:first",
        "b3:first",
        "b3:second",
        "b3:second",
    ]
    assert [row["until"] is None for row in found if not row["track"]] == [False, False, True, True]
    assert [row["requests"] for row in found if not row["track"]] == [31, 31, 29, 29]
    assert sum(row["requests"] for row in found if row["track"] == "next") == 120
    assert {row["approved_by"] for row in found} == {"compliance"}


def test_when_the_kill_switch_was_thrown(tmp_path: Path) -> None:
    write(tmp_path / "log", events(5))
    with open_tables([tmp_path / "log"]) as tables:
        (stop,) = rows(tables, "stops")
    assert (stop["stopped_by"], stop["reason"], stop["resumed_by"]) == ("file", "drill", "call")
    assert stop["stopped_s"] == 2.0


def test_one_request_is_found_with_all_that_was_recorded_of_it(log: Path, index: Path) -> None:
    for source in (log, index):
        with open_tables([source]) as tables:
            for name in ("r-0-7", "r-1-0"):
                got = [
                    (row["stream"], row["seq"], row["kind"]) for row in rows(tables, "request", request=name)
                ]
                expected = [
                    (each.stream, each.seq, each.event.__struct_config__.tag) for each in read(log, name)
                ]
                assert got == expected
                assert got
            assert rows(tables, "request", request="' OR true --") == []


def test_gaps_tell_lost_missing_altered_and_unfinished(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stream = write(log, events(6), close=False)
    with open_tables([log]) as tables:
        told = {row["gap"]: row for row in rows(tables, "gaps")}
    opened = {event.request for each in stored(log) if isinstance(event := each.event, RequestStarted)}
    ended = {
        event.request for each in stored(log) if isinstance(event := each.event, RequestEnded | RequestFailed)
    }
    assert set(told) == {"stream without an end", "requests without an end"}
    assert told["requests without an end"]["count"] == len(opened - ended) > 0
    (path,) = log.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    altered = lines[9].replace(b'"sequence":0', b'"sequence":1', 1)
    path.write_bytes(b"".join([*lines[:9], altered, *lines[10:20], *lines[23:-4]]))
    next(log.glob("*.checkpoint")).write_bytes(b"")
    with open_tables([log]) as tables:
        found = {row["gap"]: row for row in rows(tables, "gaps")}
        assert (tables.altered, tables.damaged) == (2, 0)
    assert (found["lines missing"]["stream"], found["lines missing"]["count"]) == (stream, 3)
    assert (found["lines missing"]["first"], found["lines missing"]["last"]) == (20, 22)
    assert found["lines altered"]["count"] == 2
    assert "stream without a checkpoint" in found


def test_an_index_and_the_log_that_went_on_are_one(tmp_path: Path) -> None:
    log, index = tmp_path / "log", tmp_path / "index"
    write(log, events(7))
    compact([log], index)
    write(log, events(8))
    with open_tables([index, log]) as both, open_tables([log]) as alone, open_tables([log, index]) as turned:
        for name, question in QUESTIONS.items():
            query = query_of(name, request="r-8-3" if question.request else "", limit=0)
            expected = list(alone.ask(query).rows)
            assert list(both.ask(query).rows) == expected, name
            assert list(turned.ask(query).rows) == expected, name


def test_the_sql_of_the_document_is_answered(index: Path, repository: Path) -> None:
    text = (repository / "docs/audit-query.md").read_text(encoding="utf-8")
    queries = re.findall(r"```sql\n(.*?)```", text, re.DOTALL) + re.findall(r'--sql "(.*?)"', text)
    own = [query for query in queries if "read_parquet" not in query]
    assert len(own) >= 2
    with open_tables([index]) as tables:
        for query in own:
            assert list(tables.ask(query).rows)
    for name, question in QUESTIONS.items():
        assert f"| `{name}` | {question.tells} |" in text


def test_no_question_is_told_by_what_it_does_not_have() -> None:
    with pytest.raises(AuditError, match="'what' is no question; expected one of activations"):
        query_of("what")
    with pytest.raises(AuditError, match="cannot be told by flag, 1; DROP: it is told by rule, vector"):
        query_of("activations", ("rule", "flag", "1; DROP"))
    with pytest.raises(AuditError, match="needs the id of a request"):
        query_of("request")
    with pytest.raises(AuditError, match="not about one request"):
        query_of("steered", request="r-1")
    for name, question in QUESTIONS.items():
        assert set(question.usual) <= set(question.by), name
