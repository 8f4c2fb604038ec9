"""``guardsteer vectors trace`` shows which block and position carries what a recipe's cue does to replies."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from guardsteer.cli import frame

if TYPE_CHECKING:
    from guardsteer.lab.where.trace import Trace

__all__ = ["add", "run"]

_SITES = ("embedding", "block_input", "heads", "attention", "mlp", "block_output")
_SHOWN = 12


def add(actions: frame.Subparsers) -> None:
    """Add ``vectors trace``."""
    parser = frame.add_command(
        actions,
        "trace",
        "show which block and position carries the trait, by patching one run's states into another",
        "guardsteer vectors trace --model models/my-chat --recipe empathy --out trace",
    )
    add = parser.add_argument
    add("--model", metavar="PATH", required=True, help="folder of a chat model, or its hub id")
    add("--recipe", metavar="DIR", required=True, help="recipe folder, or a catalogue name")
    add(
        "--part",
        choices=("extraction", "tuning", "test"),
        default="extraction",
        help="which pairs (default: extraction)",
    )
    add(
        "--cue",
        choices=("system", "history"),
        help="what tells the sides apart: the pairs' system lines, or an earlier reply with the trait or "
        "without it (default: system lines where the pairs have them)",
    )
    add("--sites", choices=_SITES, nargs="+", default=["block_output"], help="default: block_output")
    add("--blocks", metavar="N", type=int, nargs="+", help="default: all that have the sites")
    add(
        "--last",
        metavar="N",
        type=int,
        default=0,
        help="trace the last N tokens of the prompt one by one as well (default: 0)",
    )
    add("--limit", metavar="N", type=int, default=64, help="at most so many pairs (default: 64)")
    add("--batch-size", metavar="N", type=int, default=32, help="rows at once (default: 32)")
    add("--seed", metavar="N", type=int, default=0, help="of the intervals (default: 0)")
    add("--out", metavar="DIR", type=Path, required=True, help="gets trace.json and trace.html")


def run(args: argparse.Namespace) -> int:
    """Trace; status 1 where the cue has no effect to trace. Mistakes leave as ``GuardsteerError``."""
    from guardsteer.cli.models import load_model
    from guardsteer.cli.recipes import recipe_folder
    from guardsteer.lab.recipes.recipe import load_recipe
    from guardsteer.lab.reports.report import save_page, trace_page
    from guardsteer.lab.where.trace import trace

    recipe = load_recipe(recipe_folder(args.recipe))
    args.out.mkdir(parents=True, exist_ok=True)  # a folder that cannot be made is told before the work
    model, tokenizer = load_model(args.model)
    found = trace(
        model,
        tokenizer,
        recipe,
        part=args.part,
        cue=args.cue,
        sites=args.sites,
        blocks=args.blocks,
        last=args.last,
        limit=args.limit,
        batch_size=args.batch_size,
        seed=args.seed,
        progress=_bar if sys.stderr.isatty() else None,
    )
    path = found.save(args.out)
    report = save_page(args.out / "trace.html", trace_page(found))
    if args.json:
        where = {"path": str(path), "report": str(report)}
        frame.emit({"ok": bool(found.cells), **where, **found.to_json()})
    else:
        print("\n".join(_table(found)))
        print(f"report  {report}")
    return 0 if found.cells else 1


def _table(found: Trace) -> list[str]:
    from guardsteer.lab.where.trace import line

    effect = found.effect
    told = (
        f"effect of the cue ({found.cue}) on {effect.rows} pairs: {effect.value:+.2f} nats "
        f"({effect.low:+.2f} to {effect.high:+.2f}), the right way in {found.right:.0%}"
    )
    lines = [told, *(f"left out  {reason}" for reason in found.left_out)]
    if not found.cells:
        return [*lines, "nothing to trace: the cue does not make the reply with the trait likelier"]
    for site in dict.fromkeys(cell.point.site for cell in found.cells):
        lines += ["", f"restored, {site}", *_grid(found, site)]
    lines += ["", "most restored and lost (95 % intervals over pairs)"]
    return [*lines, *(line(cell) for cell in found.ranked[:_SHOWN]), ""]


def _grid(found: Trace, site: str) -> list[str]:
    cells = {
        (cell.point.block, cell.segment): cell.restored.value
        for cell in found.cells
        if cell.point.site == site
    }
    widths = [max(len(segment), 6) for segment in found.segments]
    head = "  ".join(segment.rjust(width) for segment, width in zip(found.segments, widths, strict=True))
    lines = [f"{'block':>5}  {head}"]
    for block in sorted({block for block, _ in cells}):
        row = [
            (f"{cells[block, segment]:+.2f}" if (block, segment) in cells else "").rjust(width)
            for segment, width in zip(found.segments, widths, strict=True)
        ]
        lines.append(f"{block:>5}  {'  '.join(row)}")
    return lines


def _bar(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{done} of {total} patches", end=end, file=sys.stderr, flush=True)
