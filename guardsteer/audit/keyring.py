"""Which key signs for which lines of a stream: each segment's key vouches for the next one's."""

from __future__ import annotations

from collections.abc import Sequence

from guardsteer.audit.checkpoint import SignedCheckpoint, parse_checkpoint
from guardsteer.audit.merkle import EMPTY_ROOT
from guardsteer.audit.records import SegmentBegan
from guardsteer.audit.signed_note import decode_base64

__all__ = ["Keyring"]

_KEY_BYTES = 32


class Keyring:
    """The keys of one stream's segments, as its headers name them.

    ``trusted`` are public keys (32 bytes each), one of which must vouch for the first segment's; None
    asks for no such proof. ``vouched_by`` is the trusted key that does.
    """

    def __init__(self, stream: str, trusted: Sequence[bytes] | None) -> None:
        self.vouched_by = b""
        self._stream = stream
        self._trusted = trusted
        # Each segment's first line, counted from 0, and its key; the key is empty where it is unknown.
        self._keys: list[tuple[int, bytes]] = []

    def admit(self, header: SegmentBegan, lines: int, root: bytes | None) -> str:
        """Take up a segment's key; return what is wrong with how it was vouched for, or nothing.

        ``lines`` and ``root`` are the stream's before the segment; a root of None is not compared.
        """
        key = decode_base64(header.key) or b""
        if len(key) != _KEY_BYTES:
            self._keys.append((lines, b""))
            return "it names no key"
        before = self._keys[-1][1] if self._keys else None
        self._keys.append((lines, key))
        seal = parse_checkpoint(header.seal.encode()) if header.seal else None
        if header.seal and seal is None:
            return "its seal is no signed checkpoint"
        if header.number == 1:
            return self._first(seal, key)
        if seal is None:
            return "no seal ends the segment before"
        if before and not seal.signed_by(before):
            return "its key was not vouched for by the key of the segment before"
        return self._wrong(seal, key, lines, root)

    def signed(self, checkpoint: SignedCheckpoint) -> bool:
        """Tell whether the key in use at a checkpoint's last line signed it."""
        key = self._key_at(checkpoint.checkpoint.lines)
        return bool(key) and checkpoint.signed_by(key)

    def _first(self, seal: SignedCheckpoint | None, key: bytes) -> str:
        if seal is not None:
            for trusted in self._trusted or ():
                if seal.signed_by(trusted):
                    self.vouched_by = trusted
                    return self._wrong(seal, key, 0, EMPTY_ROOT)
        if self._trusted is None:
            return self._wrong(seal, key, 0, EMPTY_ROOT) if seal else ""
        return "no trusted key vouches for this stream"

    def _wrong(self, seal: SignedCheckpoint, key: bytes, lines: int, root: bytes | None) -> str:
        said = seal.checkpoint
        if said.stream != self._stream or said.next_key != key:
            return "its seal is for another stream or key"
        if root is not None and (said.lines, said.root) != (lines, root):
            return "the lines before it are not those that were sealed"
        return ""

    def _key_at(self, lines: int) -> bytes:
        found = self._keys[0][1] if self._keys else b""
        for first, key in self._keys:
            if first < lines:
                found = key
        return found
