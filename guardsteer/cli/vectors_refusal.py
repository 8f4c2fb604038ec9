"""``guardsteer vectors refusal`` finds the direction along which a model refuses, by what it does."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from guardsteer.cli import frame
from guardsteer.cli.models import add_dtype, load_model

if TYPE_CHECKING:
    from guardsteer.lab.extraction.methods.refusal import RefusalScores

__all__ = ["add", "run"]


def add(actions: frame.Subparsers) -> None:
    """Add ``vectors refusal``."""
    parser = frame.add_command(
        actions,
        "refusal",
        "find the direction along which a model refuses, to measure how refusal hangs on it",
        "guardsteer vectors refusal --model models/my-chat-model --harmful harmful.jsonl "
        "--harmless harmless.jsonl --refusal 'I cannot' Sorry --licence Apache-2.0 --out vectors/refusing",
    )
    one = "requests, one a line or JSON Lines with 'text' or 'messages'; at least 16"
    parser.add_argument("--model", metavar="PATH", required=True, help="folder of a chat model")
    parser.add_argument("--harmful", metavar="FILE", type=Path, required=True, help=one)
    parser.add_argument(
        "--harmless", metavar="FILE", type=Path, required=True, help="the same, unlike them in harm alone"
    )
    parser.add_argument(
        "--refusal",
        metavar="TEXT",
        nargs="+",
        required=True,
        help="how the model's refusals begin; the paper takes first tokens",
    )
    parser.add_argument("--name", default="refusal-direction", help="default: refusal-direction")
    parser.add_argument("--licence", metavar="TEXT", required=True, help="the licence of the requests")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where to write it")
    parser.add_argument(
        "--positions", metavar="N", type=int, default=2, help="how many last positions to try (default: 2)"
    )
    parser.add_argument("--batch-size", metavar="N", type=int, default=16, help="requests at once")
    add_dtype(parser)


def run(args: argparse.Namespace) -> int:
    """Find and save it; status 1 where no direction passes. Mistakes leave as ``GuardsteerError``."""
    from guardsteer.lab.extraction.importing import About
    from guardsteer.lab.extraction.refusal import judge_refusal
    from guardsteer.lab.pairs.prompts import load_prompts
    from guardsteer.steer import save_vector

    harmful, harmless = load_prompts(args.harmful), load_prompts(args.harmless)
    model, tokenizer = load_model(args.model, args.dtype)
    found = judge_refusal(
        model,
        tokenizer,
        harmful,
        harmless,
        args.refusal,
        About(args.name, "The answer refuses.", args.licence),
        positions=args.positions,
        batch_size=args.batch_size,
        progress=_bar if sys.stderr.isatty() else None,
    )
    path = None if found.vector is None else save_vector(found.vector, args.out)
    if args.json:
        frame.emit(
            {
                "ok": path is not None,
                "path": path and str(path),
                "why_not": found.why_not,
                "chosen": found.chosen and asdict(found.chosen),
                "candidates": [asdict(one) for one in found.candidates],
            }
        )
        return int(path is None)
    print(f"{'block':>5} {'from end':>8} {'bypass':>8} {'induce':>8} {'nats':>7}")
    print("\n".join(_row(one, found.chosen) for one in found.candidates))
    print("bypass: log odds of refusing harmful requests without it; induce: harmless ones with it added;")
    print("nats: how far harmless answers move without it")
    print(path if path is not None else f"none saved: {found.why_not}")
    return int(path is None)


def _row(one: RefusalScores, chosen: RefusalScores | None) -> str:
    mark = "  chosen" if one is chosen else ""
    return (
        f"{one.block:>5} {one.position:>8} {one.bypass:>8.2f} {one.induce:>8.2f} {one.divergence:>7.3f}{mark}"
    )


def _bar(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\rjudged {done} of {total} directions", end=end, file=sys.stderr, flush=True)
