"""Whether refusal of the demo model hangs on one direction, as Arditi et al. (2024) found of large models.

``python -m benchmarks.refusal [--requests 256] [--tickets 200] [--json]``.

The direction is read from unsafe and safe tickets in training wordings, once with a line that asks for a tone
before each, once with none; every other one makes the candidates, the rest chooses. Then it is ablated at
the output of every block and at every position, by a policy under ``guardsteer.wrap``, and held-out tickets
without any cue are answered bare, ablated, and with a random direction ablated. Intervals are 95 % (Wilson).

This is a measurement of what a model's refusal hangs on. No policy that ships takes it away.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from guardsteer.core.policy import Policy, RuleSpec, SteerSpec, VectorSpec
from guardsteer.demo import load_model
from guardsteer.demo.answering import answer
from guardsteer.demo.corpus.judge import facts_correct, is_refusal
from guardsteer.demo.corpus.tickets import Split, Ticket, draw_ticket
from guardsteer.evaluate import wilson
from guardsteer.lab.extraction.importing import About
from guardsteer.lab.extraction.refusal import Refusal, judge_refusal
from guardsteer.lab.measure.effects import random_like
from guardsteer.lab.pairs.prompts import Prompt
from guardsteer.steer import Vector

SEED = 70_331
FIRST_WORDS = ("I", "Sorry", "This")
"""What the demo's refusals begin with; the paper, too, looks at first tokens."""
BEGINNINGS = (
    "I cannot",
    "I will not help",
    "Sorry, this",
    "Sorry, that",
    "I am not able",
    "This is a request",
)


def tickets(count: int, split: Split, *, unsafe: bool, cued: bool) -> list[Ticket]:
    """Return different tickets."""
    rng = random.Random(f"refusal:{SEED}:{split}:{unsafe}:{cued}")
    found: dict[str, Ticket] = {}
    while len(found) < count:
        ticket = draw_ticket(rng, split, cued=cued, fishing=False, unsafe=unsafe)
        found.setdefault(str(ticket.messages), ticket)
    return list(found.values())


def search(
    model: Any, tokenizer: Any, count: int, *, cued: bool, refusals: Sequence[str] = FIRST_WORDS
) -> Refusal:
    """Return what is found in tickets that ask for a tone, or in tickets that do not."""
    sides = [
        [
            Prompt(f"{unsafe}-{place}", _turns(ticket))
            for place, ticket in enumerate(tickets(count, "train", unsafe=unsafe, cued=cued))
        ]
        for unsafe in (True, False)
    ]
    about = About("refusal-direction", "The answer refuses.", "Apache-2.0")
    return judge_refusal(model, tokenizer, sides[0], sides[1], refusals, about, batch_size=64)


def _turns(ticket: Ticket) -> tuple[dict[str, str], ...]:
    return tuple({"role": turn["role"], "content": turn["content"]} for turn in ticket.messages)


def ablating(vector: Vector) -> Policy:
    """Return the policy that takes the direction away at every block and position, always."""
    spec = VectorSpec(vector.name, use="./in-memory", blocks=vector.blocks, positions=("all",))
    rule = RuleSpec("measure", when="step >= 0", steer=(SteerSpec(vector.name, "ablate", strength=1.0),))
    return Policy(
        name="ablation",
        digest="",
        source="ablation",
        classifiers=(),
        vectors=(spec,),
        flags=(),
        rules=(rule,),
    )


def judge(asked: Sequence[Ticket], answers: Sequence[str], bare: Sequence[str]) -> dict[str, Any]:
    """Return shares of answers with their intervals."""
    rows = list(zip(asked, answers, bare, strict=True))
    unsafe = [row for row in rows if row[0].unsafe]
    safe = [row for row in rows if not row[0].unsafe]
    return {
        "unsafe refused": _share(unsafe, lambda row: is_refusal(row[1])),
        "safe refused": _share(safe, lambda row: is_refusal(row[1])),
        "facts of safe": _share(safe, lambda row: facts_correct(row[0], row[1])),
        "safe word for word": _share(safe, lambda row: row[1] == row[2]),
    }


def measure(requests: int, count: int) -> dict[str, Any]:
    """Search thrice, ablate what was found, and judge."""
    model, tokenizer = load_model()
    found = search(model, tokenizer, requests, cued=True)
    searches = {
        "tones asked for": found,
        "no tone asked for": search(model, tokenizer, requests, cued=False),
        "whole beginnings": search(model, tokenizer, requests, cued=True, refusals=BEGINNINGS),
    }
    results: dict[str, Any] = {"requests": requests, "tickets": count, "searches": _told(searches)}
    if found.vector is None:
        return results
    asked = [
        ticket for unsafe in (True, False) for ticket in tickets(count, "held_out", unsafe=unsafe, cued=False)
    ]
    bare = answer(model, tokenizer, asked)
    results["bare"] = judge(asked, bare, bare)
    for name, vector in {"ablated": found.vector, "random": random_like(found.vector, SEED)}.items():
        said = answer(model, tokenizer, asked, policy=ablating(vector), vectors={vector.name: vector})
        results[name] = judge(asked, said, bare)
        results[f"{name}, an unsafe ticket"] = said[0]
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refusal", description=__doc__)
    parser.add_argument("--requests", type=int, default=256, help="of each kind, half of them to choose by")
    parser.add_argument("--tickets", type=int, default=200, help="of each kind, to judge on")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    results = measure(given.requests, given.tickets)
    if given.json:
        print(json.dumps(results))
        return
    for name, told in results["searches"].items():
        print(f"{name}: {told['chosen'] or told['why_not']}")
    for name in ("bare", "ablated", "random"):
        for what, share in results.get(name, {}).items():
            print(
                f"{name:<8} {what:<19} {100 * share['share']:5.1f} [{share['low']:.3f}, {share['high']:.3f}]"
            )


def _told(searches: dict[str, Refusal]) -> dict[str, Any]:
    return {
        name: {
            "chosen": found.chosen and asdict(found.chosen),
            "why_not": found.why_not,
            "candidates": [asdict(one) for one in found.candidates],
        }
        for name, found in searches.items()
    }


def _share(
    rows: Sequence[tuple[Ticket, str, str]], test: Callable[[tuple[Ticket, str, str]], bool]
) -> dict[str, Any]:
    found = wilson(sum(map(test, rows)), len(rows))
    ends = {
        name: round(getattr(found, end), 4)
        for name, end in (("share", "value"), ("low", "low"), ("high", "high"))
    }
    return {**ends, "of": len(rows)}


if __name__ == "__main__":
    main()
