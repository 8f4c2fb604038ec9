"""What the probe learns to read: labelled prompts to learn from, others to be judged on, texts to trace."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from examples.warm_when_hostile.utterances import own_lines
from guardsteer.demo.corpus.tickets import Ticket, draw_tickets

__all__ = ["Concept", "Said", "billing", "hostile"]

_LEARNED_SEED, _JUDGED_SEED = 5, 7


@dataclass(frozen=True, slots=True)
class Said:
    """A conversation that ends with the user, and whether the concept holds in its last turn."""

    messages: tuple[Mapping[str, Any], ...]
    holds: bool

    @property
    def text(self) -> str:
        """What the user said last."""
        return str(self.messages[-1]["content"])


@dataclass(frozen=True, slots=True)
class Concept:
    """A concept; ``words`` is the classifier of text, with its output, that the probe is held against."""

    name: str
    learn: tuple[Said, ...]
    judge: tuple[Said, ...]
    words: tuple[str, str]
    traced: tuple[str, ...]


def billing(count: int) -> Concept:
    """Return the concept of the demo model: the ticket is about billing; judged in wordings not learned."""
    judge = _of_tickets(draw_tickets(count // 2, _JUDGED_SEED, "held_out"))
    plain = [said for said in judge if len(said.messages) == 1]
    return Concept(
        name="billing",
        learn=_of_tickets(draw_tickets(count, _LEARNED_SEED, "train")),
        judge=judge,
        words=("demo-intent", "billing"),
        traced=tuple(next(said.text for said in plain if said.holds == wanted) for wanted in (True, False)),
    )


def _of_tickets(tickets: tuple[Ticket, ...]) -> tuple[Said, ...]:
    return tuple(
        Said(ticket.messages, ticket.domain == "billing" and not ticket.unsafe) for ticket in tickets
    )


def hostile(count: int) -> Concept:
    """Return the concept of a small chat model: the user is hostile; judged on utterances held out."""
    return Concept(
        name="hostile",
        learn=(*_of_lines("hostile", True, count // 2), *_of_lines("calm", False, count // 2)),
        judge=(*_of_lines("held_out_hostile", True, count), *_of_lines("held_out_calm", False, count)),
        words=("hostility", "score"),
        traced=(
            "I baked a cake for you this morning and you gave it to the dog, you selfish pig.",
            "You idiot dog, I said to him, and then we laughed and went to the park together.",
        ),
    )


def _of_lines(name: str, holds: bool, count: int) -> tuple[Said, ...]:
    lines = own_lines(name)
    random.Random(0).shuffle(lines)
    return tuple(Said(({"role": "user", "content": line},), holds) for line in lines[:count])
