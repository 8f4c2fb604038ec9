"""What ``vectors sweep`` and ``vectors calibrate`` measure: prompts, metrics and bounds from the shell."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guardsteer.lab.measure.measuring import Bounds, Check, Parts, Study
    from guardsteer.lab.pairs.contrast import Measure
    from guardsteer.lab.pairs.prompts import Prompt

__all__ = ["add_gates", "add_study", "bounds_of", "gated", "study_of"]

_TASK_LOSS = -0.02
_LEAST_GAIN = 0.05


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what is measured."""
    add = parser.add_argument
    add(
        "--recipe",
        metavar="DIR",
        help="recipe that gives the prompts: its own file, or its tuning and test pairs",
    )
    add(
        "--prompts",
        metavar="FILE",
        type=Path,
        help="prompts, one a line or JSON Lines, in place of the recipe's",
    )
    add("--test-prompts", metavar="FILE", type=Path, help="prompts to judge on (default: half of --prompts)")
    add(
        "--metric",
        help="vader, classifier:NAME, regex:PATTERN, python:MODULE:FUNCTION, or another that `vectors "
        "metrics` lists (default: the recipe's, with its direction, gain and perplexity ratio)",
    )
    add("--lower", action="store_true", help="the metric should fall")
    add("--subtract", action="store_true", help="subtract the vector in place of adding it")
    add("--task", metavar="METRIC", help="metric that must not fall on --task-prompts, such as expected")
    add("--task-prompts", metavar="FILE", type=Path, help="default: the prompts themselves")
    add(
        "--watch",
        metavar="METRIC",
        nargs="+",
        default=[],
        help="metrics whose change is told, without a bound",
    )
    add("--gain", type=float, help=f"least gain, in the metric's units (default: {_LEAST_GAIN})")
    add("--perplexity-ratio", type=float, help="highest (default: 1.5)")
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


def add_gates(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what a push must not cost beside the goal's own prompts."""
    add = parser.add_argument
    add(
        "--off-target",
        metavar="FILE",
        type=Path,
        help="prompts that should stay as they are, for the divergence (default: ordinary ones that ship)",
    )
    add(
        "--kl",
        metavar="NATS",
        type=float,
        help="highest mean divergence a token on off-target prompts (default: 0.4)",
    )
    add("--refusal", metavar="METRIC", help="metric of refusing (default: refusing)")
    add(
        "--safe-prompts",
        metavar="FILE",
        type=Path,
        help="prompts on which refusals must not rise (default: those that ship)",
    )
    add(
        "--instructions",
        metavar="FILE",
        type=Path,
        help="JSON Lines with `expect`: what the bare model follows must be kept (default: those that ship)",
    )
    add(
        "--side-effect",
        metavar="X",
        type=float,
        help="largest change of another trait's probability (default: told, without a bound)",
    )
    add("--no-gates", action="store_true", help="leave out the prompts, checks and traits that ship")


def study_of(args: argparse.Namespace) -> Study:
    """Return the study, without the gates; ``AssetError`` for files and metrics that cannot be used."""
    from guardsteer.errors import AssetError
    from guardsteer.lab.measure.measuring import Check, Goal, Study
    from guardsteer.lab.measure.metrics import metric_named

    measure = _measure(args)
    name = args.metric or (measure.metric if measure is not None else "")
    if not name:
        raise AssetError("give --metric, since no recipe says by which its vector is judged")
    up = not args.lower if args.metric or measure is None else measure.up != args.lower
    checks: list[Check] = []
    if args.task:
        on = _parts(args.task_prompts, args.limit)
        checks.append(Check("task", metric_named(args.task), _TASK_LOSS, None, on))
    checks += [Check(name, metric_named(name)) for name in args.watch]
    return Study(goal=Goal(name, metric_named(name), up=up), prompts=_prompts(args), checks=tuple(checks))


def gated(args: argparse.Namespace, study: Study, *, of: str) -> Study:
    """Return the study with the gates that were asked for, for the vector ``of``; raises as ``study_of``."""
    from guardsteer.lab.measure.gates import instructions_check, refusals_check, with_gates
    from guardsteer.lab.measure.metrics import metric_named
    from guardsteer.lab.metrics.text import refusing

    checks: list[Check] = []
    if args.refusal or args.safe_prompts:
        metric = metric_named(args.refusal) if args.refusal else refusing
        checks.append(refusals_check(metric, _parts(args.safe_prompts, args.limit)))
    if args.instructions:
        checks.append(instructions_check(_parts(args.instructions, args.limit)))
    off_target = _parts(args.off_target, args.limit)
    found = replace(study, off_target=off_target, checks=(*study.checks, *checks))
    return found if args.no_gates else with_gates(found, of=of)


def bounds_of(args: argparse.Namespace) -> Bounds:
    """Return the bounds: those given, else the recipe's, else the usual ones."""
    from guardsteer.lab.measure.measuring import BOUNDS

    measure = None if args.metric else _measure(args)
    given = {
        "gain": args.gain,
        "perplexity_ratio": args.perplexity_ratio,
        "kl_nats": getattr(args, "kl", None),
    }
    for name in ("gain", "perplexity_ratio"):
        if given[name] is None and measure is not None:
            given[name] = getattr(measure, name)
    known = {name: value for name, value in given.items() if value is not None}
    return replace(BOUNDS, **known, side_effect=getattr(args, "side_effect", None))


def _measure(args: argparse.Namespace) -> Measure | None:
    from guardsteer.cli.recipes import recipe_folder
    from guardsteer.lab.recipes.recipe import load_recipe

    return None if args.recipe is None else load_recipe(recipe_folder(args.recipe)).measure


def _prompts(args: argparse.Namespace) -> Parts:
    from guardsteer.cli.recipes import recipe_folder
    from guardsteer.errors import AssetError
    from guardsteer.lab.measure.measuring import Parts
    from guardsteer.lab.pairs.prompts import few, load_prompts, recipe_prompts
    from guardsteer.lab.recipes.recipe import load_recipe

    if args.prompts is None and args.recipe is None:
        raise AssetError("give --prompts FILE, or --recipe DIR for the prompts of its pairs")
    if args.prompts is None:
        folder = recipe_folder(args.recipe)
        recipe = load_recipe(folder)
        if recipe.measure is not None and recipe.measure.prompts is not None and args.test_prompts is None:
            return _split(load_prompts(folder / recipe.measure.prompts), args.limit)
        tuning, test = recipe_prompts(recipe)
        if args.test_prompts is not None:
            test = load_prompts(args.test_prompts)
        return Parts(few(tuning, args.limit), few(test, args.limit))
    if args.test_prompts is None:
        return _split(load_prompts(args.prompts), args.limit)
    tuning, test = load_prompts(args.prompts), load_prompts(args.test_prompts)
    return Parts(few(tuning, args.limit), few(test, args.limit))


def _parts(path: Path | None, limit: int) -> Parts | None:
    from guardsteer.lab.pairs.prompts import load_prompts

    return None if path is None else _split(load_prompts(path), limit)


def _split(prompts: tuple[Prompt, ...], limit: int) -> Parts:
    from guardsteer.lab.measure.measuring import Parts
    from guardsteer.lab.pairs.prompts import few, split_prompts

    tuning, test = split_prompts(prompts)
    return Parts(few(tuning, limit), few(test, limit))
