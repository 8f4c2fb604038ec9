"""``guardsteer vectors``: its actions, and ``vectors extract``, which builds a vector for a model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from guardsteer.cli import (
    frame,
    vectors_capture,
    vectors_compose,
    vectors_interchange,
    vectors_metrics,
    vectors_probe,
    vectors_recipe,
    vectors_refusal,
    vectors_show,
    vectors_trace,
    vectors_tuning,
)
from guardsteer.cli.models import add_dtype, load_model
from guardsteer.cli.recipes import recipe_folder
from guardsteer.cli.texts import read_lines

__all__ = ["register", "run"]

READS = ("assistant_mean", "last_prompt_token", "generated_tokens")
METHODS = (
    "mean_difference",
    "single_pair",
    "mean_centred",
    "whitened_mean_difference",
    "pca_differences",
    "logistic_regression",
    "linear_discriminant",
    "head_probes",
    "random",
)
SITES = ("embedding", "block_input", "heads", "attention", "mlp", "block_output")


def register(subparsers: frame.Subparsers) -> None:
    """Add ``vectors`` and its actions."""
    summary = "extract steering vectors and look at them"
    parser = subparsers.add_parser("vectors", help=summary, description="Work with steering vectors.")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    _add_extract(actions)
    vectors_recipe.add_recipe(actions)
    vectors_recipe.add_check(actions)
    vectors_capture.add(actions)
    vectors_tuning.add_sweep(actions)
    vectors_tuning.add_calibrate(actions)
    vectors_metrics.add(actions)
    vectors_trace.add(actions)
    vectors_compose.add(actions)
    vectors_probe.add(actions)
    vectors_probe.add_train(actions)
    vectors_refusal.add(actions)
    vectors_interchange.add_import(actions)
    vectors_interchange.add_export(actions)
    vectors_show.add(actions)


def _add_extract(actions: frame.Subparsers) -> None:
    extract = frame.add_command(
        actions,
        "extract",
        "read a vector from contrast pairs with a model",
        "guardsteer vectors extract --model models/my-chat-model --recipe vectors/empathy",
    )
    extract.add_argument("--model", metavar="PATH", type=Path, required=True, help="folder of a chat model")
    extract.add_argument(
        "--recipe",
        metavar="DIR",
        required=True,
        help="folder with recipe.yaml and pairs.jsonl, or a catalogue name",
    )
    extract.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="where to write NAME.safetensors and NAME.json (default: RECIPE/artifacts/MODEL)",
    )
    extract.add_argument("--read", choices=READS, help="where to read (default: as the recipe says)")
    extract.add_argument(
        "--site",
        choices=SITES,
        default="block_output",
        help="where in a block to read, and where the vector will act (default: block_output)",
    )
    extract.add_argument(
        "--blocks",
        metavar="N",
        type=int,
        nargs="+",
        help="which blocks to read (default: all that have the site)",
    )
    extract.add_argument(
        "--batch-size", metavar="N", type=int, default=16, help="conversations at once (default: 16)"
    )
    extract.add_argument(
        "--method",
        choices=METHODS,
        default="mean_difference",
        help="how the direction is made of the states (default: mean_difference)",
    )
    extract.add_argument(
        "--background", metavar="FILE", type=Path, help="ordinary texts, one a line, for mean_centred"
    )
    extract.add_argument("--heads", metavar="N", type=int, default=8, help="heads that head_probes keeps")
    extract.add_argument("--seed", metavar="N", type=int, default=0, help="of random (default: 0)")
    add_dtype(extract)
    extract.add_argument(
        "--captured",
        metavar="DIR",
        type=Path,
        help="folder of `vectors capture`: what was read there is not read again, and its parts are merged",
    )


def run(args: argparse.Namespace) -> int:
    """Do what was asked; mistakes leave as ``GuardsteerError``."""
    return _ACTIONS[args.action](args)


def _extract(args: argparse.Namespace) -> int:
    from guardsteer.host import Fingerprint
    from guardsteer.lab.capture.captured import load_parts
    from guardsteer.lab.extraction.extract import extract
    from guardsteer.lab.recipes.recipe import load_recipe
    from guardsteer.steer import save_vector

    folder = recipe_folder(args.recipe)
    recipe = load_recipe(folder)  # before the model, which takes longer to load than a mistake to see
    model, tokenizer = load_model(args.model, args.dtype)
    vector = extract(
        model,
        tokenizer,
        recipe,
        blocks=args.blocks,
        batch_size=args.batch_size,
        read=args.read,
        site=args.site,
        method=args.method,
        background=read_lines(args.background, "--background"),
        heads=args.heads,
        seed=args.seed,
        captured=None if args.captured is None else load_parts(args.captured),
        progress=_bar if sys.stderr.isatty() else None,
    )
    built_for = Fingerprint(**vector.card.model.model_dump())
    out = args.out or folder / "artifacts" / built_for.short
    path = save_vector(vector, out)
    vectors_show.report(vector, path, as_json=args.json)
    return 0


def _bar(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\rread {done} of {total} conversations", end=end, file=sys.stderr, flush=True)


_ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = MappingProxyType(
    {
        "extract": _extract,
        "show": vectors_show.run,
        "trace": vectors_trace.run,
        "capture": vectors_capture.run,
        "compose": vectors_compose.run,
        "sweep": vectors_tuning.run_sweep,
        "calibrate": vectors_tuning.run_calibrate,
        "metrics": vectors_metrics.run,
        "check": vectors_recipe.run_check,
        "recipe": vectors_recipe.run_recipe,
        "to-probe": vectors_probe.run,
        "train-probe": vectors_probe.run_train,
        "refusal": vectors_refusal.run,
        "import": vectors_interchange.run_import,
        "export": vectors_interchange.run_export,
    }
)
