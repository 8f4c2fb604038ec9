"""Ways to tamper with an audit log without its keys, for ``benchmarks.audit_faults``."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks._audit_events import request_events
from guardsteer.audit import open_journal
from guardsteer.audit.chain import segment_name
from guardsteer.audit.stream import StreamWriter

__all__ = ["KEY", "TAMPERINGS", "Log", "Tampering", "make_log"]

KEY = b"the key of a benchmark, no secret"

Files = dict[str, bytes]


@dataclass(frozen=True)
class Log:
    """Two streams of several segments as their files' bytes, and what was kept elsewhere.

    ``earlier``: for each stream its files at some moment before the end, which were whole then.
    """

    files: Files
    streams: tuple[str, ...]
    earlier: Mapping[str, list[Files]]
    anchors: tuple[str, ...]
    trusted: bytes

    def segments(self, stream: str) -> list[str]:
        """Return the names of a stream's segments, in order."""
        return sorted(name for name in self.files if name.startswith(stream) and name.endswith(".jsonl"))


@dataclass(frozen=True)
class Place:
    """Where a change was made, if it was made at one line: file, and line counted from 1."""

    file: str
    line: int


def make_log(directory: Path, requests: int) -> Log:
    """Write and close two streams under a trusted key."""
    signing = Ed25519PrivateKey.generate()
    anchors, streams = [], []
    earlier: dict[str, list[Files]] = {}
    for _ in range(2):
        with open_journal(directory, key=KEY, signing_key=signing, segment_bytes=24_000) as journal:
            stream = journal.stream
            states = earlier.setdefault(stream, [])
            for number in range(requests):
                for event in request_events(number):
                    journal.append(event)
                journal.flush()
                if number % 5 == 4:
                    states.append({p.name: p.read_bytes() for p in directory.glob(f"{stream}.*")})
            streams.append(stream)
        anchors.append(journal.checkpoint)
    files = {path.name: path.read_bytes() for path in directory.iterdir() if path.name.count(".") > 0}
    own = {name: data for name, data in files.items() if name.startswith(tuple(streams))}
    trusted = signing.public_key().public_bytes_raw()
    return Log(own, tuple(streams), earlier, tuple(anchors), trusted)


def _lines(log: Log, chance: random.Random) -> tuple[str, list[bytes], int]:
    name = chance.choice([name for name in log.files if name.endswith(".jsonl")])
    lines = log.files[name].splitlines(keepends=True)
    return name, lines, chance.randrange(len(lines))


def _flip_bit(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    return _change(log, chance, lambda byte: byte ^ (1 << chance.randrange(8)))


def _change_byte(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    return _change(log, chance, lambda byte: (byte + chance.randint(1, 255)) % 256)


def _change(log: Log, chance: random.Random, new: Callable[[int], int]) -> tuple[Files, Place | None]:
    (name,) = chance.choices(list(log.files), [len(data) for data in log.files.values()])
    data = bytearray(log.files[name])
    at = chance.randrange(len(data))
    line = data.count(b"\n", 0, at) + 1
    data[at] = new(data[at])
    return {name: bytes(data)}, Place(name, line) if name.endswith(".jsonl") else None


def _delete_line(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    name, lines, at = _lines(log, chance)
    return {name: b"".join(lines[:at] + lines[at + 1 :])}, None


def _repeat_line(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    name, lines, at = _lines(log, chance)
    return {name: b"".join([*lines[: at + 1], *lines[at:]])}, None


def _swap_lines(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    name, lines, at = _lines(log, chance)
    other = chance.choice([place for place in range(len(lines)) if place != at])
    lines[at], lines[other] = lines[other], lines[at]
    return {name: b"".join(lines)}, Place(name, min(at, other) + 1)


def _bring_line(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    name, lines, at = _lines(log, chance)
    _, others, other = _lines(log, chance)
    if others[other] == lines[at]:
        return _bring_line(log, chance)
    lines[at] = others[other]
    return {name: b"".join(lines)}, Place(name, at + 1)


def _rewrite_record(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    name, lines, at = _lines(log, chance)
    record = json.loads(lines[at])
    record["time_ns"] = record["time_ns"] + 1
    lines[at] = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    return {name: b"".join(lines)}, Place(name, at + 1)


def _cut_tail(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    stream = chance.choice(log.streams)
    names = log.segments(stream)
    first = chance.randrange(len(names))
    lines = log.files[names[first]].splitlines(keepends=True)
    kept = b"".join(lines[: chance.randrange(1, len(lines))])
    return {names[first]: kept, **dict.fromkeys(names[first + 1 :], b"")}, None


def _tear_line(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    stream = chance.choice(log.streams)
    name = log.segments(stream)[-1]
    data = log.files[name]
    last = data.rstrip(b"\n").rfind(b"\n") + 1
    return {name: data[: chance.randrange(last + 1, len(data))]}, None


def _go_back(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    stream = chance.choice(log.streams)
    state = chance.choice(log.earlier[stream])
    gone = [name for name in log.files if name.startswith(stream) and name not in state]
    return {**state, **dict.fromkeys(gone, b"")}, None


def _delete_segment(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    return {chance.choice(log.segments(chance.choice(log.streams))): b""}, None


def _swap_segments(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    one, other = chance.sample(log.segments(chance.choice(log.streams)), 2)
    return {one: log.files[other], other: log.files[one]}, None


def _repeat_segment(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    stream = chance.choice(log.streams)
    names = log.segments(stream)
    return {segment_name(stream, len(names) + 1): log.files[chance.choice(names)]}, None


def _bring_segment(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    here, there = chance.sample(log.streams, 2)
    return {chance.choice(log.segments(here)): log.files[chance.choice(log.segments(there))]}, None


def _delete_stream(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    stream = chance.choice(log.streams)
    return dict.fromkeys([name for name in log.files if name.startswith(stream)], b""), None


def _delete_checkpoint(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    return {f"{chance.choice(log.streams)}.checkpoint": b""}, None


def _bring_checkpoint(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    here, there = chance.sample(log.streams, 2)
    return {f"{here}.checkpoint": log.files[f"{there}.checkpoint"]}, None


def _forge(log: Log, chance: random.Random) -> tuple[Files, Place | None]:
    """Write a stream anew from its first line, with one record changed, under keys of one's own."""
    stream = chance.choice(log.streams)
    bodies = []
    for name in log.segments(stream):
        for line in log.files[name].splitlines()[1:]:
            record = {k: v for k, v in json.loads(line).items() if k not in ("seq", "hash")}
            bodies.append(json.dumps(record, separators=(",", ":")).encode())
    at = chance.randrange(len(bodies))
    bodies[at] = bodies[at].replace(b'"time_ns":1', b'"time_ns":2', 1)
    own = chance.choice([None, Ed25519PrivateKey.generate()])
    with TemporaryDirectory() as folder, patch("guardsteer.audit.stream.new_stream_name", lambda: stream):
        writer = StreamWriter(Path(folder), digest_key="0" * 16, segment_bytes=24_000, signer=own)
        for start in range(0, len(bodies), 60):
            writer.commit(bodies[start : start + 60])
        writer.close()
        made = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    gone = [name for name in log.files if name.startswith(stream) and name not in made]
    return {**made, **dict.fromkeys(gone, b"")}, None


@dataclass(frozen=True)
class Tampering:
    """One way to tamper. ``make`` returns the changed files (empty: deleted) and the place, if it is one.

    ``named``: the kinds of finding that say what it was.
    """

    name: str
    make: Callable[[Log, random.Random], tuple[Files, Place | None]]
    named: frozenset[str]


def _of(name: str, make: Callable[[Log, random.Random], tuple[Files, Place | None]], named: str) -> Tampering:
    return Tampering(name, make, frozenset(named.split()))


_LINE = "changed layout order missing header foreign"

TAMPERINGS: tuple[Tampering, ...] = (
    _of("a bit flipped", _flip_bit, f"{_LINE} checkpoint cut"),
    _of("a byte changed", _change_byte, f"{_LINE} checkpoint cut"),
    _of("a line deleted", _delete_line, "missing header cut"),
    _of("a line repeated", _repeat_line, "order closed"),
    _of("two lines swapped", _swap_lines, f"{_LINE} closed"),
    _of("a line brought from elsewhere", _bring_line, f"{_LINE} closed cut"),
    _of("a record rewritten", _rewrite_record, "changed layout header foreign"),
    _of("the end cut off", _cut_tail, "cut missing"),
    _of("the last line torn", _tear_line, "cut layout"),
    _of("an earlier state put back, whole", _go_back, "anchor"),
    _of("a segment deleted", _delete_segment, "missing cut"),
    _of("two segments swapped", _swap_segments, "foreign order header"),
    _of("a segment repeated", _repeat_segment, "foreign order header closed"),
    _of("a segment of another stream", _bring_segment, "foreign"),
    _of("a stream deleted", _delete_stream, "anchor"),
    _of("a checkpoint deleted", _delete_checkpoint, "checkpoint"),
    _of("a checkpoint of another stream", _bring_checkpoint, "checkpoint"),
    _of("written anew under other keys", _forge, "signature anchor"),
)
"""All of them; drawn with equal chance."""
