"""The layout of the log: file names, sealed lines and the head. Pure functions over bytes.

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

__all__ = [
    "FORMAT_VERSION",
    "MAX_LINE_BYTES",
    "ZERO_HASH",
    "Head",
    "decode_head",
    "encode_head",
    "head_name",
    "link",
    "new_stream_name",
    "parse_anchor",
    "parse_name",
    "seal",
    "segment_name",
    "sequence_number",
    "split_line",
]

FORMAT_VERSION = 1
MAX_LINE_BYTES = 1 << 20
ZERO_HASH = b"0" * 64

_MARK = b',"hash":"'
_END = b'"}\n'
_TRAILER_BYTES = len(_MARK) + len(ZERO_HASH) + len(_END)
_START = b'{"seq":'
_HEAD_WORDS = b"guardsteer-audit-head 1"
_STREAM = r"[0-9]{8}T[0-9]{6}Z-[0-9]+-[0-9a-f]{8}"
_SEGMENT_NAME = re.compile(rf"({_STREAM})\.([0-9]{{6,12}})\.jsonl")
_HEAD_NAME = re.compile(rf"({_STREAM})\.head")
_ANCHOR = re.compile(rf"({_STREAM}):([0-9]{{1,20}}):([0-9a-f]{{64}})")


@dataclass(frozen=True, slots=True)
class Head:
    """How far a stream is durable: its first ``lines`` lines, the last of which has ``hash``.

    ``str(head)`` is the anchor to keep outside the log's directory.
    """

    stream: str
    lines: int
    hash: str

    def __str__(self) -> str:
        return f"{self.stream}:{self.lines}:{self.hash}"


def new_stream_name() -> str:
    """Return a name that no other process has: UTC second, process id and 32 random bits."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return f"{stamp}-{os.getpid()}-{secrets.token_hex(4)}"


def segment_name(stream: str, number: int) -> str:
    """Return the file name of a stream's segment; ``number`` counts from 1."""
    return f"{stream}.{number:06d}.jsonl"


def head_name(stream: str) -> str:
    """Return the file name of a stream's head."""
    return f"{stream}.head"


def parse_name(name: str) -> tuple[str, int] | None:
    """Return a file name's stream and segment number (0: its head), or None for any other file."""
    if match := _SEGMENT_NAME.fullmatch(name):
        stream, number = match[1], int(match[2])
        # A number written in two ways would let two files claim one place.
        return (stream, number) if number and segment_name(stream, number) == name else None
    if match := _HEAD_NAME.fullmatch(name):
        return match[1], 0
    return None


def link(previous: bytes, payload: bytes) -> bytes:
    """Return the hash of a line whose bytes before ``,"hash"`` are ``payload``."""
    return sha256(previous + payload).hexdigest().encode()


def seal(bodies: Iterable[bytes], seq: int, previous: bytes) -> tuple[bytes, int, bytes]:
    """Chain JSON objects into lines; return the bytes to write, the next seq and the last hash.

    ``bodies`` are non-empty JSON objects in UTF-8 on one line; ``seq`` is the first one's number.
    """
    pieces: list[bytes] = []
    for body in bodies:
        payload = b'{"seq":%d,%b' % (seq, body[1:-1])
        previous = sha256(previous + payload).hexdigest().encode()
        pieces += (payload, _MARK, previous, _END)
        seq += 1
    return b"".join(pieces), seq, previous


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


def encode_head(head: Head) -> bytes:
    """Return a head's file content: one line of ASCII with its own checksum, the same length every time."""
    words = b"%b %b %020d %b " % (_HEAD_WORDS, head.stream.encode(), head.lines, head.hash.encode())
    return words + sha256(words).hexdigest().encode() + b"\n"


def decode_head(data: bytes) -> Head | None:
    """Return the head that a file's content states, or None when a byte of it is wrong."""
    words = data.split(b" ")
    if len(words) != 6 or not words[3].isdigit() or not data.isascii():
        return None
    head = Head(words[2].decode(), int(words[3]), words[4].decode())
    # One way to write a head, so comparing the whole checks every byte.
    return head if encode_head(head) == data else None


def parse_anchor(text: str) -> Head | None:
    """Return the head that an anchor (``stream:lines:hash``) states, or None when it is not one."""
    match = _ANCHOR.fullmatch(text.strip())
    return Head(match[1], int(match[2]), match[3]) if match else None
