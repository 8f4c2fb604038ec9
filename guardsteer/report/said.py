"""What was said in a request: text or token ids that somebody brings along, and whether the log knows them.

The log holds no text, so a page can show one only where it is supplied. What is supplied is checked against
the keyed digests of the log, as far as the key is at hand.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from guardsteer.audit.keys import KEY_FILE_NAME, KEY_VARIABLE, MIN_KEY_BYTES, key_name, keyed_digest
from guardsteer.audit.text import KeptText, RequestTexts
from guardsteer.errors import AuditError

__all__ = [
    "Check",
    "Passage",
    "Said",
    "Source",
    "find_key",
    "passage_of",
    "read_said",
    "read_tokenizer",
    "said_of_kept",
]

Check: TypeAlias = Literal["matches", "differs", "unchecked"]
Source: TypeAlias = str | tuple[int, ...] | KeptText | None
"""A text or token ids as they were supplied, or as the log's side file keeps them; None: nothing was."""

_EXPECTED = (
    'a text (what was answered), or a JSON object with "output" and, if you like, "prompt": each a text or '
    'a list of token ids; "outputs" with one of these for each row of a request that was expanded'
)


@dataclass(frozen=True, slots=True)
class Said:
    """What a caller supplied: a prompt, and outputs by the row's ``sequence``."""

    prompt: Source = None
    outputs: Mapping[int, Source] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Passage:
    """A text of a row: ``pieces`` are its tokens' texts, None where no tokens are known or they do not fit.

    ``ids`` are the tokens, ``check`` whether the log's keyed digest is theirs, ``note`` what a reader must
    know about it.
    """

    text: str
    pieces: tuple[str, ...] | None
    ids: tuple[int, ...]
    check: Check
    note: str = ""


def read_said(path: Path) -> Said:
    """Read what was said from a file.

    Raises ``AuditError`` where it cannot be read or is a JSON object of another form.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise AuditError(f"{path}: the text cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AuditError(f"{path}: the text is not UTF-8 ({error}); expected {_EXPECTED}") from error
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return Said(outputs={0: text.removesuffix("\n")})
    unknown = sorted(set(value) - {"prompt", "output", "outputs"})
    if unknown or not set(value) & {"prompt", "output", "outputs"}:
        raise AuditError(
            f"{path}: got a JSON object with {', '.join(sorted(value)) or 'nothing'}; expected {_EXPECTED}"
        )
    outputs = value.get("outputs", [value["output"]] if "output" in value else [])
    if not isinstance(outputs, list):
        raise AuditError(f"{path}: outputs: got {type(outputs).__name__}, expected a list")
    return Said(
        _source(path, "prompt", value.get("prompt")),
        {place: _source(path, "output", each) for place, each in enumerate(outputs)},
    )


def said_of_kept(texts: RequestTexts) -> Said:
    """Return what the encrypted side file keeps of a request."""
    return Said(texts.prompt, dict(texts.outputs))


def _source(path: Path, name: str, value: Any) -> Source:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, int) and 0 <= each < 2**32 for each in value):
        return tuple(value)
    raise AuditError(f"{path}: {name}: got {str(value)[:60]}, expected a text or a list of token ids")


def read_tokenizer(folder: Path) -> Any:
    """Return the fast tokenizer of a model's folder; raises ``AuditError`` where there is none."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json" if folder.is_dir() else folder
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception for all that is wrong with a file
        raise AuditError(
            f"{path}: no tokenizer can be read there ({error}); give the model's folder, with tokenizer.json"
        ) from error


def find_key(directory: Path, names: Sequence[str]) -> bytes | None:
    """Return the key of the keyed digests where it is at hand and is one of ``names``; None otherwise.

    Unlike writing a log, reading one never makes a key.
    """
    places = [Path(os.environ[KEY_VARIABLE])] if os.environ.get(KEY_VARIABLE) else []
    for path in (*places, directory / KEY_FILE_NAME):
        try:
            key = path.read_bytes().strip()
        except OSError:
            continue
        if len(key) >= MIN_KEY_BYTES and key_name(key) in names:
            return key
    return None


def passage_of(
    source: Source, tokenizer: Any, *, tokens: int, digest: str, key: bytes | None
) -> Passage | None:
    """Return a passage for what was supplied, of which the log says ``tokens`` and ``digest``; None for none.

    A text is cut into tokens by ``tokenizer``; where that does not come to the number of tokens that the log
    states, it is shown without them.
    """
    if source is None:
        return None
    if isinstance(source, KeptText):
        return _kept(source, digest, key)
    tried = [source] if isinstance(source, tuple) else list(_encodings(source, tokenizer, tokens))
    fits = [ids for ids in tried if len(ids) == tokens]
    ids = next((ids for ids in fits if key and digest == _digest(key, ids)), fits[0] if fits else ())
    if not fits:
        text = source if isinstance(source, str) else _decoded(tokenizer, source)
        counted = len(tried[0]) if tried else 0
        why = "give --tokenizer to have it shaded"
        if tried:
            why = f"it comes to {counted} tokens, the log says {tokens}; it is shown without its tokens"
        check: Check = "differs" if isinstance(source, tuple) else "unchecked"
        return Passage(text, None, (), check, why)
    pieces = tuple(_pieces(tokenizer, ids) if tokenizer is not None else (f"#{token} " for token in ids))
    text = source if isinstance(source, str) else "".join(pieces)
    note = "" if tokenizer is not None else "token ids stand for the text: give --tokenizer to read it"
    return Passage(text, pieces, ids, _check(ids, digest, key), note)


def _kept(kept: KeptText, digest: str, key: bytes | None) -> Passage:
    if kept.problem:
        return Passage("", None, (), "unchecked", f"the kept text cannot be read: {kept.problem}")
    return Passage(kept.text, kept.pieces, kept.tokens, _check(kept.tokens, digest, key))


def _check(ids: Sequence[int], digest: str, key: bytes | None) -> Check:
    if key is None or not digest:
        return "unchecked"
    return "matches" if digest == _digest(key, ids) else "differs"


def _encodings(text: str, tokenizer: Any, tokens: int) -> Iterator[tuple[int, ...]]:
    """Yield the tokens of a text, and the same with each token behind it that ends a text."""
    if tokenizer is None:
        return
    ids = tuple(tokenizer.encode(text, add_special_tokens=False).ids)
    yield ids
    if len(ids) == tokens - 1:
        for token, added in tokenizer.get_added_tokens_decoder().items():
            if added.special:
                yield (*ids, token)


def _pieces(tokenizer: Any, ids: Sequence[int]) -> Iterator[str]:
    """Yield the text of each token; bytes of a character that is not whole come with its last token."""
    start = done = 0
    for place in range(len(ids)):
        whole = _decoded(tokenizer, ids[start : place + 1])
        if whole.endswith("\N{REPLACEMENT CHARACTER}") and place + 1 < len(ids):
            yield ""
            continue
        yield whole[len(_decoded(tokenizer, ids[start:done])) :]
        start, done = done, place + 1


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    if tokenizer is None:
        return " ".join(map(str, ids))
    text: str = tokenizer.decode(list(ids), skip_special_tokens=False)
    return text


def _digest(key: bytes, ids: Sequence[int]) -> str:
    return keyed_digest(key, struct.pack(f"<{len(ids)}I", *ids))


def told_check(check: Check) -> str:
    """Return in words whether a text is the log's."""
    words: Mapping[Check, str] = {
        "matches": "the log's keyed digest is that of this text",
        "differs": "NOT the text of the log: its keyed digest is another",
        "unchecked": "not checked against the log: the key of its digests or the tokens are not at hand",
    }
    return words[check]
