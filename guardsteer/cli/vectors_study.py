"""What ``vectors sweep`` and ``vectors calibrate`` measure: prompts, metrics and bounds from the shell."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guardsteer.lab.measuring import Bounds, Check, Parts, Study
    from guardsteer.lab.prompts import Prompt

__all__ = ["add_study", "bounds_of", "study_of"]

_REFUSALS_RISE = 0.05
_TASK_LOSS = -0.02


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what is measured."""
    add = parser.add_argument
    add("--recipe", metavar="DIR", help="recipe whose tuning and test pairs give the prompts")
    add(
        "--prompts",
        metavar="FILE",
        type=Path,
        help="prompts, one a line or JSON Lines, in place of the recipe's",
    )
    add("--test-prompts", metavar="FILE", type=Path, help="prompts to judge on (default: half of --prompts)")
    add(
        "--metric",
        required=True,
        help="vader, classifier:NAME, regex:PATTERN, expected, python:MODULE:FUNCTION",
    )
    add("--lower", action="store_true", help="the metric should fall")
    add("--subtract", action="store_true", help="subtract the vector in place of adding it")
    add(
        "--off-target",
        metavar="FILE",
        type=Path,
        help="prompts that should stay as they are, for the divergence",
    )
    add("--refusal", metavar="METRIC", help="metric of refusing, which must not rise on --safe-prompts")
    add("--safe-prompts", metavar="FILE", type=Path, help="default: the prompts themselves")
    add("--task", metavar="METRIC", help="metric that must not fall on --task-prompts, such as expected")
    add("--task-prompts", metavar="FILE", type=Path, help="default: the prompts themselves")
    add(
        "--watch",
        metavar="METRIC",
        nargs="+",
        default=[],
        help="metrics whose change is told, without a bound",
    )
    add("--gain", type=float, default=0.05, help="least gain, in the metric's units (default: 0.05)")
    add("--perplexity-ratio", type=float, default=1.5, help="highest (default: 1.5)")
    add(
        "--kl", metavar="NATS", type=float, help="highest mean divergence on --off-target (default: no bound)"
    )
    add(
        "--blocks",
        metavar="N",
        type=int,
        nargs="+",
        help="blocks to try (default: all; calibrate: the best two)",
    )
    add("--limit", metavar="N", type=int, default=150, help="at most so many prompts a part (default: 150)")
    add("--new-tokens", metavar="N", type=int, default=48, help="longest reply (default: 48)")
    add("--batch-size", metavar="N", type=int, default=32, help="rows at once (default: 32)")
    add("--seed", metavar="N", type=int, default=0, help="of the random vectors (default: 0)")


def study_of(args: argparse.Namespace) -> Study:
    """Return the study; ``AssetError`` for files and metrics that cannot be used."""
    from guardsteer.lab.measuring import Check, Goal, Study
    from guardsteer.lab.metrics import metric_named

    checks: list[Check] = []
    if args.refusal:
        on = _parts(args.safe_prompts, args.limit)
        checks.append(Check("refusals", metric_named(args.refusal), None, _REFUSALS_RISE, on))
    if args.task:
        on = _parts(args.task_prompts, args.limit)
        checks.append(Check("task", metric_named(args.task), _TASK_LOSS, None, on))
    checks += [Check(name, metric_named(name)) for name in args.watch]
    return Study(
        goal=Goal(args.metric, metric_named(args.metric), up=not args.lower),
        prompts=_prompts(args),
        off_target=_parts(args.off_target, args.limit),
        checks=tuple(checks),
    )


def bounds_of(args: argparse.Namespace) -> Bounds:
    """Return the bounds."""
    from guardsteer.lab.measuring import Bounds

    return Bounds(gain=args.gain, perplexity_ratio=args.perplexity_ratio, kl_nats=args.kl)


def _prompts(args: argparse.Namespace) -> Parts:
    from guardsteer.cli.recipes import recipe_folder
    from guardsteer.errors import AssetError
    from guardsteer.lab.measuring import Parts
    from guardsteer.lab.prompts import few, load_prompts, recipe_prompts
    from guardsteer.lab.recipe import load_recipe

    if args.prompts is None and args.recipe is None:
        raise AssetError("give --prompts FILE, or --recipe DIR for the prompts of its pairs")
    if args.prompts is None:
        tuning, test = recipe_prompts(load_recipe(recipe_folder(args.recipe)))
        if args.test_prompts is not None:
            test = load_prompts(args.test_prompts)
        return Parts(few(tuning, args.limit), few(test, args.limit))
    if args.test_prompts is None:
        return _split(load_prompts(args.prompts), args.limit)
    tuning, test = load_prompts(args.prompts), load_prompts(args.test_prompts)
    return Parts(few(tuning, args.limit), few(test, args.limit))


def _parts(path: Path | None, limit: int) -> Parts | None:
    from guardsteer.lab.prompts import load_prompts

    return None if path is None else _split(load_prompts(path), limit)


def _split(prompts: tuple[Prompt, ...], limit: int) -> Parts:
    from guardsteer.lab.measuring import Parts
    from guardsteer.lab.prompts import few, split_prompts

    tuning, test = split_prompts(prompts)
    return Parts(few(tuning, limit), few(test, limit))
