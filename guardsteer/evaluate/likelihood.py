"""How likely a model finds a reply: the price of steering, judged by the model without it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["ReplyLoss", "batch_losses", "perplexity", "reply_losses"]

_BATCH = 32


@dataclass(frozen=True, slots=True)
class ReplyLoss:
    """A reply's negative log likelihood in nats, summed over its ``tokens`` tokens."""

    nats: float
    tokens: int


def perplexity(losses: Iterable[ReplyLoss]) -> float:
    """Return the perplexity over all tokens together; NaN where there is none."""
    listed = list(losses)
    tokens = sum(loss.tokens for loss in listed)
    return math.exp(sum(loss.nats for loss in listed) / tokens) if tokens else math.nan


@torch.no_grad()
def reply_losses(
    model: Any,
    prompts: Sequence[Sequence[int]],
    replies: Sequence[Sequence[int]],
    *,
    batch_size: int = _BATCH,
) -> list[ReplyLoss]:
    """Return the loss of each reply after its prompt, under ``model`` as it is called.

    ``prompts`` and ``replies`` hold token ids without padding; a reply counts with its end token where it
    has one, and an empty reply has no tokens. Outside ``generate`` a guard does nothing, so that a
    guarded model judges as the bare one. Raises ``ValueError`` for an empty prompt.
    """
    if any(not prompt for prompt in prompts):
        raise ValueError("got an empty prompt, expected at least one token before each reply")
    rows = [(list(p), list(r)) for p, r in zip(prompts, replies, strict=True)]
    order = sorted(range(len(rows)), key=lambda row: sum(map(len, rows[row])))
    losses: dict[int, ReplyLoss] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        losses.update(zip(chosen, batch_losses(model, [rows[row] for row in chosen]), strict=True))
    return [losses[row] for row in range(len(rows))]


@torch.no_grad()
def batch_losses(model: Any, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[ReplyLoss]:
    """Return the loss of each reply after its prompt, all in one pass: row ``i`` of the batch is ``rows[i]``.

    Position ``p`` of a row's prompt and reply is position ``p`` of the pass, padding being on the right.
    """
    # Padded on the right, where no token of a causal model sees it; id 0 stands for nothing.
    longest = max(len(prompt) + len(reply) for prompt, reply in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long, device=model.device)
    mask = torch.zeros_like(ids)
    for row, (prompt, reply) in enumerate(rows):
        length = len(prompt) + len(reply)
        ids[row, :length] = torch.tensor([*prompt, *reply], device=ids.device)
        mask[row, :length] = 1
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    counts = [len(reply) for _, reply in rows]
    places = [len(prompt) + place for prompt, reply in rows for place in range(len(reply))]
    owners = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(counts)).to(ids.device)
    told = torch.tensor(places, dtype=torch.long, device=ids.device)
    # Only where a reply is: over a large vocabulary the rest would take most of the time.
    chosen = logits[owners, told - 1].float().log_softmax(-1)
    taken = chosen.gather(1, ids[owners, told][:, None]).squeeze(1).double().split(counts)
    return [ReplyLoss(-float(part.sum()), count) for part, count in zip(taken, counts, strict=True)]
