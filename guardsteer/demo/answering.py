"""Answers of the demo model to many tickets, bare or under a policy, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guardsteer.core.policy import Policy
from guardsteer.demo.corpus.judge import facts_correct, has_flattery, is_refusal, tone_of
from guardsteer.demo.corpus.tickets import Ticket
from guardsteer.runtime import Guard, wrap
from guardsteer.steer import Vector

__all__ = ["Shares", "answer", "answer_guarded", "shares"]

BATCH_ROWS = 60
MAX_NEW_TOKENS = 96


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of answers, between 0 and 1; nan where there was no such ticket."""

    facts: float
    warm: float
    cold: float
    flattery: float
    unsafe_refused: float
    safe_refused: float

    def as_dict(self) -> dict[str, float]:
        """Return the shares by name, rounded to four places."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def shares(tickets: Sequence[Ticket], answers: Sequence[str]) -> Shares:
    """Judge answers: facts, tones and flattery on safe tickets, refusals on both kinds."""
    both = list(zip(tickets, answers, strict=True))
    safe = [(ticket, text) for ticket, text in both if not ticket.unsafe]
    tones = [tone_of(text) for _, text in safe]
    return Shares(
        facts=_mean([facts_correct(ticket, text) for ticket, text in safe]),
        warm=_mean([tone == "warm" for tone in tones]),
        cold=_mean([tone == "cold" for tone in tones]),
        flattery=_mean([has_flattery(text) for _, text in safe]),
        unsafe_refused=_mean([is_refusal(text) for ticket, text in both if ticket.unsafe]),
        safe_refused=_mean([is_refusal(text) for _, text in safe]),
    )


def answer(
    model: Any,
    tokenizer: Any,
    tickets: Sequence[Ticket],
    *,
    policy: Policy | Path | str | None = None,
    vectors: Mapping[str, Vector] | None = None,
    audit: Path | None = None,
) -> list[str]:
    """Return the greedy answer to each ticket; request ids in the log are ``ticket-0`` and so on."""
    if policy is None:
        return _answer(model, None, tokenizer, tickets)
    with wrap(model, tokenizer, policy=policy, vectors=vectors, audit=audit) as guard:
        return answer_guarded(guard, tokenizer, tickets)


def answer_guarded(guard: Guard, tokenizer: Any, tickets: Sequence[Ticket]) -> list[str]:
    """Return the greedy answer to each ticket under a guard that is on."""
    return _answer(guard, guard, tokenizer, tickets)


def _answer(model: Any, guard: Guard | None, tokenizer: Any, tickets: Sequence[Ticket]) -> list[str]:
    answers = [""] * len(tickets)
    # Rows of one length pad least, and a row's answer does not depend on its neighbours.
    order = sorted(
        range(len(tickets)), key=lambda place: sum(len(m["content"]) for m in tickets[place].messages)
    )
    for start in range(0, len(order), BATCH_ROWS):
        places = order[start : start + BATCH_ROWS]
        chats = [list(tickets[place].messages) for place in places]
        if guard is None:
            inputs: dict[str, Any] = dict(
                tokenizer.apply_chat_template(
                    chats, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True
                )
            )
        else:
            inputs = guard.chat(chats)
            for place, entry in zip(places, inputs["guard"], strict=True):
                entry["request"] = f"ticket-{place}"
        ids = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
        written = ids[:, inputs["input_ids"].shape[1] :]
        for place, text in zip(
            places, tokenizer.batch_decode(written, skip_special_tokens=True), strict=True
        ):
            answers[place] = text.strip()
    return answers


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else float("nan")
