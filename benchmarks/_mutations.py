"""Ways to damage a file or a JSON tree, for fuzzers."""

from __future__ import annotations

import random
from typing import Any

__all__ = ["HOSTILE", "SNIPPETS", "changed_tree", "mutated"]

HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**63, 10**400, 1e308, -0.0, 5e-324, "", " ", "\x00", "\ud800", "../../etc/passwd",
    "NaN", "b3:" + "0" * 64, [], {}, [[]], [1, 3], ["generated"], {"a": {}}, "x" * 5000, [0] * 300,
    "!!python/object:os.system",
)  # fmt: skip
SNIPPETS = (
    b"NaN", b"Infinity", b"1e999", b"{", b"}", b"[" * 3000, b'"', b"\\", b"\xff", b"\x00", b"\xef\xbb\xbf",
    b"\n", b"&a ", b"*a", b"!!python/object/apply:os.system ", b"---\n", b"? ", b"\t", b"\xed\xa0\x80",
    b"9" * 5000, b"null", b": ",
)  # fmt: skip


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Return ``data`` with one to four changes: bits, cuts, insertions, moved pieces."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(changed) + 1)
        end = min(len(changed), place + rng.choice([1, 1, 2, 8, 40]))
        what = rng.randrange(6)
        if what == 0 and place < len(changed):
            changed[place] ^= 1 << rng.randrange(8)
        elif what == 1:
            del changed[place:end]
        elif what == 2:
            changed[place:place] = rng.choice(SNIPPETS)
        elif what == 3:
            changed[place:end] = rng.randbytes(end - place)
        elif what == 4:
            other = rng.randrange(len(changed) + 1)
            changed[other:other] = changed[place:end]
        elif rng.random() < 0.2:
            del changed[place:]
    return bytes(changed)


def changed_tree(rng: random.Random, value: Any) -> Any:
    """Return a JSON tree with one node replaced, removed, added or doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(sorted(value))
        what = rng.randrange(6)
        if what == 0:
            return {k: v for k, v in value.items() if k != key}
        if what == 1:
            return {**value, rng.choice(["extra", key + "s", ""]): rng.choice(HOSTILE)}
        return {**value, key: changed_tree(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        what = rng.randrange(4)
        if what == 0:
            return value[:place] + value[place + 1 :]
        if what == 1:
            return [*value, value[place]]
        return [*value[:place], changed_tree(rng, value[place]), *value[place + 1 :]]
    return rng.choice(HOSTILE)
