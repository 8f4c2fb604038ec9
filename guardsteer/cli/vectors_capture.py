"""``guardsteer vectors capture`` reads a recipe's pairs once, at many points, whole or a share of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from guardsteer.cli import frame
from guardsteer.cli.models import add_dtype, load_model

__all__ = ["add", "run"]

_KEEP = ("second", "rows")
SITES = ("embedding", "block_input", "heads", "attention", "mlp", "block_output")


def add(actions: frame.Subparsers) -> None:
    """Add ``vectors capture``."""
    parser = frame.add_command(
        actions,
        "capture",
        "read a recipe's pairs once for all blocks, sites and positions, resumable and in shares",
        "guardsteer vectors capture --model models/my-chat-model --recipe empathy --out run --shard 1/4",
    )
    parser.add_argument("--model", metavar="PATH", required=True, help="folder of a chat model")
    parser.add_argument("--recipe", metavar="DIR", required=True, help="recipe folder, or a catalogue name")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the parts are kept")
    parser.add_argument(
        "--shard", metavar="I/N", default="1/1", help="read only the I-th of N shares of pairs"
    )
    parser.add_argument(
        "--sites", choices=SITES, nargs="+", default=["block_output"], help="default: block_output"
    )
    parser.add_argument("--blocks", metavar="N", type=int, nargs="+", help="default: all that have the sites")
    parser.add_argument("--read", metavar="RULE", nargs="+", help="default: as the recipe says")
    parser.add_argument(
        "--keep", choices=_KEEP, nargs="+", default=[], help="what some methods need beside means"
    )
    parser.add_argument("--batch-size", metavar="N", type=int, default=16, help="conversations at once")
    add_dtype(parser)


def run(args: argparse.Namespace) -> int:
    """Capture; mistakes leave as ``GuardsteerError``. What is in ``--out`` already is not read again."""
    from guardsteer.cli.recipes import recipe_folder
    from guardsteer.host import fingerprint
    from guardsteer.lab.capture.captured import Keep, Shard, capture_pairs, part_path
    from guardsteer.lab.capture.capturing import Capture
    from guardsteer.lab.extraction.extract import find_place_to_read
    from guardsteer.lab.recipes.recipe import load_recipe

    shard = Shard.parse(args.shard)
    recipe = load_recipe(recipe_folder(args.recipe))
    model, tokenizer = load_model(args.model, args.dtype)
    places = [
        find_place_to_read(model, recipe, blocks=args.blocks, read=read, site=site)
        for site in args.sites
        for read in args.read or [recipe.read]
    ]
    points = tuple(sorted({point for place in places for point in place.points}))
    rules = tuple({place.rule.name: place.rule for place in places}.values())
    capture = Capture(model, tokenizer, places[0].layout, points, rules, args.batch_size)
    pairs = recipe.part("extraction")
    total = 2 * len(pairs[shard.index - 1 :: shard.of])
    done = 0

    def count(conversations: int) -> None:
        nonlocal done
        done += conversations
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\rread {done} of {total} conversations", end=end, file=sys.stderr, flush=True)

    path = part_path(args.out, shard)
    keep = Keep(second="second" in args.keep, rows="rows" in args.keep)
    digest = fingerprint(model, tokenizer).digest
    found = capture_pairs(capture, pairs, model=digest, keep=keep, shard=shard, path=path, on_batch=count)
    names = [rule.name for rule in rules]
    if args.json:
        frame.emit(
            {"ok": True, "path": str(path), "pairs": found.done, "points": len(points), "rules": names}
        )
    else:
        print(f"{path}: {found.done} pairs at {len(points)} points, {', '.join(names)}")
    return 0
