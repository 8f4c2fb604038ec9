"""The layout of the log: file names and chained lines. Pure functions over bytes.

A line is ``{"seq":N,...,"hash":"H"}`` and a newline. ``H`` is SHA-256, in hexadecimal, over the hash
of the line before (64 zeros for the first of a stream) and every byte of the line up to ``,"hash"``.
What follows those bytes is fixed, so no byte of a line is free: a change anywhere, in the last line
too, is found from that line alone. Hash chaining of log entries: Schneier and Kelsey, "Secure audit
logs to support computer forensics", 1999.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from guardsteer.audit.merkle import leaf_hash

__all__ = [
    "FORMAT_VERSION",
    "MAX_LINE_BYTES",
    "STREAM_PATTERN",
    "ZERO_HASH",
    "Chained",
    "chain",
    "checkpoint_name",
    "link",
    "new_stream_name",
    "parse_name",
    "segment_name",
    "sequence_number",
    "split_line",
]

FORMAT_VERSION = 2
MAX_LINE_BYTES = 1 << 20
ZERO_HASH = b"0" * 64

_MARK = b',"hash":"'
_END = b'"}\n'
_TRAILER_BYTES = len(_MARK) + len(ZERO_HASH) + len(_END)
_START = b'{"seq":'
STREAM_PATTERN = r"[0-9]{8}T[0-9]{6}Z-[0-9]+-[0-9a-f]{8}"
_SEGMENT_NAME = re.compile(rf"({STREAM_PATTERN})\.([0-9]{{6,12}})\.jsonl")
_CHECKPOINT_NAME = re.compile(rf"({STREAM_PATTERN})\.checkpoint")


@dataclass(frozen=True, slots=True)
class Chained:
    """Lines to write, the number of the line that follows, the last hash, and the lines' leaves."""

    data: bytes
    following: int
    hash: bytes
    leaves: tuple[bytes, ...]


def new_stream_name() -> str:
    """Return a name that no other process has: UTC second, process id and 32 random bits."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return f"{stamp}-{os.getpid()}-{secrets.token_hex(4)}"


def segment_name(stream: str, number: int) -> str:
    """Return the file name of a stream's segment; ``number`` counts from 1."""
    return f"{stream}.{number:06d}.jsonl"


def checkpoint_name(stream: str) -> str:
    """Return the name of the file that holds a stream's latest checkpoint."""
    return f"{stream}.checkpoint"


def parse_name(name: str) -> tuple[str, int] | None:
    """Return a file name's stream and segment number (0: its checkpoint), or None for any other file."""
    if match := _SEGMENT_NAME.fullmatch(name):
        stream, number = match[1], int(match[2])
        # A number written in two ways would let two files claim one place.
        return (stream, number) if number and segment_name(stream, number) == name else None
    if match := _CHECKPOINT_NAME.fullmatch(name):
        return match[1], 0
    return None


def link(previous: bytes, payload: bytes) -> bytes:
    """Return the hash of a line whose bytes before ``,"hash"`` are ``payload``."""
    return sha256(previous + payload).hexdigest().encode()


def chain(bodies: Iterable[bytes], seq: int, previous: bytes) -> Chained:
    """Chain JSON objects into lines that follow the one whose hash is ``previous``.

    ``bodies`` are non-empty JSON objects in UTF-8 on one line; ``seq`` is the first one's number.
    """
    lines: list[bytes] = []
    leaves: list[bytes] = []
    for body in bodies:
        payload = b'{"seq":%d,%b' % (seq, body[1:-1])
        previous = sha256(previous + payload).hexdigest().encode()
        line = b'%b,"hash":"%b"}' % (payload, previous)
        lines.append(line)
        leaves.append(leaf_hash(line))
        seq += 1
    lines.append(b"")
    return Chained(b"\n".join(lines), seq, previous, tuple(leaves))


def split_line(line: bytes) -> tuple[bytes, bytes] | None:
    """Return a line's payload and the hash it states, or None when it has not a line's layout."""
    body = len(line) - _TRAILER_BYTES
    if body < len(_START) or not line.endswith(_END) or not line.startswith(_START):
        return None
    hash_at = body + len(_MARK)
    if line[body:hash_at] != _MARK:
        return None
    return line[:body], line[hash_at : -len(_END)]


def sequence_number(payload: bytes) -> int | None:
    """Return the seq that a payload states, or None when it states none."""
    digits = payload[len(_START) : payload.find(b",")]
    return int(digits) if digits.isdigit() and len(digits) <= 20 else None
