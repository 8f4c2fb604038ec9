"""What each method's direction does to what the demo model writes, at equal and at its own best strength.

``python -m benchmarks.methods [--tuning 48] [--tickets 150] [--json FILE]``.

Each method reads the empathy pairs of the demo at the last token of the prompt after one block
(``head_probes`` in the attention heads of all blocks), and is pushed there alone. A feature of a toy sparse
autoencoder (``benchmarks.toy_sae``, trained here, saved and imported from its file) is chosen by how much
more it fires on the positive side; three random directions are the control. The best strength is chosen on
tickets in training wordings, within bounds on perplexity and facts; the figures are of held-out wordings,
without any cue: gain on the empathy rubric of ``examples/harbor`` (1 to 5, nothing of it a label of the
pairs), perplexity of the replies under the bare model over that of its own, change in the share of right
facts, in points. Intervals are 95 % (bootstrap).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.calibrate_demo import Judges
from benchmarks.toy_sae import DIALOGUES, activations, save, states_of, train
from examples.harbor.rubric import rubric
from guardsteer.assets import Catalog
from guardsteer.core.policy import Position
from guardsteer.demo import load_model
from guardsteer.demo.corpus.judge import facts_correct
from guardsteer.demo.corpus.tickets import Split, Ticket, draw_ticket
from guardsteer.host import find_layout, fingerprint, point_at
from guardsteer.lab.capture.captured import Captured, Keep, capture_pairs
from guardsteer.lab.capture.capturing import Capture
from guardsteer.lab.capture.positions import LAST_PROMPT_TOKEN
from guardsteer.lab.capture.readings import NEGATIVE, POSITIVE
from guardsteer.lab.extraction.extract import extract
from guardsteer.lab.extraction.importing import About, import_vector
from guardsteer.lab.extraction.methods import METHODS
from guardsteer.lab.measure.effects import Bench, Push
from guardsteer.lab.measure.measuring import (
    Bounds,
    Check,
    Goal,
    Measured,
    Parts,
    Study,
    estimate_json,
    measure,
)
from guardsteer.lab.pairs.contrast import Recipe
from guardsteer.lab.recipes.recipe import load_recipe
from guardsteer.steer import Vector
from guardsteer.steer.artifact import MethodName
from guardsteer.steer.interchange_sae import read_sae_feature

SEED = 19_403
BLOCK = 3
STRENGTHS = (0.4, 0.8, 1.2, 1.6)
EQUAL = 0.8
BOUNDS = Bounds(gain=0.0, perplexity_ratio=2.0)
WHERE: tuple[Position, ...] = ("last_prompt_token",)
NEW_TOKENS = 96
RANDOM_SEEDS = 3
SAE_FEATURES, SAE_ACTIVE, SAE_STEPS = 640, 16, 1500


def vectors(model: Any, tokenizer: Any, say: Any) -> dict[str, Vector]:
    """Return a vector of every method, all but ``head_probes`` at one block."""
    recipe = load_recipe(Catalog().find("vectors", "demo-empathy"))
    captured = capture(model, tokenizer, recipe)
    background = [ticket.messages[-1]["content"] for ticket in tickets(200, "train", "background")]
    found: dict[str, Vector] = {}
    for name, how in METHODS.items():
        if name == "random":
            continue
        heads = name == "head_probes"
        found[name] = extract(
            model,
            tokenizer,
            recipe,
            method=name,
            site="heads" if heads else "block_output",
            blocks=None if heads else [BLOCK],
            background=background if how.background else (),
            captured=None if how.pairs_used else captured,
            heads=4,
        )
        say(f"extracted by {name}")
    found["sae_feature"] = sae_feature(model, tokenizer, captured)
    say(f"imported {found['sae_feature'].card.source}")
    drawn: MethodName = "random"
    for seed in range(RANDOM_SEEDS):
        found[f"random {seed + 1}"] = extract(
            model, tokenizer, recipe, method=drawn, blocks=[BLOCK], captured=captured, seed=seed
        )
    return found


def capture(model: Any, tokenizer: Any, recipe: Recipe) -> Captured:
    """Return what every method needs, of one pass over the pairs."""
    layout = find_layout(model)
    points = (point_at(BLOCK, "block_output"), *(point_at(n, "heads") for n in range(layout.n_blocks)))
    reader = Capture(model, tokenizer, layout, points, (LAST_PROMPT_TOKEN,), 32)
    digest = fingerprint(model, tokenizer).digest
    return capture_pairs(reader, recipe.part("extraction"), model=digest, keep=Keep(second=True, rows=True))


def sae_feature(model: Any, tokenizer: Any, captured: Captured) -> Vector:
    """Train an autoencoder, choose the feature that the sides differ in most, and import it from its file."""
    states = states_of(model, tokenizer, BLOCK, DIALOGUES)
    weights, quality = train(states, SAE_FEATURES, SAE_ACTIVE, SAE_STEPS)
    rows = captured.rows[point_at(BLOCK, "block_output"), LAST_PROMPT_TOKEN.name]
    means = [
        activations(weights, torch.from_numpy(rows.side(side)[0]).float(), SAE_ACTIVE).mean(0)
        for side in (POSITIVE, NEGATIVE)
    ]
    feature = int((means[0] - means[1]).argmax())
    about = About(
        "demo-empathy",
        "The feature that fires most on the warm side.",
        "Apache-2.0",
        f"A toy autoencoder that explains {quality.explained:.2f} of the variance.",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = save(Path(folder), weights, BLOCK, SAE_ACTIVE)
        source = f"demo-2m/{BLOCK}-res-toy-{SAE_FEATURES}/{feature}"
        return import_vector(
            model, tokenizer, read_sae_feature(path, feature, block=BLOCK, source=source), about
        ).vector


def tickets(count: int, split: Split, name: str) -> list[Ticket]:
    """Return different safe tickets without a cue."""
    rng = random.Random(f"methods:{SEED}:{name}")
    found: dict[str, Ticket] = {}
    while len(found) < count:
        ticket = draw_ticket(rng, split, cued=False, unsafe=False)
        found.setdefault(ticket.messages[-1]["content"], ticket)
    return list(found.values())


def study(tuning: int, test: int) -> Study:
    """Return what is measured, on tickets in training and in held-out wordings."""
    judges = Judges()
    parts = Parts(
        judges.prompts(tickets(tuning, "train", "tuning"), "tuning"),
        judges.prompts(tickets(test, "held_out", "test"), "test"),
    )
    facts = Check("facts", judges.metric(facts_correct), lowest_change=-0.02)
    return Study(Goal("empathy 1-5", rubric), parts, checks=(facts,))


def compare(bench: Bench, asked: Study, found: Mapping[str, Vector], say: Any) -> dict[str, dict[str, Any]]:
    """Return for each vector its held-out figures at the equal strength and at its best one, if any."""
    results: dict[str, dict[str, Any]] = {}
    for name, vector in found.items():
        pushes = [Push(name, vector.blocks, strength, WHERE) for strength in STRENGTHS]
        tried = [measure(bench, asked, "tuning", push)[0] for push in pushes]
        whole = [one for one in tried if not one.costs(BOUNDS, asked.checks) and one.gain.value > 0]
        equal = measure(bench, asked, "test", replace(pushes[0], strength=EQUAL))[0]
        results[name] = {
            "equal": _figures(equal),
            "tuning": [_figures(one) for one in tried],
            "cohens_d": vector.card.separation[0].cohens_d if vector.card.separation else None,
            "best": None,
        }
        if whole:
            best = max(whole, key=lambda one: one.gain.value).push
            again = equal if best.strength == EQUAL else measure(bench, asked, "test", best)[0]
            results[name]["best"] = _figures(again)
        say(row(name, results[name]))
    return results


def row(name: str, figures: dict[str, Any]) -> str:
    """Return one line of the table in ``docs/vectors.md``."""
    best = figures["best"]
    cells = [f"`{name}`", *_cells(figures["equal"])]
    cells += [f"{best['strength']:g}", *_cells(best)] if best else ["none", "", "", ""]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods", description=__doc__)
    parser.add_argument("--tuning", type=int, default=48, help="tickets to choose strengths on")
    parser.add_argument("--tickets", type=int, default=150, help="tickets to judge on")
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    given = parser.parse_args()
    torch.set_num_threads(1)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    model, tokenizer = load_model()
    found = vectors(model, tokenizer, say)
    asked = study(given.tuning, given.tickets)
    with Bench(model, tokenizer, found, new_tokens=NEW_TOKENS, batch_size=50) as bench:
        results = compare(bench, asked, found, say)
    print(f"| method | gain at {EQUAL:g} | perplexity | facts | best | gain | perplexity | facts |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(row(name, figures) for name, figures in results.items()))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")


def _figures(found: Measured) -> dict[str, Any]:
    return {
        "strength": found.push.strength,
        "gain": estimate_json(found.gain),
        "perplexity_ratio": estimate_json(found.perplexity_ratio),
        "facts": estimate_json(found.changes["facts"]),
    }


def _cells(figures: dict[str, Any]) -> list[str]:
    gain, ratio, facts = (figures[name] for name in ("gain", "perplexity_ratio", "facts"))
    return [
        f"{gain['value']:+.2f} [{gain['low']:+.2f}, {gain['high']:+.2f}]",
        f"{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]",
        f"{100 * facts['value']:+.1f}",
    ]


if __name__ == "__main__":
    main()
