"""Measure the policy on held-out prompts and print a table, or JSON.

    python -m examples.warm_when_hostile.run --json

Runs the model bare, under the policy, and under the policy with three random vectors of equal norm in
place of warmth. Prompts of your own: ``--prompts FILE.jsonl`` with ``{"text": ..., "hostile": true}``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from examples.warm_when_hostile.build import HOSTILE_EMOTIONS, UNKIND_EMOTIONS, gather, part, warmth
from examples.warm_when_hostile.measure import Change, Figures, Group, figures
from examples.warm_when_hostile.talk import DATA, GREEDY, MODEL, Decoding, load
from examples.warm_when_hostile.utterances import comments, own_lines, soda_lines, without
from guardsteer.errors import GuardsteerError, RequestError
from guardsteer.evaluate import Estimate

__all__ = ["main", "own_groups", "real_groups"]

_CALM_COMMENTS = 200
_SAMPLED_SEEDS = 3


def own_groups() -> list[Group]:
    """Return the held-out utterances of this example."""
    return [
        Group("everyday, hostile (ours)", True, tuple(own_lines("held_out_hostile"))),
        Group("everyday, calm (ours)", False, tuple(own_lines("held_out_calm"))),
    ]


def real_groups(data: Path) -> list[Group]:
    """Return held-out comments of GoEmotions and lines of SODA. Raises ``AssetError`` without the data."""
    rated = comments(data, "dev")
    seen = [row.text for row in gather(data).examples if part(row.text) != "test"]
    angry = [
        row.text
        for row in rated
        if "anger" in row.emotions and row.emotions <= HOSTILE_EMOTIONS | {"disapproval"}
    ]
    calm = [row.text for row in rated if not row.emotions & UNKIND_EMOTIONS]
    return [
        Group("comments, anger (GoEmotions dev)", True, tuple(angry)),
        Group("comments, calm (GoEmotions dev)", False, tuple(random.Random(0).sample(calm, _CALM_COMMENTS))),
        Group(
            "dialogue lines (SODA, held out)",
            False,
            tuple(without([text for text in soda_lines(data) if part(text) == "test"], seen)),
        ),
    ]


def file_groups(path: Path) -> list[Group]:
    """Return the prompts of a JSONL file; ``RequestError`` names the first line that holds none."""
    texts: dict[bool, list[str]] = {True: [], False: []}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            texts[bool(row["hostile"])].append(str(row["text"]))
        except (ValueError, KeyError, TypeError) as error:
            raise RequestError(
                f'{path}:{number}: expected {{"text": ..., "hostile": true or false}}: {error}'
            ) from error
    named = ((True, f"hostile ({path.name})"), (False, f"calm ({path.name})"))
    return [Group(name, kind, tuple(texts[kind])) for kind, name in named if texts[kind]]


def table(found: Figures, seeds: int) -> Iterator[str]:
    """Yield the lines of a table of the figures."""
    how = found.decoding
    drawn = "" if how.temperature is None else f" at temperature {how.temperature}, {seeds} seeds"
    yield f"{how.name}{drawn}, at most {how.new_tokens} tokens"
    yield ""
    yield f"  {'triggered':44}{'share':>7}  95 % interval      prompts"
    for name, share in found.triggered.items():
        yield f"  {name:44}{share.value:7.1%}  {share.low:6.1%} to {share.high:6.1%}  {share.rows:7}"
    yield ""
    same = f"{found.untriggered_identical} of {found.untriggered}"
    yield f"  untriggered replies identical to the bare model's, token by token: {same}"
    yield ""
    yield f"  {'steered replies':44}{'VADER':>15}  {'gain':>6}  95 % interval     perplexity       ratio"
    rows = [("all", found.change), *found.by_group.items()]
    rows += [(f"random vector {seed}", change) for seed, change in found.random.items()]
    yield from (_row(name, change) for name, change in rows if change is not None)


def _row(name: str, change: Change) -> str:
    def signed(figure: Estimate) -> str:
        return f"{figure.value:+7.3f}  {figure.low:+.3f} to {figure.high:+.3f}"

    moved = f"{change.before.value:+.3f} > {change.after.value:+.3f}"
    price = f"{change.perplexity_before:5.2f} > {change.perplexity_after:5.2f}"
    return f"  {name:44}{moved:>15} {signed(change.gain)}  {price}  {change.perplexity_ratio.value:7.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, or 2 where something is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.warm_when_hostile.run", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--model", type=Path, default=MODEL, help="folder of a chat model; default: %(default)s")
    add("--data", type=Path, default=DATA, help="folder with goemotions and soda-dialogues")
    add("--prompts", type=Path, metavar="FILE", help="prompts of your own in place of the held-out ones")
    add("--decoding", choices=("greedy", "sampled", "both"), default="greedy")
    add("--block", type=int, help="block to steer; default: at five eighths of the depth")
    add("--json", action="store_true", help="print JSON in place of the table")
    given = parser.parse_args(arguments)
    try:
        model, tokenizer = load(given.model)
        found = list(_measure(model, tokenizer, given))
    except GuardsteerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps([figure.as_json() for figure, _ in found], indent=2))
    else:
        print("\n\n".join("\n".join(table(figure, seeds)) for figure, seeds in found))
    return 0


def _measure(model: Any, tokenizer: Any, given: argparse.Namespace) -> Iterator[tuple[Figures, int]]:
    vector = warmth(model, tokenizer, block=given.block)
    groups = file_groups(given.prompts) if given.prompts else own_groups()
    if not given.prompts and given.data.is_dir():
        groups += real_groups(given.data)
    if given.decoding != "sampled":
        yield figures(model, tokenizer, groups, [GREEDY], vector), 1
    if given.decoding != "greedy":
        seeds = [Decoding("sampled", temperature=0.7, seed=seed) for seed in range(_SAMPLED_SEEDS)]
        yield figures(model, tokenizer, groups, seeds, vector), len(seeds)


if __name__ == "__main__":
    sys.exit(main())
