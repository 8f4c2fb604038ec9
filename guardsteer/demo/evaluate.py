"""Measure the demo model on held-out tickets: ``python -m guardsteer.demo.evaluate --model DIR``.

Replies are greedy and batched. The figures go to ``evaluation.json`` and, as the model's card, to
``README.md`` in the model's folder.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from guardsteer.demo import load_model
from guardsteer.demo.card import render_card
from guardsteer.demo.corpus.judge import ToneFound, facts_correct, has_flattery, is_refusal, tone_of
from guardsteer.demo.corpus.tickets import Message, Ticket, draw_ticket
from guardsteer.demo.tokenizer import render_prompt
from guardsteer.evaluate import intervals

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["Evaluation", "Share", "evaluate", "held_out_tickets", "main", "reply_to", "wilson"]

TONES: tuple[ToneFound, ...] = ("cold", "neutral", "warm", "mixed")


@dataclass(frozen=True, slots=True)
class Share:
    """A counted share with its 95 % Wilson interval, all three between 0 and 1."""

    hits: int
    count: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of one evaluation; ``tone`` and ``flattery`` are keyed by the group of tickets."""

    seed: int
    tickets: int
    facts: Share
    facts_by_domain: dict[str, Share]
    unsafe_refused: Share
    safe_refused: Share
    lookalikes_refused: Share
    perplexity: float
    tone: dict[str, dict[str, Share]]
    tone_as_cued: Share
    flattery: dict[str, Share]
    ended: Share


def wilson(hits: int, count: int) -> Share:
    """Return the share with its 95 % interval (Wilson 1927), which is 0 to 1 if nothing was counted."""
    if count == 0:
        return Share(0, 0, math.nan, 0.0, 1.0)
    found = intervals.wilson(hits, count)
    return Share(hits, count, found.value, found.low, found.high)


def held_out_tickets(count: int, seed: int) -> tuple[Ticket, ...]:
    """Return ``count`` different held-out tickets: a quarter unsafe, half without a cue, a third fishing."""
    rng = random.Random(f"evaluate:{seed}")
    tickets: dict[tuple[str, ...], Ticket] = {}
    while len(tickets) < count:
        i = len(tickets)
        ticket = draw_ticket(rng, "held_out", cued=i % 2 == 0, fishing=i % 3 == 0, unsafe=(i // 2) % 4 == 0)
        tickets.setdefault(tuple(message["content"] for message in ticket.messages), ticket)
    return tuple(tickets.values())


def reply_to(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    dialogues: Sequence[Sequence[Message]],
    *,
    batch_rows: int = 50,
    max_new_tokens: int = 96,
) -> list[tuple[str, bool]]:
    """Return for each dialogue the greedy reply, and whether it came to its end within ``max_new_tokens``."""
    prompts = [render_prompt(tokenizer, dialogue) for dialogue in dialogues]
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    replies: list[tuple[str, bool]] = [("", False)] * len(prompts)
    for start in range(0, len(by_length), batch_rows):
        chosen = by_length[start : start + batch_rows]
        inputs = tokenizer(
            [prompts[i] for i in chosen], return_tensors="pt", padding=True, add_special_tokens=False
        )
        tokens = model.generate(  # type: ignore[operator]  # transformers types generate as a tensor
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=max_new_tokens,
            do_sample=False,
        )
        new = tokens[:, inputs["input_ids"].shape[1] :]
        texts = tokenizer.batch_decode(new, skip_special_tokens=True)
        for i, text, row in zip(chosen, texts, new, strict=True):
            replies[i] = (text.strip(), bool((row == tokenizer.eos_token_id).any()))
    return replies


@torch.no_grad()
def perplexity(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tickets: Sequence[Ticket]
) -> float:
    """Return the perplexity, per token, of the reference replies after their dialogues."""
    nats, tokens = 0.0, 0
    for ticket in tickets:
        head = tokenizer(render_prompt(tokenizer, ticket.messages), add_special_tokens=False)["input_ids"]
        reply = [*tokenizer(ticket.reply, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        logits = model(input_ids=torch.tensor([[*head, *reply]])).logits[0, len(head) - 1 : -1]
        nats += float(torch.nn.functional.cross_entropy(logits, torch.tensor(reply), reduction="sum"))
        tokens += len(reply)
    return math.exp(nats / tokens)


def _share(pairs: Iterable[tuple[Ticket, str]], test: Callable[[Ticket, str], bool]) -> Share:
    results = [test(ticket, reply) for ticket, reply in pairs]
    return wilson(sum(results), len(results))


def _tones(pairs: Sequence[tuple[Ticket, str]]) -> dict[str, Share]:
    found = Counter(tone_of(reply) for _, reply in pairs)
    return {tone: wilson(found[tone], len(pairs)) for tone in TONES}


def evaluate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tickets: Sequence[Ticket], seed: int
) -> tuple[Evaluation, list[str]]:
    """Return the figures over ``tickets`` and the replies; ``seed`` is only recorded."""
    answered = reply_to(model, tokenizer, [ticket.messages for ticket in tickets])
    replies = [text for text, _ in answered]
    everything = list(zip(tickets, replies, strict=True))
    safe = [pair for pair in everything if not pair[0].unsafe]
    unsafe = [pair for pair in everything if pair[0].unsafe]
    cued = [pair for pair in safe if pair[0].cued]
    uncued = [pair for pair in safe if not pair[0].cued]
    groups = {f"cued {tone}": [pair for pair in cued if pair[0].tone == tone] for tone in TONES[:3]}

    def refused(_: Ticket, reply: str) -> bool:
        return is_refusal(reply)

    def flatters(_: Ticket, reply: str) -> bool:
        return has_flattery(reply)

    figures = Evaluation(
        seed=seed,
        tickets=len(tickets),
        facts=_share(safe, facts_correct),
        facts_by_domain={
            domain: _share([pair for pair in safe if pair[0].domain == domain], facts_correct)
            for domain in sorted({ticket.domain for ticket, _ in safe})
        },
        unsafe_refused=_share(unsafe, refused),
        safe_refused=_share(safe, refused),
        lookalikes_refused=_share([pair for pair in safe if pair[0].lookalike], refused),
        perplexity=perplexity(model, tokenizer, tickets),
        tone={name: _tones(pairs) for name, pairs in {"no cue": uncued, **groups}.items()},
        tone_as_cued=_share(cued, lambda ticket, reply: tone_of(reply) == ticket.tone),
        flattery={
            "no cue, fishing": _share([pair for pair in uncued if pair[0].fishing], flatters),
            "no cue, not fishing": _share([pair for pair in uncued if not pair[0].fishing], flatters),
            "praise asked for": _share([pair for pair in cued if pair[0].flattery], flatters),
            "no praise asked for": _share([pair for pair in cued if not pair[0].flattery], flatters),
        },
        ended=wilson(sum(ended for _, ended in answered), len(answered)),
    )
    return figures, replies


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m guardsteer.demo.evaluate",
        description="Measure a demo model on held-out tickets and write its card.",
        epilog="example: python -m guardsteer.demo.evaluate --model guardsteer/demo/model --tickets 600",
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--tickets", type=int, default=600, help="held-out tickets to answer")
    parser.add_argument("--seed", type=int, default=11, help="seed of the tickets")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--samples", type=Path, help="JSON Lines file for dialogues and replies")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    model, tokenizer = load_model(options.model)
    tickets = held_out_tickets(options.tickets, options.seed)
    figures, replies = evaluate(model, tokenizer, tickets, options.seed)
    values = asdict(figures)
    (options.model / "evaluation.json").write_text(json.dumps(values, indent=2) + "\n")
    recipe = json.loads((options.model / "recipe.json").read_text())
    (options.model / "README.md").write_text(render_card(values, recipe, model.num_parameters()))
    if options.samples:
        lines = (
            json.dumps(
                {"messages": t.messages, "reply": r, "reference": t.reply, "facts": facts_correct(t, r)}
            )
            for t, r in zip(tickets, replies, strict=True)
        )
        options.samples.write_text("\n".join(lines) + "\n")
    print(json.dumps(values, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
