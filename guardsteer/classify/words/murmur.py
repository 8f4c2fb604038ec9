"""MurmurHash3 (32 bits, seed 0), fed piece by piece.

scikit-learn's ``HashingVectorizer`` hashes n-grams with it (Austin Appleby, 2011, public domain).
Fed piece by piece, so that a word without end costs its length once and not once for every token.
"""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["NOTHING", "Midstate", "feed", "finish", "murmur"]

Midstate: TypeAlias = tuple[int, bytes, int]
"""Hash of the whole blocks, the bytes that do not fill a block yet, the number of bytes read."""

NOTHING: Midstate = (0, b"", 0)

_MASK = 0xFFFFFFFF


def feed(state: Midstate, data: bytes) -> Midstate:
    """Return the state after ``data``."""
    hashed, rest, length = state
    rest += data
    whole = len(rest) & ~3
    for start in range(0, whole, 4):
        hashed ^= _scramble(int.from_bytes(rest[start : start + 4], "little"))
        hashed = (hashed << 13 | hashed >> 19) & _MASK
        hashed = (hashed * 5 + 0xE6546B64) & _MASK
    return hashed, rest[whole:], length + len(data)


def finish(state: Midstate) -> int:
    """Return the hash of what was read, as a signed number of 32 bits."""
    hashed, rest, length = state
    if rest:
        hashed ^= _scramble(int.from_bytes(rest, "little"))
    hashed ^= length & _MASK
    hashed = (hashed ^ hashed >> 16) * 0x85EBCA6B & _MASK
    hashed = (hashed ^ hashed >> 13) * 0xC2B2AE35 & _MASK
    hashed ^= hashed >> 16
    return hashed - 0x100000000 if hashed & 0x80000000 else hashed


def murmur(data: bytes) -> int:
    """Return the hash of ``data``, as a signed number of 32 bits."""
    return finish(feed(NOTHING, data))


def _scramble(block: int) -> int:
    block = block * 0xCC9E2D51 & _MASK
    block = (block << 15 | block >> 17) & _MASK
    return block * 0x1B873593 & _MASK
