"""Metrics of replies that need a model: how likely the bare model finds what was written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from guardsteer.errors import AssetError
from guardsteer.evaluate import reply_losses
from guardsteer.host import render_chat
from guardsteer.lab.metrics.text import Metric
from guardsteer.lab.pairs.prompts import Prompt

__all__ = ["OfModel", "bound", "nats_a_token", "perplexity"]

_MOST_NATS = 20.0


@dataclass(frozen=True, slots=True)
class OfModel:
    """A metric that needs the bare model: ``make(model, tokenizer)``, which a study calls before use."""

    name: str
    make: Callable[[Any, Any], Metric]

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Sequence[float]:  # noqa: ARG002  # the signature of a metric
        """Raise ``AssetError``: it has no model yet."""
        raise AssetError(
            f"metric {self.name!r} needs a model: bind it with guardsteer.lab.metrics.model.bound"
        )


def bound(metric: Metric, model: Any, tokenizer: Any) -> Metric:
    """Return ``metric``, with the model where it needs one."""
    return metric.make(model, tokenizer) if isinstance(metric, OfModel) else metric


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


def perplexity(model: Any, tokenizer: Any) -> Metric:
    """Return the metric that is a reply's perplexity under the bare model, at least 1 and at most e**20."""
    nats = nats_a_token(model, tokenizer)

    def score(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:
        return [math.exp(min(value, _MOST_NATS)) for value in nats(prompts, replies)]

    return score
