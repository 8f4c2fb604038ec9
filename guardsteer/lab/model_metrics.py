"""Metrics of replies that need a model: how likely the bare model finds what was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guardsteer.evaluate import reply_losses
from guardsteer.host import render_chat
from guardsteer.lab.metrics import Metric
from guardsteer.lab.prompts import Prompt

__all__ = ["nats_a_token"]


def nats_a_token(model: Any, tokenizer: Any, *, batch_size: int = 32) -> Metric:
    """Return the metric that is a reply's mean negative log likelihood under the bare model, in nats a token.

    The perplexity of a reply is its exponential. The reply's text is tokenized anew, so that what another
    model wrote can be judged too; an empty reply has 0.0.
    """

    def score(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:
        asked = [
            render_chat(tokenizer, [dict(turn) for turn in prompt.messages]).input_ids for prompt in prompts
        ]
        said = [list(tokenizer(reply, add_special_tokens=False)["input_ids"]) for reply in replies]
        losses = reply_losses(model, asked, said, batch_size=batch_size)
        return [loss.nats / loss.tokens if loss.tokens else 0.0 for loss in losses]

    return score
