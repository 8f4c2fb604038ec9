"""``vectors compose``: what vectors do together that are meant to be used together."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardsteer.cli import frame
from guardsteer.cli.models import add_dtype, load_model

if TYPE_CHECKING:
    from guardsteer.assets import Catalog
    from guardsteer.host import Fingerprint
    from guardsteer.lab.pairs.prompts import Prompt
    from guardsteer.lab.tuning.composition import Composition
    from guardsteer.lab.tuning.uses import Uses

__all__ = ["add", "run"]


def add(actions: frame.Subparsers) -> None:
    """Add ``vectors compose``."""
    parser = frame.add_command(
        actions,
        "compose",
        "measure vectors alone and every two together: cosines, what each still does, what both cost",
        "guardsteer vectors compose demo-empathy demo-sycophancy --subtract demo-sycophancy "
        "--model models/my-chat --out together",
    )
    add_argument = parser.add_argument
    add_argument(
        "vectors", metavar="VECTOR", nargs="*", help="names, folders of recipes or .safetensors files"
    )
    add_argument(
        "--policy", metavar="PATH", help="in place of VECTOR: those that this policy may use at once"
    )
    add_argument("--model", metavar="PATH", required=True, help="the model that the vectors were read from")
    add_dtype(parser)
    add_argument(
        "--assets",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="a folder of assets to look in",
    )
    add_argument(
        "--metric",
        metavar="NAME=METRIC",
        nargs="+",
        default=[],
        help="what a vector should move, as for calibrate (default: what its recipe is judged by)",
    )
    add_argument("--lower", metavar="NAME", nargs="+", default=[], help="vectors that should lower --metric")
    add_argument(
        "--strength", metavar="NAME=S", nargs="+", default=[], help="default: what the card recommends"
    )
    add_argument("--subtract", metavar="NAME", nargs="+", default=[], help="vectors to subtract")
    add_argument(
        "--prompts", metavar="FILE", type=Path, help="default: the test prompts of the vectors' recipes"
    )
    add_argument("--limit", metavar="N", type=int, default=150, help="at most so many prompts (default: 150)")
    add_argument("--new-tokens", metavar="N", type=int, default=48, help="longest reply (default: 48)")
    add_argument("--batch-size", metavar="N", type=int, default=32, help="rows at once (default: 32)")
    add_argument("--out", metavar="DIR", type=Path, help="gets composition.json and composition.html")


def run(args: argparse.Namespace) -> int:
    """Measure, print and report; status 1 where some fight. Mistakes leave as ``GuardsteerError``."""
    from guardsteer.assets import Catalog
    from guardsteer.errors import VectorError
    from guardsteer.host import fingerprint
    from guardsteer.lab.measure.effects import Bench
    from guardsteer.lab.metrics.model import bound
    from guardsteer.lab.tuning.composition import compose
    from guardsteer.lab.tuning.uses import goals_of

    if bool(args.vectors) == (args.policy is not None):
        raise VectorError("vectors compose: give two or more VECTOR, or --policy, one of the two")
    if args.policy is not None and (args.strength or args.subtract):
        raise VectorError("vectors compose: with --policy its rules say how strongly and which way")
    catalog = Catalog(args.assets)
    strengths = _numbers(args.strength)
    metrics = dict(_named(each, "--metric") for each in args.metric)
    model, tokenizer = load_model(args.model, args.dtype)
    uses = _uses(args, model, fingerprint(model, tokenizer), catalog, strengths)
    goals = {
        name: replace(goal, metric=bound(goal.metric, model, tokenizer))
        for name, goal in goals_of(uses, metrics, args.lower, catalog).items()
    }
    prompts = _prompts(args, uses)
    bench = Bench(
        model, tokenizer, dict(uses.vectors), new_tokens=args.new_tokens, batch_size=args.batch_size
    )
    with bench:
        found = compose(
            bench,
            uses.pushes,
            goals,
            prompts,
            together=uses.together,
            budget=uses.budget,
            progress=frame.progress,
        )
    return _report(args, found, uses)


def _uses(
    args: argparse.Namespace,
    model: Any,
    identity: Fingerprint,
    catalog: Catalog,
    strengths: dict[str, float],
) -> Uses:
    from guardsteer.assets import find_policy
    from guardsteer.classify import outputs_of
    from guardsteer.lab.tuning.uses import uses_of_policy, uses_of_vectors
    from guardsteer.rules import load_policy

    if args.policy is None:
        return uses_of_vectors(args.vectors, identity, catalog, strengths=strengths, subtract=args.subtract)
    path = find_policy(args.policy, catalog)
    base = path if path.is_dir() else path.parent
    policy = load_policy(path, outputs=lambda spec: outputs_of(spec, base, catalog))
    return uses_of_policy(policy, model, identity, catalog)


def _prompts(args: argparse.Namespace, uses: Uses) -> tuple[Prompt, ...]:
    """Return the prompts of --prompts, or as many of each recipe's test prompts."""
    from guardsteer.errors import AssetError
    from guardsteer.lab.pairs.prompts import few, load_prompts, recipe_prompts

    if args.prompts is not None:
        return few(load_prompts(args.prompts), args.limit)
    recipes = {recipe.name: recipe for recipe in uses.recipes.values()}
    if not recipes:
        raise AssetError("no vector has a recipe beside it; give --prompts FILE")
    share = max(args.limit // len(recipes), 1)
    found = [few(recipe_prompts(recipe)[1], share) for recipe in recipes.values()]
    return tuple(prompt for prompts in found for prompt in prompts)


def _report(args: argparse.Namespace, found: Composition, uses: Uses) -> int:
    import json

    from guardsteer.lab.reports.report import composition_page, save_page

    told = found.to_json()
    paths = {}
    if args.out is not None:
        report = save_page(args.out / "composition.html", composition_page(found))
        path = args.out / "composition.json"
        path.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        paths = {"path": str(path), "report": str(report)}
    if args.json:
        frame.emit({"ok": not found.warnings, **paths, "left_out": list(uses.left_out), **told})
        return 1 if found.warnings else 0
    print("\n".join(_lines(told)))
    for left_out in uses.left_out:
        print(f"left out: {left_out}")
    for warning in found.warnings:
        print(f"warning: {warning}")
    for name, value in paths.items():
        print(f"{name:<7} {value}")
    return 1 if found.warnings else 0


def _lines(told: dict[str, Any]) -> list[str]:
    """Return the table: for each pair, the cosines, and what each goal gains."""
    goals = {effect["owner"]: effect["goal"] for pair in told["pairs"] for effect in pair["effects"]}
    lines = []
    for name, push in told["pushes"].items():
        blocks, positions = ", ".join(map(str, push["blocks"])), ", ".join(push["positions"])
        lines.append(
            f"{name}: strength {push['strength']:+g} on blocks {blocks} at {positions}, {push['for']}"
        )
        lines.append(f"  judged by {goals.get(name, 'nothing')}")
    for pair in told["pairs"]:
        shared = ", ".join(f"block {block} {value:+.2f}" for block, value in pair["cosines"].items())
        lines += ["", f"{pair['first']} + {pair['second']}: cosine {shared or 'none, they share no block'}"]
        heads = ("first alone", "second alone", "together", "kept beside")
        lines.append(f"  {'gain':<26}" + "".join(f"{head:>26}" for head in heads))
        for effect in pair["effects"]:
            cells = [_figure(effect[name]) for name in ("first", "second", "together", "kept")]
            lines.append(f"  {_short(effect['owner']):<26}" + "".join(f"{cell:>26}" for cell in cells))
        ratios = [_figure(pair["perplexity_ratio"][name], ".2f") for name in ("first", "second", "together")]
        lines.append(f"  {'perplexity, times bare':<26}" + "".join(f"{ratio:>26}" for ratio in ratios))
    return [*lines, "", f"on {told['prompts']} prompts, 95 % intervals; kept: together less the goal's own"]


def _figure(found: dict[str, float], form: str = "+.2f") -> str:
    return f"{found['value']:{form}} ({found['low']:{form}} to {found['high']:{form}})"


def _short(text: str) -> str:
    return text if len(text) <= 26 else f"{text[:25]}…"


def _named(text: str, option: str) -> tuple[str, str]:
    from guardsteer.errors import VectorError

    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise VectorError(f"{option}: got {text!r}, expected NAME=VALUE, such as empathy=vader")
    return name, value


def _numbers(given: list[str]) -> dict[str, float]:
    import math

    from guardsteer.errors import VectorError

    found = {}
    for text in given:
        name, value = _named(text, "--strength")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = math.nan
        if not (math.isfinite(found[name]) and found[name] > 0):
            raise VectorError(f"--strength: got {text!r}, expected NAME=S with a number above 0")
    return found
