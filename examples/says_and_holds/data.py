"""What the example is made from and tried on: answers whose words and whose instructions vary independently.

An assistant is told by its system line to care, or to be cold, or nothing; and its answer is kind, cold or
neither. Five of these nine agree. In the other four the words say one thing and the instruction another: kind
words where nothing asked for care, and no kind word where care was asked for.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from guardsteer.demo.corpus.pairs import contrast_pairs
from guardsteer.demo.corpus.tickets import Message, Split, reply_in_style

__all__ = ["SEEDS", "Answer", "Part", "answers"]

Part = Literal["build", "tuning", "test"]

SEEDS: dict[Part, tuple[int, Split]] = {
    "build": (50_411, "train"),
    "tuning": (50_412, "train"),
    "test": (50_413, "held_out"),
}
"""Seed and wordings of each part; the test's tickets and system lines are worded as no other part is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A conversation and an answer. ``told``: to care, to be cold, or nothing; ``says``: the words' tone."""

    ticket: str
    told: Literal["care", "cold", "nothing"]
    says: Literal["warm", "cold", "neutral"]
    messages: tuple[Message, ...]
    reply: str

    @property
    def disagrees(self) -> Literal["", "said-not-held", "held-not-said"]:
        """Which rule should fire."""
        if (self.says == "warm") == (self.told == "care"):
            return ""
        return "said-not-held" if self.says == "warm" else "held-not-said"


def answers(part: Part, tickets: int) -> Iterator[Answer]:
    """Yield the nine answers to each of ``tickets`` tickets."""
    seed, split = SEEDS[part]
    for number, pair in enumerate(contrast_pairs("empathy", tickets, seed, split)):
        name = f"{part}-{number}"
        plain = reply_in_style(pair.ticket.body, "neutral", False, random.Random(f"{name}:neutral"))
        for told, messages in (("care", pair.positive), ("cold", pair.negative), ("nothing", pair.plain)):
            for says, reply in (
                ("warm", pair.positive_reply),
                ("cold", pair.negative_reply),
                ("neutral", plain),
            ):
                yield Answer(name, told, says, messages, reply)  # type: ignore[arg-type]  # literals of the loops
