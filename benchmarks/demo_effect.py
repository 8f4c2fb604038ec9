"""What the demo's policy does to held-out tickets.

``python -m benchmarks.demo_effect [--tickets 200] [--json]``.

Tickets without any cue, in held-out wordings and combinations of facts: a fifth unsafe, a third fishing for
praise. Reported bare and guarded: warm answers on billing tickets, right facts, flattery on fishing tickets,
refusals; how many tokens the refusal path was steered, from the audit log; and the same policy with three
random directions of the same norms as control. Intervals are 95 % (Wilson).
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from guardsteer.assets import Catalog
from guardsteer.audit import read, verify
from guardsteer.core.events import RequestEnded, RuleFired
from guardsteer.demo import load_model
from guardsteer.demo.answering import answer
from guardsteer.demo.corpus.judge import facts_correct, has_flattery, is_refusal, tone_of
from guardsteer.demo.corpus.tickets import Ticket, draw_ticket
from guardsteer.evaluate import wilson
from guardsteer.host import fingerprint
from guardsteer.lab.measure.effects import random_like
from guardsteer.steer import find_artifact, load_vector

SEED = 90_210
VECTORS = {"empathy": "demo-empathy", "sycophancy": "demo-sycophancy"}


def tickets(count: int, seed: int) -> list[Ticket]:
    """Return held-out tickets, each different."""
    rng = random.Random(f"effect:{seed}")
    drawn: dict[str, Ticket] = {}
    while len(drawn) < count:
        place = len(drawn)
        ticket = draw_ticket(rng, "held_out", cued=False, fishing=place % 3 == 0, unsafe=place % 5 == 0)
        drawn.setdefault(str(ticket.messages), ticket)
    return list(drawn.values())


def share(pairs: Sequence[tuple[Ticket, str]], test: Callable[[Ticket, str], bool]) -> dict[str, Any]:
    """Return a share with its interval."""
    hits = sum(test(ticket, text) for ticket, text in pairs)
    found = wilson(hits, len(pairs))
    return {
        "share": round(found.value, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "of": len(pairs),
    }


def judge(asked: Sequence[Ticket], answers: Sequence[str]) -> dict[str, Any]:
    """Return what the answers hold, by group of tickets."""
    both = list(zip(asked, answers, strict=True))
    safe = [pair for pair in both if not pair[0].unsafe]
    billing = [pair for pair in safe if pair[0].domain == "billing"]
    fishing = [pair for pair in safe if pair[0].fishing]
    return {
        "warm, billing": share(billing, lambda _, text: tone_of(text) == "warm"),
        "facts": share(safe, facts_correct),
        "flattery, fishing": share(fishing, lambda _, text: has_flattery(text)),
        "unsafe refused": share([p for p in both if p[0].unsafe], lambda _, text: is_refusal(text)),
        "safe refused": share(safe, lambda _, text: is_refusal(text)),
    }


def refusal_path(log: Path) -> dict[str, int]:
    """Return how many rows took the refusal path and how many of their tokens were steered."""
    refused = {
        stored.event.request
        for stored in read(log)
        if isinstance(stored.event, RuleFired) and stored.event.rule == "refusal-path"
    }
    steered = [
        stored.event.steered_tokens
        for stored in read(log)
        if isinstance(stored.event, RequestEnded) and stored.event.request in refused
    ]
    return {"rows": len(steered), "steered_tokens": sum(steered)}


def measure(count: int, seed: int) -> dict[str, Any]:
    """Answer everything and judge it."""
    model, tokenizer = load_model()
    asked = tickets(count, seed)
    results: dict[str, Any] = {
        "tickets": count,
        "seed": seed,
        "bare": judge(asked, answer(model, tokenizer, asked)),
    }
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "audit"
        results["guarded"] = judge(asked, answer(model, tokenizer, asked, policy="demo", audit=log))
        results["refusal path"] = refusal_path(log)
        results["audit whole"] = verify(log).ok
    identity = fingerprint(model, tokenizer)
    catalog = Catalog()
    read_vectors = {
        name: load_vector(find_artifact(catalog.find("vectors", use), identity), fingerprint=identity)
        for name, use in VECTORS.items()
    }
    results["random"] = [
        judge(
            asked,
            answer(
                model,
                tokenizer,
                asked,
                policy="demo",
                vectors={name: random_like(vector, place) for name, vector in read_vectors.items()},
            ),
        )
        for place in range(3)
    ]
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_effect", description=__doc__)
    parser.add_argument("--tickets", type=int, default=200)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    results = measure(given.tickets, given.seed)
    if given.json:
        print(json.dumps(results))
        return
    for name in results["bare"]:
        columns = [results["bare"][name], results["guarded"][name], *(r[name] for r in results["random"])]
        cells = [f"{100 * c['share']:5.1f} [{100 * c['low']:.1f}, {100 * c['high']:.1f}]" for c in columns]
        print(f"{name:<18} {'  '.join(cells)}  (n={columns[0]['of']})")
    print("columns: bare, guarded, three random directions; percent with 95 % intervals")
    path = results["refusal path"]
    print(f"refusal path: {path['rows']} rows, {path['steered_tokens']} steered tokens")
    print(f"audit: {'whole' if results['audit whole'] else 'NOT WHOLE'}")


if __name__ == "__main__":
    main()
