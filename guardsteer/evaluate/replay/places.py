"""The batch that a row is generated in again: its whole call, or its own row among stand-ins, or alone.

A row's tokens are a function of its own text and terms. But how kernels round depends on the shape of
what they compute, and what is drawn for a row on its place in the batch. So a row of a call whose other
prompts are not at hand is put in its old place, among rows of the lengths that there were, made of its own
tokens: shapes, masks and draws are then those of the call.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from guardsteer.core.events import RequestStarted
from guardsteer.evaluate.replay.prompts import Prompt

__all__ = ["Batch", "Company", "lay_out"]

Company: TypeAlias = Literal["single", "whole", "stand-ins", "alone"]
"""``single``: the call had one row. ``whole``: all prompts of the call. ``stand-ins``: the row's own prompt
in the place of those that were not at hand. ``alone``: without the other rows of its call."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What ``generate`` is given: ``ids`` and ``mask`` are ``[row, column]``, ``guard`` one mapping a row.

    ``place`` is the row that is asked about.
    """

    ids: Tensor
    mask: Tensor
    guard: tuple[dict[str, Any], ...]
    place: int
    company: Company

    def without_strengths(self, vectors: Container[str]) -> Batch:
        """Return the batch with no wish for the strength of these vectors."""
        guard = [dict(entry) for entry in self.guard]
        for entry in guard:
            wishes = {
                vector: wish for vector, wish in entry.pop("strengths", {}).items() if vector not in vectors
            }
            if wishes:
                entry["strengths"] = wishes
        return replace(self, guard=tuple(guard))

    @property
    def width(self) -> int:
        """Columns of the padded prompts."""
        return int(self.ids.shape[1])


def lay_out(
    call: Sequence[RequestStarted],
    request: str,
    prompts: Mapping[str, Prompt],
    *,
    keys: Container[str],
    pad: int,
    device: Any,
    alone: bool = False,
) -> Batch:
    """Return the batch for ``request``, whose prompt is among ``prompts``; as in its call unless ``alone``.

    ``keys`` are those of the requests' context that count.
    """
    own = prompts[request]
    mine = next(each for each in call if each.request == request)
    rows = [mine] if alone else list(call)
    company: Company = "whole" if all(each.request in prompts for each in rows) else "stand-ins"
    if len(call) == 1:
        company = "single"
    elif alone:
        company = "alone"
    texts = [prompts.get(each.request) or _stand_in(own, each) for each in rows]
    width = max(mine.width, *(len(text.tokens) for text in texts))
    return Batch(
        ids=torch.tensor([[pad] * (width - len(t.tokens)) + list(t.tokens) for t in texts], device=device),
        mask=torch.tensor(
            [[0] * (width - len(t.tokens)) + [1] * len(t.tokens) for t in texts], device=device
        ),
        guard=tuple(_entry(each, text, keys) for each, text in zip(rows, texts, strict=True)),
        place=rows.index(mine),
        company=company,
    )


def _stand_in(own: Prompt, row: RequestStarted) -> Prompt:
    """Return a prompt of the row's length, made of ``own``."""
    length = row.prompt_tokens
    times = -(-length // len(own.tokens))
    return Prompt((own.tokens * times)[:length], (("user", 0, length),))


def _entry(row: RequestStarted, text: Prompt, keys: Container[str]) -> dict[str, Any]:
    """Return what the caller gave of a row beside its tokens, as far as it is recorded."""
    entry: dict[str, Any] = {key: value for key, value in row.context.items() if key in keys}
    entry["request"] = row.request
    if text.turns is not None:
        entry["turns"] = text.turns
    if row.overrides:
        entry["strengths"] = {vector: asked for vector, (asked, _) in row.overrides.items()}
    return entry
