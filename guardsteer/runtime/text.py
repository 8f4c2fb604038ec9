"""From token ids to text, one token at a time, in constant time.

Byte-level and byte-fallback vocabularies are read as bytes through an incremental UTF-8 decoder:
a character is never split, and bytes that are not UTF-8 become U+FFFD at once, so that nothing
which follows them is held back from a classifier. Other vocabularies are decoded over a short
window of tokens. Special tokens carry no text.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from typing import Any, Protocol

__all__ = ["TextReader", "Vocabulary"]

_WINDOW = 8
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_decoder = codecs.getincrementaldecoder("utf-8")


def _byte_of_character() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for (GPT-2's table)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    rest = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    table.update({chr(256 + index): byte for index, byte in enumerate(rest)})
    return table


class _Tokenizer(Protocol):
    @property
    def all_special_ids(self) -> list[int]: ...

    def convert_ids_to_tokens(self, ids: int) -> str | None: ...

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = ...) -> str: ...


class Vocabulary:
    """What each token of a tokenizer says; shared by all rows, filled in as tokens are met."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer: _Tokenizer = tokenizer
        self._special = frozenset(tokenizer.all_special_ids)
        self._bytes: dict[int, bytes] = {}
        # The texts of tokens that are complete UTF-8 by themselves, None for others; empty if windowed.
        self.known: dict[int, str | None] = {}
        self._added = {
            index: str(token)
            for index, token in getattr(tokenizer, "added_tokens_decoder", {}).items()
            if index not in self._special
        }
        self.kind = _kind_of(tokenizer)
        self._table = _byte_of_character() if self.kind == "byte_level" else {}

    @property
    def windowed(self) -> bool:
        """True where tokens have no bytes of their own and text is decoded over a window."""
        return self.kind == "windowed"

    def is_special(self, token: int) -> bool:
        """Tell whether ``token`` carries no text."""
        return token in self._special

    def whole(self, token: int) -> str | None:
        """Return the text of a token that is complete UTF-8 by itself, else None."""
        try:
            return self.known[token]
        except KeyError:
            text: str | None
            try:
                text = self.bytes_of(token).decode()
            except UnicodeDecodeError:
                text = None
            self.known[token] = text
            return text

    def bytes_of(self, token: int) -> bytes:
        """Return the bytes that ``token`` stands for."""
        found = self._bytes.get(token)
        if found is None:
            found = self._bytes[token] = self._read(token)
        return found

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the tokenizer's own decoding of ``tokens``, special tokens left out."""
        return self._tokenizer.decode([t for t in tokens if t not in self._special], skip_special_tokens=True)

    def _read(self, token: int) -> bytes:
        if token in self._special:
            return b""
        if token in self._added:
            return self._added[token].encode()
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:
            return "\ufffd".encode()
        if self.kind == "byte_level":
            try:
                return bytes(self._table[character] for character in piece)
            except KeyError:
                return piece.encode()
        match = _BYTE_TOKEN.fullmatch(piece)
        if match:
            return bytes([int(match[1], 16)])
        return piece.replace("\u2581", " ").encode()


def _kind_of(tokenizer: Any) -> str:
    """Return ``byte_level``, ``pieces`` (sentencepiece) or ``windowed``."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return "windowed"
    state = json.loads(backend.to_str())
    decoder = state.get("decoder") or {}
    steps = {step["type"] for step in decoder.get("decoders", [decoder]) if "type" in step}
    if "ByteLevel" in steps:
        return "byte_level"
    if steps & {"ByteFallback", "Metaspace"}:
        return "pieces"
    return "windowed"


class TextReader:
    """One row's text so far; ``push`` returns the characters that a token completes."""

    __slots__ = ("_decoder", "_known", "_pending", "_recent", "_shown", "_vocabulary")

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._known = vocabulary.known
        self._decoder = _decoder(errors="replace")
        self._pending = False
        self._recent: list[int] = []
        self._shown = ""

    @property
    def known(self) -> dict[int, str | None] | None:
        """What tokens say that are read without a look at what came before; None while one is awaited."""
        return None if self._pending or self._vocabulary.windowed else self._known

    def push(self, token: int) -> str:
        """Append ``token`` and return the new text, which may be empty or end an earlier character."""
        if not self._pending:
            known = self._known.get(token)
            if known is not None:
                return known
        vocabulary = self._vocabulary
        if vocabulary.windowed:
            return self._push_windowed(token)
        if not self._pending:
            text = vocabulary.whole(token)
            if text is not None:
                return text
        text = self._decoder.decode(vocabulary.bytes_of(token))
        self._pending = bool(self._decoder.getstate()[0])
        return text

    def read(self, tokens: Sequence[int]) -> str:
        """Append ``tokens`` and return the new text."""
        return "".join([self.push(token) for token in tokens])

    def fork(self) -> TextReader:
        """Return an independent copy."""
        copy = TextReader.__new__(TextReader)
        copy._vocabulary = self._vocabulary
        copy._known = self._known
        copy._decoder = _decoder(errors="replace")
        copy._decoder.setstate(self._decoder.getstate())
        copy._pending = self._pending
        copy._recent = list(self._recent)
        copy._shown = self._shown
        return copy

    def _push_windowed(self, token: int) -> str:
        """Decode the last tokens with and without ``token``; what is new is its text.

        The overlap gives the tokenizer the context it needs for spaces between tokens. A trailing
        U+FFFD may still become a character, so it waits, but for no more than the window's length.
        """
        if self._vocabulary.is_special(token):
            return ""
        self._recent.append(token)
        text = self._vocabulary.decode(self._recent)
        waiting = text.endswith("\ufffd") and len(self._recent) <= 2 * _WINDOW
        if waiting or len(text) < len(self._shown):
            return ""
        new = text[len(self._shown) :]
        if len(self._recent) > 2 * _WINDOW:
            del self._recent[:-_WINDOW]
            text = self._vocabulary.decode(self._recent)
        self._shown = text
        return new
