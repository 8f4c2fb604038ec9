"""What ``examples.dose`` found, as a Markdown table, as some replies and as a picture; and the command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from examples.dose import Dose, Step, Trial, doses, load, parts
from examples.pictures import save_picture
from examples.warm_when_hostile import talk
from guardsteer.assets import Catalog
from guardsteer.errors import GuardsteerError
from guardsteer.evaluate import Estimate
from guardsteer.lab.measure.measuring import BOUNDS, Measured
from guardsteer.lab.pairs.prompts import few, load_prompts
from guardsteer.lab.recipes.recipe import load_recipe
from guardsteer.lab.tuning.sweep import line as spot_line
from guardsteer.pages.charts import Dot, Line, chart

__all__ = ["main", "picture", "replies", "table"]

_Figure: TypeAlias = Callable[[Measured], Estimate]
_HIGHEST_RATIO = 8.0
_LONGEST = 140


def _goal(found: Measured) -> Estimate:
    return found.goal


def _gain(found: Measured) -> Estimate:
    return found.gain


def _ratio(found: Measured) -> Estimate:
    return found.perplexity_ratio


def _changed(name: str) -> _Figure:
    return lambda found: found.changes[name]


def table(trial: Trial, dose: Dose) -> Iterator[str]:
    """Yield the figures as a Markdown table, then where it saturates and where text breaks."""
    yield f"Place, on tuning prompts: {spot_line(dose.spot)}."
    yield ""
    head = ["strength", trial.goal.name, "gain", "perplexity ratio"]
    head += [*(f"{check.name}, change" for check in trial.watched), "repetition", "text breaks"]
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for step in dose.steps:
        yield f"| {' | '.join(_cells(trial, step))} |"
    yield ""
    broken = [step for step in dose.steps if step.rung.costs]
    first = f"from {broken[0].strength:g} on, {broken[0].rung.costs[0]}" if broken else "nowhere"
    yield f"Saturation: {dose.saturation or 'the trait never rises'}. Text breaks: {first}."


def _cells(trial: Trial, step: Step) -> Iterator[str]:
    """Yield a row's cells: a figure, its interval, and in square brackets what random vectors did."""
    yield f"{step.strength:g}"
    yield f"{step.measured.goal.value:.3f}"
    figures: list[tuple[_Figure, str]] = [(_gain, "{:+.3f}"), (_ratio, "{:.2f}")]
    figures += [(_changed(check.name), "{:+.3f}") for check in trial.watched]
    for figure, form in figures:
        if step.strength == 0:
            yield ""
            continue
        found = figure(step.measured)
        random = ", ".join(form.format(figure(each).value) for each in step.random)
        ends = " to ".join(form.format(end) for end in (found.low, found.high))
        yield f"{form.format(found.value)} ({ends}) [{random}]"
    yield f"{step.measured.repetition_rise.value:+.3f}"
    yield "yes" if step.rung.costs else ""


def replies(dose: Dose, count: int = 4) -> Iterator[str]:
    """Yield prompts with replies: bare, at the low and the high strength, and where the gain is highest."""
    shown = {step.strength: step for step in (dose.steps[0], dose.low, dose.high, dose.most)}
    for row in range(0, len(dose.prompts), max(1, len(dose.prompts) // count))[:count]:
        yield f"- *{_short(dose.prompts[row].text)}*"
        for strength in sorted(shown):
            yield f"  - {strength:g}: {_short(shown[strength].replies[row])}"


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST].rstrip()} …"


def picture(trial: Trial, dose: Dose, path: Path) -> Path:
    """Draw goal and perplexity by strength, beside the random vectors, and return the file's path."""
    shown: list[tuple[str, _Figure, float | None]] = [
        (trial.goal.name, _goal, None),
        (f"perplexity ratio (from {_HIGHEST_RATIO:g} on at the edge)", _ratio, BOUNDS.perplexity_ratio),
    ]
    drawn = []
    for title, figure, bound in shown:
        bare = figure(dose.steps[0].measured)
        lines = [_line(trial.recipe, [figure(step.measured) for step in dose.steps], trial.strengths)]
        for number in range(len(dose.steps[-1].random)):
            found = [bare, *(figure(step.random[number]) for step in dose.steps[1:])]
            lines.append(_line("random", found, trial.strengths, control=True))
        highest = None if bound is None else _HIGHEST_RATIO
        name = title.partition(" (")[0]
        svg = chart(lines, title=title, x_label="strength", y_label=name, bound=bound, highest=highest)
        drawn.append((title, svg, (trial.recipe, "(random vectors of equal norm)")))
    return save_picture(path, drawn)


def _line(name: str, found: Sequence[Estimate], strengths: Sequence[float], *, control: bool = False) -> Line:
    places = zip((0.0, *strengths), found, strict=True)
    if control:
        return Line(name, tuple(Dot(x, each.value) for x, each in places), control=True)
    return Line(name, tuple(Dot(x, each.value, each.low, each.high) for x, each in places))


def main(trial: Trial, about: str, module: str, arguments: Sequence[str] | None = None) -> int:
    """Run the command of the example ``module``; its status is 0, or 2 where something is missing."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    add = parser.add_argument
    add("--model", default=str(talk.MODEL), help="folder of a chat model, or 'demo' (default: %(default)s)")
    add(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="prompts to judge on, one a line (default: everyday talk)",
    )
    add("--tuning", type=int, metavar="N", help=f"prompts to choose the block on (default: {trial.tuning})")
    add("--limit", type=int, metavar="N", default=120, help="prompts to judge on at most (default: 120)")
    add("--blocks", type=int, nargs="+", metavar="N", help="blocks to choose from (default: all)")
    add("--picture", type=Path, metavar="FILE", help="draw dose and response into this .svg")
    given = parser.parse_args(arguments)
    try:
        model, tokenizer = load(given.model)
        recipe = load_recipe(Catalog().find("vectors", trial.recipe))
        taken = [pair.messages[-1]["content"] for pair in recipe.pairs]
        prompts = parts(given.model, given.tuning or trial.tuning, given.limit, taken)
        if given.prompts:
            prompts = replace(prompts, test=few(load_prompts(given.prompts), given.limit))
        dose = doses(model, tokenizer, trial, prompts, blocks=given.blocks, progress=_say)
    except GuardsteerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join([*table(trial, dose), "", *replies(dose)]))
    if given.picture:
        print(f"\n{picture(trial, dose, given.picture)}")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
