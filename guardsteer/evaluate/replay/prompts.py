"""The text of a request, brought by the caller and held against the digest in its record."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from guardsteer.core.events import RequestEnded, RequestStarted
from guardsteer.errors import ReplayError, TurnsError
from guardsteer.host import render_chat

__all__ = ["Given", "Prompt", "find_output", "find_prompts"]

Given: TypeAlias = "str | Sequence[int] | Sequence[Mapping[str, Any]]"
"""A prompt as a text, as token ids, or as the messages of a chat."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The tokens of a prompt and its turns (role, first, end); None where they are not known."""

    tokens: tuple[int, ...]
    turns: tuple[tuple[str, int, int], ...] | None = None


def _pack(tokens: Sequence[int]) -> bytes:
    """Return the bytes that the audit takes the digest of: four for each token, little-endian."""
    return struct.pack(f"<{len(tokens)}I", *tokens)


def find_prompts(
    call: Sequence[RequestStarted],
    given: Iterable[Given],
    tokenizer: Any,
    digest: Callable[[bytes], str],
) -> dict[str, Prompt]:
    """Return by request id the prompts of a call's rows that are among those ``given``.

    A prompt is one of a row when its digest is the one in the row's record; ids play no part. A text is
    tried as the model's tokenizer reads it, with and without its special tokens, and as the only message of
    a chat.
    """
    found: dict[str, Prompt] = {}
    by_digest: dict[str, Prompt] = {}
    for one in given:
        for prompt in _readings(one, tokenizer):
            by_digest.setdefault(digest(_pack(prompt.tokens)), prompt)
    for started in call:
        known = by_digest.get(started.prompt_digest)
        if known is not None:
            found[started.request] = Prompt(known.tokens, started.turns or known.turns)
    return found


def find_output(
    ended: RequestEnded, given: str | Sequence[int], tokenizer: Any, digest: Callable[[bytes], str]
) -> tuple[int, ...] | None:
    """Return the tokens of a row's output, given as a text or token ids; None if it is not the recorded one.

    A text is tried as the tokenizer reads it, without and with the token that ends a text.
    """
    if isinstance(given, str):
        tokens = tuple(tokenizer(given, add_special_tokens=False)["input_ids"])
        end = tokenizer.eos_token_id
        tried = [tokens] if end is None else [tokens, (*tokens, end)]
    else:
        tried = [tuple(map(_token, given))]
    return next((tokens for tokens in tried if digest(_pack(tokens)) == ended.output_digest), None)


def _readings(given: Given, tokenizer: Any) -> Iterator[Prompt]:
    if isinstance(given, str):
        yield Prompt(tuple(tokenizer(given)["input_ids"]))
        yield Prompt(tuple(tokenizer(given, add_special_tokens=False)["input_ids"]))
        if getattr(tokenizer, "chat_template", None):
            yield _chat([{"role": "user", "content": given}], tokenizer)
    elif given and all(isinstance(item, int) for item in given):
        yield Prompt(tuple(_token(item) for item in given))
    elif given and all(isinstance(item, Mapping) for item in given):
        yield _chat([dict(item) for item in given if isinstance(item, Mapping)], tokenizer)
    else:
        raise ReplayError(
            "a prompt is a text, a list of token ids or a list of messages; got "
            f"{type(given).__name__} {given!r:.60}"
        )


def _token(item: Any) -> int:
    if not 0 <= item < 2**32:
        raise ReplayError(f"token id {item}: expected 0 to 4294967295")
    return int(item)


def _chat(messages: list[dict[str, Any]], tokenizer: Any) -> Prompt:
    try:
        chat = render_chat(tokenizer, messages)
    except TurnsError as error:
        raise ReplayError(f"the messages cannot be made a prompt of this model's: {error}") from error
    return Prompt(tuple(chat.input_ids), tuple((turn.role, turn.first, turn.end) for turn in chat.turns))
