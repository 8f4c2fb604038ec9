"""``guardsteer prepare``: build, calibrate and bind everything that a policy needs for a model."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from guardsteer.cli import frame
from guardsteer.errors import RequestError

if TYPE_CHECKING:
    from guardsteer.lab.measuring import Parts
    from guardsteer.lab.prepare import Metrics, Settings

__all__ = ["register", "run"]


def register(subparsers: frame.Subparsers) -> None:
    """Add ``prepare``."""
    parser = frame.add_command(
        subparsers,
        "prepare",
        "build, calibrate and bind everything that a policy needs for a model",
        "guardsteer prepare --model models/my-chat --policy support --out prepared --metric empathy=vader",
    )
    add = parser.add_argument
    add("--model", required=True, metavar="PATH", help="folder or hub id of a causal LM")
    add("--policy", required=True, metavar="PATH", help="policy file, folder with policy.yaml, or a name")
    add(
        "--out", required=True, metavar="DIR", type=Path, help="gets vectors/NAME/artifacts; a root of assets"
    )
    add(
        "--metric",
        metavar="[NAME=]METRIC",
        action="append",
        default=[],
        help="what judges the recipe NAME's vector, or all others: vader, classifier:NAME, regex:PATTERN, "
        "python:MODULE:FUNCTION; without one, a vector is built and not calibrated",
    )
    add("--prompts", metavar="FILE", type=Path, help="prompts to calibrate on, in place of the recipes' own")
    add("--gain", type=float, default=0.05, help="least gain, in the metric's units (default: 0.05)")
    add("--perplexity-ratio", type=float, default=1.5, help="highest (default: 1.5)")
    add("--strengths", metavar="S", type=float, nargs="+", help="strengths to try (default: 0.1 to 1.0)")
    add("--controls", metavar="N", type=int, default=3, help="random vectors (default: 3)")
    add("--limit", metavar="N", type=int, default=100, help="at most so many prompts a part (default: 100)")
    add("--new-tokens", metavar="N", type=int, default=48, help="longest reply (default: 48)")
    add("--batch-size", metavar="N", type=int, default=32, help="rows at once (default: 32)")
    add("--seed", metavar="N", type=int, default=0, help="of the random vectors (default: 0)")
    add("--again", action="store_true", help="make anew what is there, too")
    add("--threads", type=int, metavar="N", help="threads of torch; default: torch's own")


def run(args: argparse.Namespace) -> int:
    """Prepare; status 1 where the policy still cannot run. Mistakes leave as ``GuardsteerError``."""
    from guardsteer.cli.models import load_model
    from guardsteer.lab.prepare import prepare

    if args.threads is not None:
        import torch

        torch.set_num_threads(args.threads)
    settings = _settings(args)
    frame.progress(f"loading {args.model}")
    model, tokenizer = load_model(args.model)
    report = prepare(model, tokenizer, args.policy, args.out, settings, progress=frame.progress)
    if args.json:
        frame.emit(report.to_json())
    else:
        print("\n".join(report.lines()))
        if report.ok:
            words = ["guardsteer", "run", "--model", args.model, "--policy", args.policy]
            print(f"run it: GUARDSTEER_ASSETS={shlex.quote(str(args.out))} {shlex.join(words)}")
    return 0 if report.ok else 1


def _settings(args: argparse.Namespace) -> Settings:
    from guardsteer.lab.calibrate import STRENGTHS
    from guardsteer.lab.measuring import Bounds
    from guardsteer.lab.prepare import Settings
    from guardsteer.lab.sweep import STRENGTHS as SWEEP_STRENGTHS

    return Settings(
        metrics=_metrics(args.metric),
        bounds=Bounds(gain=args.gain, perplexity_ratio=args.perplexity_ratio),
        prompts=_prompts(args.prompts),
        strengths=tuple(args.strengths or STRENGTHS),
        sweep_strengths=tuple(args.strengths or SWEEP_STRENGTHS),
        controls=args.controls,
        limit=args.limit,
        new_tokens=args.new_tokens,
        batch_size=args.batch_size,
        seed=args.seed,
        again=args.again,
    )


def _metrics(given: list[str]) -> Metrics:
    from guardsteer.lab.metrics import metric_named
    from guardsteer.lab.prepare import Metrics

    of: dict[str, str] = {}
    every = None
    for text in given:
        name, equals, metric = text.partition("=")
        named = bool(equals) and ":" not in name
        metric_named(metric if named else text)  # before the model, which takes longer than a mistake to see
        if named:
            of[name] = metric
        elif every is None:
            every = text
        else:
            raise RequestError(
                f"--metric: {every!r} and {text!r} are both for all vectors; name one NAME=METRIC"
            )
    return Metrics(of, every)


def _prompts(path: Path | None) -> Parts | None:
    from guardsteer.lab.measuring import Parts
    from guardsteer.lab.prompts import load_prompts, split_prompts

    return None if path is None else Parts(*split_prompts(load_prompts(path)))
