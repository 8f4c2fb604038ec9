"""``vectors to-probe``: a vector read backwards, as a classifier that a policy can name."""

from __future__ import annotations

import argparse
from pathlib import Path

from guardsteer.cli import frame

__all__ = ["add", "run"]


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
    add_argument("--vector", metavar="PATH", type=Path, required=True, help="its .safetensors file")
    add_argument("--recipe", metavar="DIR", required=True, help="its recipe: tuning and test pairs count")
    add_argument("--block", metavar="N", type=int, help="default: the block that separates best")
    add_argument(
        "--measure",
        choices=("projection", "cosine"),
        default="projection",
        help="how far a state lies along the vector, or the angle between them, whatever the state's length "
        "(default: projection)",
    )
    add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the classifier")


def run(args: argparse.Namespace) -> int:
    """Write the probe and print how well it tells the sides apart. Mistakes leave as ``GuardsteerError``."""
    from guardsteer.cli.models import load_model
    from guardsteer.cli.recipes import recipe_folder
    from guardsteer.host import fingerprint
    from guardsteer.lab.recipe import load_recipe
    from guardsteer.lab.vector_probe import probe_of
    from guardsteer.steer import load_vector

    recipe = load_recipe(recipe_folder(args.recipe))
    model, tokenizer = load_model(args.model)
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
    if args.json:
        metrics = {name: dict(figures) for name, figures in found.metrics.items()}
        frame.emit({"ok": True, "path": str(found.folder), "metrics": metrics})
        return 0
    for name, figures in found.metrics.items():
        print(f"{name:<10} {figures['value']:.3f} ({figures['low']:.3f} to {figures['high']:.3f})")
    print(f"probe      {found.folder}")
    return 0
