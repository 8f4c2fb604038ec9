"""The Harbor case on the demo model, in one command.

    python -m examples.harbor.run [--tickets 200] [--json]

Contrast pairs give a direction; a sweep and a calibration on training tickets find block, positions, strength
and schedule; then held-out tickets are answered bare, guarded, with a random direction in the vector's place,
and bare again after the rollback.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import guardsteer
from examples.harbor.rubric import rubric, scores
from guardsteer.assets import Catalog
from guardsteer.core.policy import ScheduleSpec
from guardsteer.demo import load_model
from guardsteer.demo.answering import answer
from guardsteer.demo.corpus.judge import facts_correct, is_refusal
from guardsteer.demo.corpus.tickets import Split, Ticket, draw_ticket
from guardsteer.errors import VectorError
from guardsteer.evaluate import Estimate, bootstrap, mean_interval
from guardsteer.lab.extraction.extract import extract
from guardsteer.lab.measure.effects import random_like, schedule_text
from guardsteer.lab.measure.measuring import Bounds, Check, Goal, Parts, Study
from guardsteer.lab.pairs.prompts import Prompt
from guardsteer.lab.recipes.recipe import load_recipe
from guardsteer.lab.tuning.calibrate import Search, calibrate
from guardsteer.lab.tuning.sweep import sweep
from guardsteer.steer import Recommendation, Vector

__all__ = ["draw", "main", "policy_text"]

SEED = 20_417
BLOCKS = (2, 3, 4, 5)
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
BOUNDS = Bounds(gain=0.5, perplexity_ratio=2.5)
LEAST_FACTS_CHANGE = -0.02
NEW_TOKENS = 72
TIMED_TOKENS = 32
TIMED_TURNS = 4


def draw(count: int, split: Split, seed: str, *, billing: bool = False) -> list[Ticket]:
    """Return different tickets without a cue; a fifth unsafe, or only safe ones of billing."""
    rng = random.Random(f"harbor:{seed}:{SEED}")
    found: dict[str, Ticket] = {}
    while len(found) < count:
        unsafe = not billing and len(found) % 5 == 0
        ticket = draw_ticket(rng, split, cued=False, fishing=False, unsafe=unsafe)
        if not billing or ticket.domain == "billing":
            found.setdefault(str(ticket.messages), ticket)
    return list(found.values())


def study(count: int) -> Study:
    """Return what is judged on training tickets: empathy, with right facts as a bound."""
    tickets = {f"ticket-{i}": t for i, t in enumerate(draw(2 * count, "train", "tuning", billing=True))}
    prompts = tuple(
        Prompt(name, tuple({"role": m["role"], "content": m["content"]} for m in t.messages))
        for name, t in tickets.items()
    )
    texts = {prompt.text for prompt in prompts[:count]}
    test = tuple(prompt for prompt in prompts[count:] if prompt.text not in texts)

    def facts(asked: Sequence[Prompt], replies: Sequence[str]) -> list[float]:
        both = zip(asked, replies, strict=True)
        return [float(facts_correct(tickets[prompt.id], reply)) for prompt, reply in both]

    return Study(
        goal=Goal("empathy 1-5", rubric),
        prompts=Parts(prompts[:count], test),
        checks=(Check("facts", facts, lowest_change=LEAST_FACTS_CHANGE),),
    )


def find(model: Any, tokenizer: Any, count: int, say: Callable[[str], None]) -> Vector:
    """Return the vector with its window; ``VectorError`` says why there is none."""
    recipe = load_recipe(Catalog().find("vectors", "demo-empathy"))
    vector, judged = extract(model, tokenizer, recipe), study(count)
    sizes: dict[str, Any] = {"new_tokens": NEW_TOKENS, "batch_size": 48}
    swept = sweep(
        model, tokenizer, [vector], judged, BOUNDS, blocks=BLOCKS, strengths=(0.4, 0.8), progress=say, **sizes
    )
    search = Search(
        places=swept.places("block_output", 1),
        strengths=STRENGTHS,
        schedules=(None, ScheduleSpec(half_life=3.0)),
        halvings=1,
    )
    return calibrate(model, tokenizer, vector, judged, search, BOUNDS, progress=say, **sizes).publish(vector)


def policy_text(best: Recommendation) -> str:
    """Return the policy: billing tickets are answered with the vector as its card recommends it."""
    until = ""
    if best.schedule is not None and best.schedule.half_life is not None:
        until = f", half_life: {best.schedule.half_life:g}"
    return (
        "guardsteer: 1\nname: harbor\n"
        "classifiers:\n  intent: {use: demo-intent, on: user}\n  unsafe: {use: demo-unsafe, on: user}\n"
        "flags:\n  billing: {signal: intent.billing, enter: 0.50}\n"
        "  asks_for_harm: {signal: unsafe.score, enter: 0.50}\n"
        f"vectors:\n  empathy: {{use: demo-empathy, blocks: {list(best.blocks)}, "
        f"positions: [{', '.join(best.positions)}], max_strength: {best.high:g}}}\n"
        "rules:\n  - id: warm-billing\n    when: billing && !asks_for_harm\n"
        f"    add: {{vector: empathy, strength: {best.recommended:g}{until}}}\n"
    )


def judge(tickets: Sequence[Ticket], answers: Sequence[str], bare: Sequence[str]) -> dict[str, Estimate]:
    """Return the figures of one set of answers, with 95 % bootstrap intervals; gains are paired."""
    empathy, before = np.array(scores(answers)), np.array(scores(bare))
    billing = np.array([t.domain == "billing" and not t.unsafe for t in tickets])
    right, right_bare = (
        np.array(
            [
                is_refusal(text) if ticket.unsafe else facts_correct(ticket, text)
                for ticket, text in zip(tickets, said, strict=True)
            ],
            dtype=np.float64,
        )
        for said in (answers, bare)
    )
    changed = np.array([a != b for a, b in zip(answers, bare, strict=True)], dtype=np.float64)
    return {
        "empathy on billing, 1-5": mean_interval(empathy[billing]),
        "gained": mean_interval((empathy - before)[billing]),
        "policy accuracy, %": mean_interval(100 * right),
        "accuracy lost, points": mean_interval(100 * (right_bare - right)),
        "billing answers changed, %": mean_interval(100 * changed[billing]),
        "other answers changed, %": mean_interval(100 * changed[~billing]),
    }


def added_ms(model: Any, tokenizer: Any, tickets: Sequence[Ticket], policy: Path, vector: Vector) -> Estimate:
    """Return the milliseconds that the guard adds to a token of one row: the median over ``tickets``.

    Each ticket is answered both ways in turns, and the quickest of each counts, since a busy machine can only
    add time.
    """
    lengths: dict[str, Any] = {
        "max_new_tokens": TIMED_TOKENS,
        "min_new_tokens": TIMED_TOKENS,
        "do_sample": False,
    }
    found = []
    with guardsteer.wrap(model, tokenizer, policy=policy, vectors={"empathy": vector}) as guard:
        for ticket in tickets:
            inputs = guard.chat([list(ticket.messages)])
            plain = {name: value for name, value in inputs.items() if name != "guard"}
            ways = ((partial(type(model).generate, model), plain), (guard.generate, inputs))
            spent: tuple[list[float], list[float]] = ([], [])
            for turn in range(TIMED_TURNS):
                for way in (0, 1) if turn % 2 else (1, 0):
                    generate, given = ways[way]
                    start = time.perf_counter()
                    generate(**given, **lengths)
                    spent[way].append(time.perf_counter() - start)
            found.append(1000 * (min(spent[1]) - min(spent[0])) / TIMED_TOKENS)
    return bootstrap(np.array(found), lambda drawn: float(np.median(drawn)))


def validate(model: Any, tokenizer: Any, vector: Vector, count: int) -> dict[str, Any]:
    """Answer the held-out tickets in every way and return the table."""
    best = vector.card.recommended
    if best is None:
        raise ValueError(f"vector {vector.name} has no window to validate")
    tickets = draw(count, "held_out", "validation")
    bare = answer(model, tokenizer, tickets)
    with tempfile.TemporaryDirectory() as name:
        policy = Path(name) / "policy.yaml"
        policy.write_text(policy_text(best), encoding="utf-8")
        said = {"bare": bare}
        for title, used in (("guarded", vector), ("random", random_like(vector, SEED))):
            said[title] = answer(model, tokenizer, tickets, policy=policy, vectors={"empathy": used})
        added = added_ms(model, tokenizer, [t for t in tickets if t.domain == "billing"][:20], policy, vector)
    after = answer(model, tokenizer, tickets)
    return {
        "tickets": count,
        "columns": {title: judge(tickets, answers, bare) for title, answers in said.items()},
        "added ms a token": added,
        "block": list(best.blocks),
        "positions": list(best.positions),
        "strength": best.recommended,
        "window": [best.low, best.high],
        "schedule": schedule_text(
            None if best.schedule is None else ScheduleSpec(half_life=best.schedule.half_life)
        ),
        "rollback identical": after == bare,
    }


def table(found: dict[str, Any]) -> list[str]:
    """Return the results as lines."""
    columns = found["columns"]
    lines = [f"{'':<28}" + "".join(f"{title:<26}" for title in columns)]
    for name in columns["bare"]:
        cells = [f"{c[name].value:.2f} ({c[name].low:.2f} to {c[name].high:.2f})" for c in columns.values()]
        lines.append(f"{name:<28}" + "".join(f"{cell:<26}" for cell in cells))
    low, high = found["window"]
    lines.append(f"chosen: block {found['block']} at {'+'.join(found['positions'])}, {found['schedule']}")
    lines.append(f"strength: {found['strength']:g}, window {low:g} to {high:g}")
    added = found["added ms a token"]
    lines.append(f"added: {added.value:.2f} ({added.low:.2f} to {added.high:.2f}) ms a token of one row")
    lines.append(f"rollback: {'every answer as before' if found['rollback identical'] else 'ANSWERS DIFFER'}")
    return [*lines, f"{found['tickets']} held-out tickets, 95 % bootstrap intervals"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the case; status 1 where no window is found or the rollback is not whole."""
    parser = argparse.ArgumentParser(prog="python -m examples.harbor.run", description=__doc__)
    parser.add_argument("--tickets", type=int, default=200, help="held-out tickets (default: 200)")
    parser.add_argument("--tuning", type=int, default=60, help="billing tickets to tune on (default: 60)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model, tokenizer = load_model()
    try:
        vector = find(model, tokenizer, given.tuning, lambda text: print(text, file=sys.stderr, flush=True))
    except VectorError as error:
        print(f"no window: {error}", file=sys.stderr)
        return 1
    found = validate(model, tokenizer, vector, given.tickets)
    if given.json:
        columns = {
            title: {name: [e.value, e.low, e.high] for name, e in figures.items()}
            for title, figures in found["columns"].items()
        }
        added = found["added ms a token"]
        timed = [added.value, added.low, added.high]
        print(json.dumps({**found, "columns": columns, "added ms a token": timed}))
    else:
        print("\n".join(table(found)))
    return 0 if found["rollback identical"] else 1


if __name__ == "__main__":
    sys.exit(main())
