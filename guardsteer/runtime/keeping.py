"""The text of requests, for those who may read it later: handed to a store once at each end of a row."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from guardsteer.audit.text import Kept, TextStore
from guardsteer.runtime.provenance import Call
from guardsteer.runtime.requests import Request
from guardsteer.runtime.text import TextReader, Vocabulary

__all__ = ["Keeper", "subject_of"]


class Keeper:
    """Hands the prompts and outputs of a guard's requests to a store of texts."""

    def __init__(self, store: TextStore, tokenizer: Any) -> None:
        self.store = store
        # A copy: the store's thread must not meet the caller's own use of the tokenizer.
        self._tokenizer = copy.deepcopy(tokenizer)
        self._vocabulary = Vocabulary(self._tokenizer)

    def name(self, call: Call, row: int) -> str:
        """Return the name under which the texts of a row of a call are kept."""
        return f"{call.id}-{row}"

    def keep(self, name: str, request: Request, part: str, sequence: int, tokens: Sequence[int]) -> None:
        """Hand over the tokens of ``part``, "prompt" or "output"."""
        self.store.keep(
            Kept(
                subject=subject_of(request),
                text=name,
                part=part,
                request=request.id,
                sequence=sequence,
                tokens=tuple(tokens),
                split=self.split,
            )
        )

    def split(self, tokens: Sequence[int]) -> list[str]:
        """Return the text that each token adds; a special one its own name."""
        reader, vocabulary = TextReader(self._vocabulary), self._vocabulary
        return [
            str(self._tokenizer.convert_ids_to_tokens(token))
            if vocabulary.is_special(token)
            else reader.push(token)
            for token in tokens
        ]


def subject_of(request: Request) -> str:
    """Return whose text a request's is: its subject, else its principal, else its tenant, else itself."""
    return request.subject or request.principal or str(request.context.get("tenant") or "") or request.id
