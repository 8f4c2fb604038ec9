"""Checkpoints: how long a stream is and the root of its tree, signed.

The text is C2SP's ``tlog-checkpoint`` (https://c2sp.org/tlog-checkpoint): origin, number of lines, root.
A *seal*, which ends a segment, names in a fourth line the key that signs from there on.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardsteer.audit.chain import STREAM_PATTERN
from guardsteer.audit.signed_note import SignedNote, decode_base64, parse_note, sign_note

__all__ = ["Checkpoint", "SignedCheckpoint", "origin", "parse_checkpoint", "parse_checkpoints"]

_ORIGIN = "guardsteer-audit/"
_NEXT_KEY = "next-key "
_KEY_BYTES = 32
_TEXT = re.compile(
    rf"{_ORIGIN}({STREAM_PATTERN})\n(0|[1-9][0-9]{{0,18}})\n([A-Za-z0-9+/]{{43}}=)\n"
    rf"(?:{_NEXT_KEY}([A-Za-z0-9+/]{{43}}=)\n)?"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The first ``lines`` lines of ``stream`` have this ``root``; a seal names the ``next_key`` too.

    ``root`` and ``next_key`` are 32 bytes; an empty ``next_key`` is none.
    """

    stream: str
    lines: int
    root: bytes
    next_key: bytes = b""

    def text(self) -> str:
        """Return the text that is signed."""
        after = f"{_NEXT_KEY}{b64encode(self.next_key).decode()}\n" if self.next_key else ""
        return f"{origin(self.stream)}\n{self.lines}\n{b64encode(self.root).decode()}\n{after}"

    def signed(self, key: Ed25519PrivateKey) -> bytes:
        """Return the checkpoint as a note, signed by ``key`` under the stream's origin."""
        return sign_note(self.text(), origin(self.stream), key)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint and the note that it was read from."""

    checkpoint: Checkpoint
    note: SignedNote

    def signed_by(self, public: bytes) -> bool:
        """Tell whether this key (32 bytes) signed it under the stream's origin."""
        return self.note.signed_by(origin(self.checkpoint.stream), public)


def origin(stream: str) -> str:
    """Return the name that a stream's checkpoints are signed under."""
    return _ORIGIN + stream


def parse_checkpoint(data: bytes) -> SignedCheckpoint | None:
    """Return the checkpoint that a note holds, or None; whether a signature holds is not asked here.

    Further signatures, those of witnesses for example, may follow the first.
    """
    note = parse_note(data)
    match = _TEXT.fullmatch(note.text) if note else None
    if note is None or match is None:
        return None
    root = decode_base64(match[3])
    next_key = decode_base64(match[4]) if match[4] else b""
    if root is None or next_key is None or any(len(part) not in (0, _KEY_BYTES) for part in (root, next_key)):
        return None
    return SignedCheckpoint(Checkpoint(match[1], int(match[2]), root, next_key), note)


def parse_checkpoints(data: bytes) -> tuple[SignedCheckpoint, ...] | None:
    """Return the checkpoints of a file that holds one after the other, or None where that is not so."""
    starts = [match.start() for match in re.finditer(rb"^" + _ORIGIN.encode(), data, re.MULTILINE)]
    if not starts or starts[0]:
        return None
    parts = (
        data[start:end].rstrip() + b"\n" for start, end in zip(starts, [*starts[1:], len(data)], strict=True)
    )
    found = [parse_checkpoint(part) for part in parts]
    return tuple(part for part in found if part) if all(found) else None
