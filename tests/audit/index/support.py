"""Logs for the tests of the index: stories of several tenants, days, rules, candidates and mishaps."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardsteer.audit import StoredEvent, open_journal, read
from guardsteer.core.events import (
    ActivationBegan,
    ActivationEnded,
    ClassifierFailed,
    Event,
    FlagChanged,
    PolicyAdopted,
    RequestEnded,
    RequestFailed,
    RequestStarted,
    Resumed,
    RowHalted,
    RowRevised,
    RuleFired,
    Stopped,
)

duckdb = pytest.importorskip("duckdb", reason="the index needs the extra 'query'")
pytest.importorskip("pyarrow", reason="the index needs the extra 'query'")

KEY = b"a key of the tests, 32 bytes long"
DAY_NS = 86_400_000_000_000
FIRST_NS = 1_736_121_600_000_000_000  # 6 January 2025, 00:00 UTC


def write(folder: Path, events: list[Event], *, segment_bytes: int = 1 << 20, close: bool = True) -> str:
    """Write a stream and return its name; left open, it is durable all the same."""
    journal = open_journal(folder, key=KEY, segment_bytes=segment_bytes)
    for at, event in enumerate(events, start=1):
        journal.append(event)
        if at % 25 == 0:
            journal.flush()
    journal.flush()
    stream = journal.checkpoint.split("\n", 1)[0].removeprefix("guardsteer-audit/")
    if close:
        journal.close()
    return stream


def adopted(guard: str, time_ns: int, digest: str, track: str = "") -> PolicyAdopted:
    """Return a policy that was adopted."""
    return PolicyAdopted(
        time_ns=time_ns,
        guard=guard,
        policy="support",
        policy_digest=digest,
        source="wrap",
        text="guardsteer: 1\n",
        binding={"mode": "enforce"},
        vectors={"empathy": "b3:1"},
        classifiers={},
        track=track,
        approved_by="compliance",
    )


def events(seed: int, requests: int = 40, days: int = 3) -> list[Event]:
    """Return what a guard goes through: the same for the same seed, in the order of its times."""
    chance = random.Random(seed)
    guard = f"g-{seed}"
    found: list[Event] = [
        adopted(guard, FIRST_NS, "b3:first"),
        adopted(guard, FIRST_NS, "b3:candidate", "next"),
    ]
    for number in range(requests):
        found += _request(chance, guard, f"r-{seed}-{number}", FIRST_NS + number * days * DAY_NS // requests)
        if number == requests // 2:
            at = found[-1].time_ns
            found.append(Stopped(time_ns=at + 1, guard=guard, by="file", reason="drill"))
            found.append(Resumed(time_ns=at + 2_000_000_001, guard=guard, by="call"))
            found.append(adopted(guard, at + 2_000_000_002, "b3:second"))
    return found


def _request(chance: random.Random, guard: str, name: str, time_ns: int) -> Iterator[Event]:
    who: dict[str, Any] = {"request": name, "sequence": 0}
    tenant = chance.choice(("acme", 'Ünï, "Co"', ""))
    shadow = chance.random() < 0.3
    mode = "shadow" if shadow else "enforce"
    tokens = chance.randrange(1, 60)
    yield RequestStarted(
        time_ns=time_ns,
        **who,
        guard=guard,
        policy_digest="b3:first",
        context={"tenant": tenant} if chance.random() < 0.5 else {},
        prompt_digest="hk:1",
        prompt_tokens=7,
        settings={"max_new_tokens": 60},
        mode=mode,
        overrides={"empathy": (0.9, 0.5)} if chance.random() < 0.3 else {},
        monotonic_ns=1 + time_ns % 1_000_000,
        tenant=tenant,
        principal="=cmd()",
    )
    yield RequestStarted(
        time_ns=time_ns,
        **who,
        track="next",
        guard=guard,
        policy_digest="b3:candidate",
        context={},
        prompt_digest="hk:1",
        prompt_tokens=7,
        settings={},
    )
    steered = 0
    for rule, vector in chance.sample((("warm", "empathy"), ("calm", "calm")), chance.randrange(3)):
        strength = chance.choice((0.1, 0.25, 0.7))
        step = {"time_ns": time_ns + 5, **who}
        scores = {"hostile.score": 0.75, "other.score": None}
        yield FlagChanged(**step, step=0, flag="hostile", up=True, score=0.75)
        yield RuleFired(**step, step=0, rule=rule, scores=scores, mode=mode)
        yield ActivationBegan(
            **step,
            rule=rule,
            vector=vector,
            vector_digest="b3:1",
            operator="add",
            blocks=(1, 2),
            position=7,
            requested=strength,
            applied=min(strength, 0.5),
            alphas=(1.5, 2.25),
            scores=scores,
            limits=("max_strength",) if strength > 0.5 else (),
            mode=mode,
        )
        if chance.random() < 0.9:
            last: dict[str, Any] = {
                "first": 7,
                "last": 6 + tokens,
                "tokens": tokens,
                "applied": min(strength, 0.5),
            }
            yield ActivationEnded(**step, rule=rule, vector=vector, mode=mode, **last)
            steered = 0 if shadow else tokens
    if chance.random() < 0.2:
        yield ClassifierFailed(time_ns=time_ns + 6, **who, step=1, classifier="intent", error="ValueError")
    end: dict[str, Any] = {"time_ns": time_ns + 10_000_000, **who}
    ending = chance.random()
    if ending < 0.15:
        yield RowHalted(**end, step=3, rule="stop", position=9, fallback_digest="b3:4", mode=mode)
    elif ending < 0.3:
        yield RowRevised(**end, step=3, rule="again", position=9, dropped=2, revision=1, mode=mode)
    if ending > 0.95:
        return
    if ending > 0.85:
        yield RequestFailed(**end, error="RuntimeError", monotonic_ns=1 + time_ns % 1_000_000 + 4_000_000)
        return
    yield RequestEnded(
        **end,
        generated_tokens=tokens,
        steered_tokens=steered,
        output_digest="hk:2",
        reason="eos",
        monotonic_ns=1 + time_ns % 1_000_000 + 8_000_000,
    )
    yield RequestEnded(
        **end, track="next", generated_tokens=tokens, steered_tokens=0, output_digest="hk:2", reason="eos"
    )


def stored(*folders: Path) -> list[StoredEvent]:
    """Return all records of logs, as the library reads them."""
    return [each for folder in folders for each in read(folder)]


def lines_of(folder: Path) -> dict[str, list[bytes]]:
    """Return the lines of each stream of a log."""
    found: dict[str, list[bytes]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        found.setdefault(path.name.split(".")[0], []).extend(path.read_bytes().splitlines(keepends=True))
    return found


def plain_rows(index: Path, columns: str = "stream, seq, hash, body") -> list[tuple[Any, ...]]:
    """Return rows of an index by DuckDB alone, with no code of this library."""
    files = f"{index}/**/*.parquet"
    query = f"SELECT {columns} FROM read_parquet('{files}', hive_partitioning = true) ORDER BY stream, seq"
    with duckdb.connect() as connection:
        rows: list[tuple[Any, ...]] = connection.execute(query).fetchall()
    return rows


def rebuilt(index: Path) -> dict[str, list[bytes]]:
    """Return the lines of each stream, put together from an index alone."""
    found: dict[str, list[bytes]] = {}
    for stream, seq, digest, body in plain_rows(index):
        line = b'{"seq":%d,%b,"hash":"%b"}\n' % (seq, body.encode()[1:-1], digest.hex().encode())
        found.setdefault(stream, []).append(line)
    return found
