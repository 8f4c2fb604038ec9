"""``guardsteer vectors check`` says what is doubtful about a recipe, ``vectors recipe`` makes one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from guardsteer.cli import frame

if TYPE_CHECKING:
    from guardsteer.lab.pairs.contrast import ContrastPair, Recipe

__all__ = ["add_check", "add_recipe", "run_check", "run_recipe"]


def add_check(actions: frame.Subparsers) -> None:
    """Add ``vectors check``."""
    parser = frame.add_command(
        actions,
        "check",
        "tell of a recipe what may make its vector one of something else than the trait",
        "guardsteer vectors check vectors/empathy",
    )
    parser.add_argument("recipe", metavar="DIR", help="recipe folder, or a catalogue name")
    parser.add_argument("--strict", action="store_true", help="end with status 1 where anything is found")


def add_recipe(actions: frame.Subparsers) -> None:
    """Add ``vectors recipe``."""
    parser = frame.add_command(
        actions,
        "recipe",
        "make a recipe of A/B questions (CAA's JSON), a labelled set or two lists of texts",
        "guardsteer vectors recipe --ab sycophancy.json --trait 'Agrees with the user.' --licence MIT "
        "--out vectors/agreement",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--ab", metavar="FILE", type=Path, help="JSON list of A/B questions")
    source.add_argument(
        "--texts", metavar=("POSITIVE", "NEGATIVE"), nargs=2, type=Path, help="two files, a text a line"
    )
    source.add_argument(
        "--labelled",
        metavar="FILE",
        type=Path,
        help="JSON Lines with text and label, and maybe prompt and labels such as a locale or product",
    )
    parser.add_argument(
        "--sides",
        metavar=("POSITIVE", "NEGATIVE"),
        nargs=2,
        default=("positive", "negative"),
        help="with --labelled: the labels of the two sides (default: positive negative)",
    )
    parser.add_argument(
        "--spelled-out", action="store_true", help="with --ab: reply with a choice's words, not its letter"
    )
    parser.add_argument("--template", default="{text}", help="what the assistant says of a text")
    parser.add_argument(
        "--prompt", default="Say something.", help="what the user says where a text brings no prompt"
    )
    parser.add_argument("--trait", metavar="TEXT", required=True, help="what the positive side has")
    parser.add_argument("--licence", metavar="TEXT", required=True, help="the licence of the files")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="its name is the recipe's")


def run_check(args: argparse.Namespace) -> int:
    """Check; mistakes leave as ``GuardsteerError``."""
    from guardsteer.cli.recipes import recipe_folder
    from guardsteer.lab.recipes.recipe import load_recipe

    found = _told(load_recipe(recipe_folder(args.recipe)), as_json=args.json)
    return int(args.strict and found > 0)


def run_recipe(args: argparse.Namespace) -> int:
    """Write a recipe; mistakes leave as ``GuardsteerError``."""
    from guardsteer.lab.pairs.contrast import Recipe
    from guardsteer.lab.pairs.labelled_sets import load_labelled_pairs
    from guardsteer.lab.pairs.pair_files import load_ab_pairs, load_text_pairs, write_recipe
    from guardsteer.lab.recipes.recipe import load_recipe

    pairs: tuple[ContrastPair, ...]
    if args.ab is not None:
        pairs, prompt = load_ab_pairs(args.ab, spelled_out=args.spelled_out), None
    elif args.labelled is not None:
        prompt = args.prompt
        positive, negative = args.sides
        pairs = load_labelled_pairs(
            args.labelled, positive=positive, negative=negative, template=args.template, prompt=prompt
        )
    else:
        prompt = args.prompt
        pairs = load_text_pairs(*args.texts, template=args.template, prompt=prompt)
    folder = args.out.resolve()
    made = Recipe(
        folder.name, args.trait, args.licence, "assistant_mean", pairs, version="1.0.0", prompt=prompt
    )
    write_recipe(made, folder)
    if not args.json:
        print(args.out)
    _told(load_recipe(folder), as_json=args.json)
    return 0


def _told(recipe: Recipe, *, as_json: bool) -> int:
    from guardsteer.lab.pairs.contrast import Part
    from guardsteer.lab.recipes.checks import check_recipe

    found = check_recipe(recipe)
    parts = {part: len(recipe.part(part)) for part in get_args(Part)}
    if as_json:
        findings = [{"kind": finding.kind, "message": finding.message} for finding in found]
        frame.emit({"ok": True, "name": recipe.name, "pairs": parts, "findings": findings})
    else:
        print(f"{recipe.name}: {', '.join(f'{count} {part}' for part, count in parts.items())} pairs")
        for finding in found:
            print(f"  {finding.kind}: {finding.message}", file=sys.stderr)
    return len(found)
