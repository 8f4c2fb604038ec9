"""Choose block and strength: what each does to replies to hostile utterances that are not held out.

python -m examples.warm_when_hostile.tune --blocks 4 5 6 --strengths 0.3 0.38 0.45
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from examples.warm_when_hostile.build import part, warmth
from examples.warm_when_hostile.measure import POLICY, change, guarded, random_like
from examples.warm_when_hostile.talk import GREEDY, MODEL, Decoding, ask, load
from examples.warm_when_hostile.utterances import own_lines
from guardsteer.core.policy import Policy
from guardsteer.errors import GuardsteerError
from guardsteer.rules import parse_policy

__all__ = ["main", "with_strength"]

_STRENGTH = re.compile(r"strength: [0-9.]+")
_CONTROL_SEED = 11


def with_strength(strength: float) -> Policy:
    """Return this example's policy with another strength (and limit)."""
    text = _STRENGTH.sub(f"strength: {strength}", POLICY.read_text(encoding="utf-8"))
    return parse_policy(text, str(POLICY))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, or 2 where something is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.warm_when_hostile.tune", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--model", type=Path, default=MODEL, help="folder of a chat model; default: %(default)s")
    add("--blocks", type=int, nargs="+", default=[4, 5, 6])
    add("--strengths", type=float, nargs="+", default=[0.25, 0.30, 0.35, 0.38, 0.40, 0.45, 0.50])
    add("--temperature", type=float, help="draw at this temperature; default: greedy")
    given = parser.parse_args(arguments)
    decoding = GREEDY if given.temperature is None else Decoding("sampled", given.temperature)
    try:
        print("block  strength  VADER gain  perplexity ratio  same of a random vector")
        for line in _lines(*load(given.model), decoding, given.blocks, given.strengths):
            print(line, flush=True)
    except GuardsteerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _lines(
    model: Any, tokenizer: Any, decoding: Decoding, blocks: Sequence[int], strengths: Sequence[float]
) -> Iterator[str]:
    prompts = [text for text in own_lines("hostile") if part(text) != "train"]
    bare = ask(model, tokenizer, prompts, decoding)
    for block in blocks:
        vector = warmth(model, tokenizer, block=block)
        for strength in strengths:
            policy = with_strength(strength)
            line = f"{block:5}  {strength:8.2f}"
            for tried in (vector, random_like(vector, _CONTROL_SEED)):
                run = guarded(model, tokenizer, prompts, decoding, tried, policy=policy)
                hits = [row for row, steered in enumerate(run.steered) if steered]
                before, after = ([which[row] for row in hits] for which in (bare, run.replies))
                found = change(model, tokenizer, [prompts[row] for row in hits], before, after)
                line += f"  {found.gain.value:+10.3f}  {found.perplexity_ratio.value:16.2f}"
            yield line


if __name__ == "__main__":
    sys.exit(main())
