"""A service's audit log of any size, for benchmarks: several processes, days, tenants, rules and policies.

Records are encoded once for each kind of request and then given their own times, names and tenants, so
that making the log takes little longer than chaining and signing it, which the journal's own code does.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from guardsteer.audit.records import Record, StreamClosed, encode_record
from guardsteer.audit.stream import StreamWriter
from guardsteer.core.events import (
    ActivationBegan,
    ActivationEnded,
    Attached,
    ClassifierFailed,
    ConditionChanged,
    Event,
    FlagChanged,
    PolicyAdopted,
    RequestEnded,
    RequestFailed,
    RequestStarted,
    Resumed,
    RowHalted,
    RuleFired,
    RuleReleased,
    Stopped,
)

__all__ = ["FIRST_NS", "write_traffic"]

FIRST_NS = 1_736_121_600_000_000_000  # Monday, 6 January 2025, 00:00 UTC
DAY_NS = 86_400_000_000_000
_REQUEST, _TENANT, _PRINCIPAL, _DIGEST = "@request@", "@tenant@", "@principal@", "@digest@"
_GUARD = "@guard@"
_TIME = 7_000_000_000_000_000_000
_PIECES = re.compile(rb"(@[a-z]+@|70[0-9]{17})")
_STEP_NS = 12_000_000
_RULES = (
    ("warm-billing", "empathy", "billing"),
    ("warm-refund", "empathy", "refund"),
    ("less-flattery", "sycophancy", "flattery"),
    ("calmer", "calm", "hostile"),
    ("formal", "formality", "casual"),
)
_GROUP = 20_000


def write_traffic(directory: Path, records: int, *, streams: int = 4, days: int = 7, seed: int = 0) -> int:
    """Write at least ``records`` records as ``streams`` processes would over ``days`` days; return how many.

    The same seed gives the same events. Streams are closed in order and verify.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = 0
    for number in range(streams):
        choices = random.Random(f"{seed}-{number}")
        writer = StreamWriter(directory, digest_key="0" * 16, segment_bytes=64 * 2**20)
        bodies: list[bytes] = []
        left = records // streams + 1
        for body in _bodies(choices, left, days):
            bodies.append(body)
            if len(bodies) == _GROUP:
                writer.commit(bodies)
                bodies.clear()
            left -= 1
            written += 1
            if left <= 0 and b'"kind":"request_ended"' in body:
                break
        bodies.append(encode_record(StreamClosed(time_ns=time.time_ns(), dropped=0)))
        writer.commit(bodies)
        writer.close()
    return written


def _bodies(choices: random.Random, records: int, days: int) -> Iterator[bytes]:
    """Yield the records of one process, without an end."""
    templates = [_template(_story(choices)) for _ in range(300)]
    mean = sum(map(len, templates)) / len(templates)
    pause_ns = int(days * DAY_NS / (records / mean))
    tenants = [f"tenant-{number:02d}" for number in range(40)]
    weights = [1 / (1 + number) for number in range(40)]
    guard = f"{choices.getrandbits(128):032x}"
    time_ns, day = FIRST_NS, -1
    while True:
        if (time_ns - FIRST_NS) // DAY_NS != day:
            day = (time_ns - FIRST_NS) // DAY_NS
            yield from map(encode_record, _morning(time_ns, day, guard))
        (tenant,) = choices.choices(tenants, weights)
        names = {
            _REQUEST.encode(): b"%032x" % choices.getrandbits(128),
            _GUARD.encode(): guard.encode(),
            _TENANT.encode(): tenant.encode(),
            _PRINCIPAL.encode(): b"user-%d@%b" % (choices.randrange(500), tenant.encode()),
            _DIGEST.encode(): b"%064x" % choices.getrandbits(256),
        }
        for pieces in choices.choice(templates):
            yield b"".join([names.get(piece) or _moved(piece, time_ns) for piece in pieces])
        time_ns += int(choices.expovariate(1) * pause_ns)


def _moved(piece: bytes, time_ns: int) -> bytes:
    """Return a piece of a template; a time is as late after ``time_ns`` as it was after its base."""
    if len(piece) == 19 and piece.startswith(b"70"):
        return b"%d" % (int(piece) - _TIME + time_ns)
    return piece


def _template(events: list[Event]) -> list[list[bytes]]:
    return [_PIECES.split(encode_record(event)) for event in events]


def _morning(time_ns: int, day: int, guard: str) -> Iterator[Record]:
    """Yield what happens to the guard once a day: it starts, takes a policy, is stopped for a while."""
    digest = f"b3:{day // 3:064x}"
    policy: dict[str, Any] = {
        "guard": guard,
        "policy": "support",
        "policy_digest": digest,
        "vectors": {},
        "classifiers": {},
    }
    yield Attached(time_ns=time_ns, library="0.1.0", model={"name": "benchmark"}, **policy)
    yield PolicyAdopted(
        time_ns=time_ns + 1,
        source="wrap" if day == 0 else "reload",
        text="guardsteer: 1\nname: support\n",
        binding={"mode": "enforce"},
        approved_by="compliance@example.org",
        approved_at="2025-01-01T00:00:00Z",
        approval_key="0" * 16,
        **policy,
    )
    if day % 3 == 1:
        yield Stopped(time_ns=time_ns + 2, guard=guard, by="file", reason="drill")
        yield Resumed(time_ns=time_ns + 8_000_000_000, guard=guard, by="file")


class _Story:
    """The events of one request as they come, with the clock and the names filled in."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.row = {"request": _REQUEST, "sequence": 0}
        self.time_ns = _TIME

    def at(self, step: int) -> dict[str, Any]:
        """Return what every event of a step has."""
        self.time_ns = max(self.time_ns, _TIME + step * _STEP_NS) + 1_000
        return {"time_ns": self.time_ns, **self.row}


def _story(choices: random.Random) -> list[Event]:
    """Return one kind of request: most pass untouched, some are steered, few are halted or fail."""
    story = _Story()
    tokens = choices.randrange(8, 400)
    shadow = choices.random() < 0.2
    story.events.append(
        RequestStarted(
            **story.at(0),
            guard=_GUARD,
            policy_digest="b3:" + "1" * 64,
            context={"tenant": _TENANT, "tier": choices.randrange(3)},
            prompt_digest=f"hk:{_DIGEST}",
            prompt_tokens=choices.randrange(10, 900),
            settings={"max_new_tokens": 400, "do_sample": True, "temperature": 0.7},
            mode="shadow" if shadow else "enforce",
            overrides={"empathy": (0.9, 0.5)} if choices.random() < 0.02 else {},
            arm=choices.choice(("", "control", "new")),
            monotonic_ns=_TIME,
            tenant=_TENANT,
            principal=_PRINCIPAL,
            call=_DIGEST,
            rows=1,
        )
    )
    if choices.random() < 0.02:
        story.events.append(RequestFailed(**story.at(1), error="OutOfMemoryError"))
        return story.events
    if choices.random() < 0.03:
        error = "TimeoutError"
        story.events.append(ClassifierFailed(**story.at(1), step=1, classifier="intent", error=error))
    rules = choices.sample(_RULES, choices.choices((0, 1, 2, 3), (40, 35, 20, 5))[0])
    steered = sum(_act(story, choices, rule, tokens, shadow=shadow) for rule in rules)
    halted = choices.random() < 0.02
    if halted:
        digest = "b3:" + "4" * 64
        place: dict[str, Any] = {"step": tokens, "position": tokens, "fallback_digest": digest}
        story.events.append(RowHalted(**story.at(tokens), rule="no-threats", **place))
    story.events.append(
        RequestEnded(
            **story.at(tokens),
            generated_tokens=tokens,
            steered_tokens=0 if shadow else min(tokens, steered),
            output_digest=f"hk:{_DIGEST}",
            reason="halted" if halted else "eos",
            monotonic_ns=story.time_ns,
        )
    )
    return story.events


def _act(
    story: _Story, choices: random.Random, rule: tuple[str, str, str], tokens: int, *, shadow: bool
) -> int:
    """Tell one rule that fires and is released; return how many tokens it steered."""
    name, vector, flag = rule
    mode = "shadow" if shadow else "enforce"
    first = choices.randrange(tokens // 2 + 1)
    last = choices.randrange(first + 1, tokens + 1)
    score = round(choices.uniform(0.6, 1), 6)
    scores: dict[str, float | None] = {f"{flag}.score": score}
    strength = round(choices.triangular(0.05, 0.6, 0.3), 4)
    begins = story.at(first)
    story.events += [
        ConditionChanged(**begins, step=first, condition=flag, truth="true", scores=scores),
        FlagChanged(**begins, step=first, flag=flag, up=True, score=score),
        RuleFired(**begins, step=first, rule=name, scores=scores, mode=mode),
        ActivationBegan(
            **begins,
            rule=name,
            vector=vector,
            vector_digest="b3:" + "3" * 64,
            operator="add",
            blocks=(4, 5, 6),
            position=first,
            requested=strength,
            applied=min(strength, 0.5),
            alphas=(1.2345678, 1.3456789, 1.456789),
            scores=scores,
            limits=("max_strength",) if strength > 0.5 else (),
            mode=mode,
        ),
    ]
    ends = story.at(last)
    story.events += [
        FlagChanged(**ends, step=last, flag=flag, up=False, score=0.3),
        RuleReleased(**ends, step=last, rule=name, scores=scores, mode=mode),
        ActivationEnded(
            **ends,
            rule=name,
            vector=vector,
            first=first,
            last=last - 1,
            tokens=last - first,
            applied=min(strength, 0.5),
            mode=mode,
        ),
    ]
    return last - first
