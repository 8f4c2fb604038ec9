"""Which block steers? Each is pushed equally, and held against how well it separates.

    python -m examples.layers [--model PATH|demo]

The vector of warmth of examples/warm_when_hostile (of demo-empathy on the demo model), every block, three
sets of positions, one strength. The best separated block and the one that the sweep recommends are then
pushed once more, and harder too, on prompts that nothing was chosen on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from examples.dose import DEMO, load, parts
from examples.pictures import save_picture
from examples.warm_when_hostile import talk
from guardsteer.assets import Catalog
from guardsteer.errors import GuardsteerError
from guardsteer.lab.extraction.extract import extract
from guardsteer.lab.measure.effects import Bench, Push, random_like
from guardsteer.lab.measure.measuring import Goal, Measured, Parts, Study, measure
from guardsteer.lab.metrics.text import vader
from guardsteer.lab.pairs.prompts import few, load_prompts
from guardsteer.lab.recipes.recipe import load_recipe
from guardsteer.lab.tuning.sweep import POSITIONS, Spot, Sweep, sweep
from guardsteer.pages.charts import Dot, Line, chart
from guardsteer.steer import Vector

__all__ = ["best_separated", "judged", "main", "picture", "table"]

_STRENGTH, _CONTROLS = 0.4, 3
# Where the answer begins, a push twice as strong still leaves the text whole.
_JUDGED = (*((where, _STRENGTH) for where in POSITIONS), (POSITIONS[0], 2 * _STRENGTH))
_SIZES: dict[str, Any] = {"new_tokens": 40, "batch_size": 60}


def best_separated(found: Sweep) -> int:
    """Return the block at which the vector tells its contrast pairs apart best."""
    return max(found.spots, key=lambda spot: spot.cohens_d or 0.0).block


def table(found: Sweep) -> Iterator[str]:
    """Yield one row a block: how well it separates, and what steering there did at each set of positions."""
    yield f"| block | separation (Cohen's d) | {' | '.join('+'.join(where) for where in POSITIONS)} |"
    yield f"|{'---|' * (2 + len(POSITIONS))}"
    for block in sorted({spot.block for spot in found.spots}):
        spots = {spot.measured.push.positions: spot for spot in found.spots if spot.block == block}
        cells = [f"{_gain(spots[where].measured)}: {spots[where].outcome}" for where in POSITIONS]
        yield f"| {block} | {spots[POSITIONS[0]].cohens_d:.2f} | {' | '.join(cells)} |"


def judged(model: Any, tokenizer: Any, vector: Vector, study: Study, blocks: Sequence[int]) -> Iterator[str]:
    """Yield what ``blocks`` do on the test prompts, at each set of positions, beside random vectors."""
    random = {f"random-{seed}": random_like(vector, seed) for seed in range(1, _CONTROLS + 1)}
    yield "| block | positions | strength | gain | perplexity ratio | random vectors: gain |"
    yield "|---|---|---|---|---|---|"
    with Bench(model, tokenizer, {"vector": vector, **random}, **_SIZES) as bench:
        for block, (where, strength) in product(blocks, _JUDGED):
            pushes = [Push(name, (block,), strength, where) for name in bench.vectors]
            done, *others = [measure(bench, study, "test", push)[0] for push in pushes]
            controls = ", ".join(f"{other.gain.value:+.3f}" for other in others)
            ratio, told = done.perplexity_ratio.value, "+".join(where)
            yield f"| {block} | {told} | {strength:g} | {_gain(done)} | {ratio:.2f} | {controls} |"


def _gain(found: Measured) -> str:
    return f"{found.gain.value:+.3f} ({found.gain.low:+.3f} to {found.gain.high:+.3f})"


def picture(found: Sweep, path: Path) -> Path:
    """Draw separation and effect by block, one below the other, and return the file's path."""
    ordered = sorted(found.spots, key=lambda spot: spot.block)
    where = {
        positions: [s for s in ordered if s.measured.push.positions == positions] for positions in POSITIONS
    }
    separation = Line("Cohen's d", tuple(Dot(s.block, s.cohens_d or 0.0) for s in where[POSITIONS[0]]))
    effects = [Line("+".join(name), tuple(map(_dot, spots))) for name, spots in where.items()]
    random = [Dot(s.block, s.control.value) for s in where[POSITIONS[-1]]]
    drawn = []
    for title, lines in (
        ("How well each block separates", [separation]),
        (
            f"What a push of {_STRENGTH:g} there does to replies",
            [*effects, Line("r", tuple(random), control=True)],
        ),
    ):
        svg = chart(
            lines, title=title, x_label="block", y_label=lines[0].name if len(lines) == 1 else found.goal
        )
        drawn.append((title, svg, [line.name if not line.control else "(random)" for line in lines]))
    return save_picture(path, drawn)


def _dot(spot: Spot) -> Dot:
    gain = spot.measured.gain
    return Dot(spot.block, gain.value, gain.low, gain.high)


def _prompts(name: str, limit: int) -> Parts:
    if name == DEMO:
        return parts(name, limit, limit)
    files = ("hostile", "held_out_hostile")
    tuning, test = (load_prompts(talk.HERE / "utterances" / f"{file}.txt") for file in files)
    return Parts(few(tuning, limit), few(test, limit))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its status is 0, or 2 where something is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.layers", description=(__doc__ or "").splitlines()[0]
    )
    add = parser.add_argument
    add("--model", default=str(talk.MODEL), help="folder of a chat model, or 'demo' (default: %(default)s)")
    add("--limit", type=int, default=120, help="most prompts to sweep on, and to judge on (default: 120)")
    add("--blocks", type=int, nargs="+", metavar="N", help="blocks to sweep (default: all)")
    add("--picture", type=Path, metavar="FILE", help="draw separation and effect into this .svg")
    given = parser.parse_args(arguments)
    try:
        model, tokenizer = load(given.model)
        demo = given.model == DEMO
        recipe = load_recipe(Catalog().find("vectors", "demo-empathy") if demo else talk.HERE / "warmth")
        vector = extract(model, tokenizer, recipe)
        study = Study(Goal("VADER", vader), _prompts(given.model, given.limit))
        places: dict[str, Any] = {"blocks": given.blocks, "strengths": (_STRENGTH,), **_SIZES}
        found = sweep(model, tokenizer, [vector], study, progress=_say, **places)
    except GuardsteerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    best = found.recommended[0].block if found.recommended else found.spots[0].block
    separated = best_separated(found)
    print("\n".join(table(found)))
    told = "Steers" if found.recommended else "Moves"
    print(f"\nSeparates best: block {separated}. {told} best: block {best}.\n")
    print("\n".join(judged(model, tokenizer, vector, study, sorted({separated, best}))))
    if given.picture:
        print(f"\n{picture(found, given.picture)}")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
