"""``guardsteer prepare``: build, calibrate and bind everything that a policy needs for a model."""

from __future__ import annotations

import argparse
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from guardsteer.cli import frame
from guardsteer.cli.models import add_dtype
from guardsteer.errors import RequestError

if TYPE_CHECKING:
    from guardsteer.lab.measure.measuring import Parts
    from guardsteer.lab.prepare.prepare import Metrics, Settings

__all__ = ["register", "run"]


def register(subparsers: frame.Subparsers) -> None:
    """Add ``prepare``."""
    parser = frame.add_command(
        subparsers,
        "prepare",
        "build, calibrate and bind everything that a policy needs for a model",
        "guardsteer prepare --model models/my-chat --policy support --out prepared",
    )
    add = parser.add_argument
    add("--model", required=True, metavar="PATH", help="folder or hub id of a causal LM")
    add("--policy", required=True, metavar="PATH", help="policy file, folder with policy.yaml, or a name")
    add(
        "--out",
        required=True,
        metavar="DIR",
        type=Path,
        help="gets vectors/, classifiers/, prepared.json and prepared.html; then a root of assets",
    )
    add(
        "--in-place",
        action="store_true",
        help="write artifacts into the folders of the recipes instead, to publish them there",
    )
    add(
        "--assets",
        type=Path,
        metavar="DIR",
        action="append",
        default=[],
        help="look here, too, for recipes, classifiers and policies; repeatable",
    )
    add_dtype(parser)
    add(
        "--metric",
        metavar="[NAME=]METRIC",
        action="append",
        default=[],
        help="what judges the recipe NAME's vector, or all others, in place of the recipe's own: vader, "
        "words, classifier:NAME, regex:PATTERN, python:MODULE:FUNCTION",
    )
    add(
        "--lower",
        metavar="NAME",
        action="append",
        default=[],
        help="the metric given for the recipe NAME should fall; repeatable",
    )
    add(
        "--no-calibration",
        action="store_true",
        help="build vectors and guess their strengths: to try a policy",
    )
    add(
        "--no-gates",
        action="store_true",
        help="leave out the ordinary, safe and checkable prompts that ship, and the other traits",
    )
    add(
        "--schedules",
        choices=("policy", "all"),
        default="policy",
        help="how long a push may act: as the policy has it (all others where that fails), or all at once",
    )
    add("--prompts", metavar="FILE", type=Path, help="prompts to calibrate on, in place of the recipes' own")
    add("--gain", type=float, help="least gain, in the metric's units (default: the recipe's, else 0.05)")
    add("--perplexity-ratio", type=float, help="highest (default: the recipe's, else 1.5)")
    add("--strengths", metavar="S", type=float, nargs="+", help="strengths to try (default: 0.1 to 1.0)")
    add("--controls", metavar="N", type=int, default=3, help="random vectors (default: 3)")
    add("--limit", metavar="N", type=int, default=100, help="at most so many prompts a part (default: 100)")
    add("--new-tokens", metavar="N", type=int, default=48, help="longest reply (default: 48)")
    add("--batch-size", metavar="N", type=int, default=32, help="rows at once (default: 32)")
    add("--seed", metavar="N", type=int, default=0, help="of the random vectors (default: 0)")
    add("--again", action="store_true", help="make anew what is there, too")
    add("--threads", type=int, metavar="N", help="threads of torch; default: torch's own")


def run(args: argparse.Namespace) -> int:
    """Prepare; status 1 where the policy cannot run or leaves a window. Mistakes are ``GuardsteerError``."""
    from guardsteer.assets import Catalog
    from guardsteer.cli.models import load_model
    from guardsteer.lab.prepare.prepare import PAGE, prepare
    from guardsteer.lab.prepare.settings import check_settings

    if args.threads is not None:
        import torch

        torch.set_num_threads(args.threads)
    settings = _settings(args)
    check_settings(settings)
    catalog = Catalog(args.assets)
    frame.progress(f"loading {args.model}")
    model, tokenizer = load_model(args.model, args.dtype)
    report = prepare(
        model, tokenizer, args.policy, args.out, settings, catalog=catalog, progress=frame.progress
    )
    page = args.out / PAGE
    if args.json:
        frame.emit({**report.to_json(), "report": str(page)})
        return 0 if report.ok else 1
    print("\n".join([*report.lines(), f"report: {page}"]))
    if report.runs:
        print(f"run it: {shlex.join(_run_words(args))}")
    return 0 if report.ok else 1


def _run_words(args: argparse.Namespace) -> list[str]:
    words = ["guardsteer", "run", "--model", args.model, "--policy", args.policy]
    for root in [args.out, *args.assets]:
        words += ["--assets", str(root)]
    return words if args.dtype is None else [*words, "--dtype", args.dtype]


def _settings(args: argparse.Namespace) -> Settings:
    from guardsteer.lab.prepare.prepare import Settings
    from guardsteer.lab.tuning.calibrate import STRENGTHS
    from guardsteer.lab.tuning.sweep import STRENGTHS as SWEEP_STRENGTHS

    return Settings(
        metrics=_metrics(args.metric, args.lower),
        gain=_above(args.gain, "--gain", 0.0),
        perplexity_ratio=_above(args.perplexity_ratio, "--perplexity-ratio", 1.0),
        prompts=_prompts(args.prompts),
        strengths=tuple(args.strengths or STRENGTHS),
        sweep_strengths=tuple(args.strengths or SWEEP_STRENGTHS),
        schedules=args.schedules,
        controls=args.controls,
        limit=args.limit,
        new_tokens=args.new_tokens,
        batch_size=args.batch_size,
        seed=args.seed,
        calibrate=not args.no_calibration,
        gates=not args.no_gates,
        in_place=args.in_place,
        again=args.again,
    )


def _metrics(given: list[str], lower: list[str]) -> Metrics:
    from guardsteer.lab.measure.metrics import metric_named
    from guardsteer.lab.prepare.prepare import Metrics

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
    return Metrics(of, every, frozenset(lower))


def _above(given: float | None, option: str, least: float) -> float | None:
    if given is None or (math.isfinite(given) and given > least):
        return given
    raise RequestError(f"{option}: got {given:g}, expected a number above {least:g}")


def _prompts(path: Path | None) -> Parts | None:
    from guardsteer.lab.measure.measuring import Parts
    from guardsteer.lab.pairs.prompts import load_prompts, split_prompts

    return None if path is None else Parts(*split_prompts(load_prompts(path)))
