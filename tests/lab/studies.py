"""A trait that a tiny random model can be steered to, and vectors that do it: more of one letter."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from guardsteer.host import fingerprint
from guardsteer.lab.measure.measuring import Bounds, Goal, Parts, Study
from guardsteer.lab.pairs.prompts import Prompt, user_prompt
from guardsteer.steer import Separation, Vector, make_vector
from guardsteer.steer.artifact import ModelBinding, VectorCard
from tests.lab.chats import chat_model, chat_tokenizer

__all__ = ["LETTER", "LOOSE", "lettered", "letters", "parts", "study"]

LETTER = "e"
LOOSE = Bounds(
    gain=0.2, perplexity_ratio=1e9, repetition_rise=1.0, length_low=0.0, length_high=1e9, kl_nats=None
)
"""A random model finds nothing likely, so its perplexity bounds nothing here."""


@cache
def parts() -> tuple[Any, Any]:
    """Return a tiny chat model and its tokenizer."""
    return chat_model(), chat_tokenizer()


def letters(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:  # noqa: ARG001  # the signature of a metric
    """Return the share of ``LETTER`` among each reply's characters."""
    return [reply.count(LETTER) / max(len(reply), 1) for reply in replies]


def study(count: int = 10, **changes: Any) -> Study:
    """Return a study of ``count`` tuning and as many test prompts."""
    made = tuple(user_prompt(f"Tell me about number {place}.") for place in range(2 * count))
    fields = {"goal": Goal("letters", letters), "prompts": Parts(made[:count], made[count:])}
    return Study(**{**fields, **changes})


def lettered(signs: dict[int, float], separation: dict[int, float] | None = None) -> Vector:
    """Return the vector that points, at each block of ``signs``, to the letter's output row or away from it.

    ``separation``: what the card says of each block, whatever the direction does.
    """
    model, tokenizer = parts()
    row = model.get_output_embeddings().weight[tokenizer.convert_tokens_to_ids(LETTER)].detach().numpy()
    unit = row / np.linalg.norm(row)
    found = fingerprint(model, tokenizer)
    card = VectorCard(
        name="letters",
        version="1",
        trait="There is much of the letter.",
        description="",
        licence="Apache-2.0",
        method="mean_difference",
        read="assistant_mean",
        data_digest="b3:" + "0" * 64,
        pairs=8,
        blocks=tuple(signs),
        model=ModelBinding(**{part: getattr(found, part) for part in ModelBinding.model_fields}),
        separation=tuple(
            Separation(block=block, cohens_d=d, split_half_cosine=1.0, measured_on="tuning")
            for block, d in (separation or {}).items()
        ),
        libraries={},
    )
    directions = np.stack([sign * unit for sign in signs.values()])
    return make_vector(card, directions=directions, residual_norms=np.full(len(signs), 5.0))
