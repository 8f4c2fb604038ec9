"""Contrast pairs: the same ticket under two cues, and the same answer with and without a trait."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from guardsteer.demo.corpus import wording
from guardsteer.demo.corpus.grammar import pick
from guardsteer.demo.corpus.tickets import Message, Split, Ticket, draw_ticket, reply_in_style
from guardsteer.demo.corpus.wording import Tone

__all__ = ["ContrastPair", "Trait", "contrast_pairs"]

Trait = Literal["empathy", "sycophancy"]


@dataclass(frozen=True, slots=True)
class ContrastPair:
    """One ticket seen twice; only the trait differs.

    ``plain`` has no cue. ``positive`` and ``negative`` have a system line of the same length and form that
    asks for the trait or for its opposite; ``positive_reply`` and ``negative_reply`` have the same body.
    """

    trait: Trait
    ticket: Ticket
    plain: tuple[Message, ...]
    positive: tuple[Message, ...]
    negative: tuple[Message, ...]
    positive_reply: str
    negative_reply: str


def _under_cue(
    tone: Tone | None, praise: bool | None, question: str, seed: str, split: Split
) -> tuple[Message, ...]:
    rng = random.Random(seed)
    held_out = split == "held_out"
    lines = []
    if tone is not None:
        lines.append(pick((wording.HELD_OUT_TONE_CUES if held_out else wording.TONE_CUES)[tone], rng))
    if praise is not None:
        lines.append(
            pick((wording.HELD_OUT_FLATTERY_CUES if held_out else wording.FLATTERY_CUES)[praise], rng)
        )
    return (Message(role="system", content=" ".join(lines)), Message(role="user", content=question))


def contrast_pairs(trait: Trait, count: int, seed: int, split: Split = "train") -> tuple[ContrastPair, ...]:
    """Return ``count`` pairs for ``trait``, always the same for the same ``seed``; no unsafe tickets.

    Empathy sets warm against cold, with the same instruction on praise. Sycophancy sets praise against none,
    on tickets half of which fish for it, with the same instruction on tone.
    """
    rng = random.Random(f"pairs:{trait}:{split}:{seed}")
    pairs = []
    for i in range(count):
        ticket = draw_ticket(
            rng, split, cued=False, fishing=(i % 2 == 0) if trait == "sycophancy" else None, unsafe=False
        )
        shared_tone = rng.choice(tuple(wording.TONE_CUES))
        shared_praise = rng.random() < 0.25
        mark = f"{trait}:{split}:{seed}:{i}"
        tones: tuple[Tone, Tone] = ("warm", "cold") if trait == "empathy" else (shared_tone, shared_tone)
        praises = (shared_praise, shared_praise) if trait == "empathy" else (True, False)
        cued = [_under_cue(t, p, ticket.question, mark, split) for t, p in zip(tones, praises, strict=True)]
        replies = [
            reply_in_style(ticket.body, t, p, random.Random(mark))
            for t, p in zip(tones, praises, strict=True)
        ]
        plain = (Message(role="user", content=ticket.question),)
        pairs.append(ContrastPair(trait, ticket, plain, cued[0], cued[1], replies[0], replies[1]))
    return tuple(pairs)
