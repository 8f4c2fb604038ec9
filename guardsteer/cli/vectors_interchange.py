"""``guardsteer vectors import`` binds directions of other tools to a model, ``export`` writes ours."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from guardsteer.cli import frame
from guardsteer.cli.models import add_dtype, load_model
from guardsteer.cli.texts import read_lines

__all__ = ["add_export", "add_import", "run_export", "run_import"]


def add_import(actions: frame.Subparsers) -> None:
    """Add ``vectors import``."""
    parser = frame.add_command(
        actions,
        "import",
        "bind a direction of another tool (GGUF, .svec, safetensors, NumPy, torch, SAE) to a model",
        "guardsteer vectors import happy.gguf --model models/my-chat-model --name happy "
        "--trait 'The answer is cheerful.' --licence MIT --out vectors/happy",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="its ending tells the format")
    parser.add_argument("--model", metavar="PATH", required=True, help="the model it was made for")
    parser.add_argument("--name", required=True, help="what a policy will call it")
    parser.add_argument("--trait", metavar="TEXT", required=True, help="what it adds, in a sentence")
    parser.add_argument("--licence", metavar="TEXT", required=True, help="the licence of the file")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where to write it")
    parser.add_argument("--block", metavar="N", type=int, help="for a file with one unnamed direction")
    parser.add_argument("--feature", metavar="N", type=int, help="row of a sparse autoencoder's decoder")
    parser.add_argument("--id", metavar="ID", help="id of that feature, such as MODEL/LAYER-SAE/INDEX")
    parser.add_argument(
        "--site", default="block_output", help="where it acts in a block (default: block_output)"
    )
    parser.add_argument(
        "--texts", metavar="FILE", type=Path, help="a text a line, over which residual norms are measured"
    )
    add_dtype(parser)


def add_export(actions: frame.Subparsers) -> None:
    """Add ``vectors export``."""
    parser = frame.add_command(
        actions,
        "export",
        "write a vector as GGUF, .svec, safetensors, NumPy or torch, and say what is left behind",
        "guardsteer vectors export vectors/empathy/artifacts/4f0c2a9be1d7/empathy.safetensors "
        "--out empathy.gguf",
    )
    parser.add_argument("vector", metavar="PATH", type=Path, help="a vector's .safetensors file")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="its ending tells the format")


def run_import(args: argparse.Namespace) -> int:
    """Import; mistakes leave as ``GuardsteerError``."""
    from guardsteer.errors import VectorError
    from guardsteer.host import SITES
    from guardsteer.lab.extraction.importing import About, import_vector
    from guardsteer.steer import save_vector
    from guardsteer.steer.interchange import read_foreign
    from guardsteer.steer.interchange_sae import read_sae_feature

    if args.site not in SITES:
        raise VectorError(f"--site: got {args.site!r}, expected one of {', '.join(SITES)}")
    if args.feature is None:
        foreign = read_foreign(args.file, block=args.block)
    elif args.block is None or args.id is None:
        raise VectorError("--feature: a feature of a sparse autoencoder needs --block and --id as well")
    else:
        foreign = read_sae_feature(args.file, args.feature, block=args.block, source=args.id)
    texts = read_lines(args.texts, "--texts")
    model, tokenizer = load_model(args.model, args.dtype)
    about = About(args.name, args.trait, args.licence)
    imported = import_vector(model, tokenizer, foreign, about, site=args.site, texts=texts)
    path = save_vector(imported.vector, args.out)
    _told(path, imported.notes, as_json=args.json)
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Export; mistakes leave as ``GuardsteerError``."""
    from guardsteer.steer import load_vector
    from guardsteer.steer.interchange import export_vector

    vector = load_vector(args.vector, fingerprint=None)
    _told(args.out, export_vector(vector, args.out), as_json=args.json)
    return 0


def _told(path: Path, notes: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        frame.emit({"ok": True, "path": str(path), "notes": list(notes)})
        return
    print(path)
    for note in notes:
        print(f"  {note}", file=sys.stderr)
