"""``vectors to-probe`` reads a vector backwards, ``vectors train-probe`` fits a probe to labelled texts.

Either writes a classifier that a policy can name.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from guardsteer.cli import frame
from guardsteer.cli.models import add_dtype, load_model

if TYPE_CHECKING:
    from guardsteer.lab.classifiers.fitting import Training

__all__ = ["add", "add_train", "run", "run_train"]


_MEASURES = "weigh states as they are, or their directions, whatever their length (default: projection)"


def add(actions: frame.Subparsers) -> None:
    """Add ``vectors to-probe``."""
    parser = frame.add_command(
        actions,
        "to-probe",
        "calibrate the projection on a vector, or the cosine with it, as a probe that a policy can use",
        "guardsteer vectors to-probe --model models/my-chat --vector warmth.safetensors --recipe warmth "
        "--out classifiers/warmth-probe",
    )
    add_argument = parser.add_argument
    add_argument("--model", metavar="PATH", required=True, help="the model that the vector was read from")
    add_dtype(parser)
    add_argument("--vector", metavar="PATH", type=Path, required=True, help="its .safetensors file")
    add_argument("--recipe", metavar="DIR", required=True, help="its recipe: tuning and test pairs count")
    add_argument("--block", metavar="N", type=int, help="default: the block that separates best")
    add_argument(
        "--measure",
        choices=("projection", "cosine"),
        default="projection",
        help=_MEASURES,
    )
    add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the classifier")


def add_train(actions: frame.Subparsers) -> None:
    """Add ``vectors train-probe``."""
    parser = frame.add_command(
        actions,
        "train-probe",
        "train a linear probe of a model's states on labelled texts, which a policy can use as a classifier",
        "guardsteer vectors train-probe --model models/my-chat --data requests.jsonl --positive unsafe "
        "--out classifiers/unsafe-probe",
    )
    add_argument = parser.add_argument
    add_argument("--model", metavar="PATH", required=True, help="the model that the probe will read")
    add_dtype(parser)
    add_argument("--data", metavar="FILE", type=Path, required=True, help="CSV with a header, or JSON Lines")
    add_argument("--text-column", metavar="NAME", default="text")
    add_argument("--label-column", metavar="NAME", default="label")
    add_argument(
        "--positive", metavar="LABEL", required=True, help="the label whose probability is the score"
    )
    add_argument(
        "--said-by",
        choices=("user", "model"),
        default="user",
        help="user: the state that answers the text is read; model: each token of the text as an answer "
        "(default: user)",
    )
    add_argument("--prompt", metavar="TEXT", default="Go on.", help="what --said-by model answers")
    add_argument(
        "--blocks", metavar="N", type=int, nargs="+", help="to choose from by the tuning texts (default: all)"
    )
    add_argument("--measure", choices=("projection", "cosine"), default="projection", help=_MEASURES)
    add_argument("--name", help="name on the card (default: the folder's)")
    add_argument("--description", metavar="TEXT", default="")
    add_argument("--licence", metavar="TEXT", default="")
    add_argument("--source", metavar="TEXT", action="append", default=[], help="attribution; may be repeated")
    add_argument("--seed", metavar="N", type=int, default=0, help="of the split (default: 0)")
    add_argument("--batch-size", metavar="N", type=int, default=16, help="texts at once (default: 16)")
    add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the classifier")


def run_train(args: argparse.Namespace) -> int:
    """Train, write and print the figures on the test texts. Mistakes leave as ``GuardsteerError``."""
    from guardsteer.lab.classifiers.data import read_examples
    from guardsteer.lab.classifiers.fitting import About
    from guardsteer.lab.probes.of_text import train_text_probe
    from guardsteer.lab.probes.recipe import OfTexts

    examples = read_examples(args.data, text_column=args.text_column, label_column=args.label_column)
    about = About(
        args.name or args.out.resolve().name, "1", args.description, args.licence, tuple(args.source)
    )
    of = OfTexts(positive=args.positive, said_by=args.said_by, prompt=args.prompt)
    model, tokenizer = load_model(args.model, args.dtype)
    found = train_text_probe(
        model,
        tokenizer,
        examples,
        of,
        about,
        args.out,
        blocks=args.blocks,
        measure=args.measure,
        batch_size=args.batch_size,
        seed=args.seed,
        progress=frame.progress,
    )
    if not args.json:
        losses = ", ".join(f"{block} {loss:.3f}" for block, loss in found.losses.items())
        print(f"block      {found.block} of those tried, by log loss on the tuning texts: {losses}")
    return _told(args, found.training, block=found.block)


def run(args: argparse.Namespace) -> int:
    """Write the probe and print how well it tells the sides apart. Mistakes leave as ``GuardsteerError``."""
    from guardsteer.cli.recipes import recipe_folder
    from guardsteer.host import fingerprint
    from guardsteer.lab.probes.of_vector import probe_of
    from guardsteer.lab.recipes.recipe import load_recipe
    from guardsteer.steer import load_vector

    recipe = load_recipe(recipe_folder(args.recipe))
    model, tokenizer = load_model(args.model, args.dtype)
    vector = load_vector(args.vector, fingerprint=fingerprint(model, tokenizer))
    found = probe_of(
        model,
        tokenizer,
        recipe,
        vector,
        args.out,
        name=args.out.name,
        block=args.block,
        measure=args.measure,
    )
    return _told(args, found)


def _told(args: argparse.Namespace, found: Training, **more: int) -> int:
    if args.json:
        metrics = {name: dict(figures) for name, figures in found.metrics.items()}
        frame.emit({"ok": True, "path": str(found.folder), "metrics": metrics, **more})
        return 0
    for name, figures in found.metrics.items():
        print(f"{name:<10} {figures['value']:.3f} ({figures['low']:.3f} to {figures['high']:.3f})")
    print(f"probe      {found.folder}")
    return 0
