"""``vectors sweep`` finds where a vector steers, ``vectors calibrate`` how strongly and for how long."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardsteer.cli import frame
from guardsteer.cli.vectors_study import add_gates, add_study, bounds_of, gated, study_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guardsteer.core.policy import ScheduleSpec
    from guardsteer.lab.measure.measuring import Measured, Study
    from guardsteer.lab.tuning.calibrate import Place
    from guardsteer.lab.tuning.sweep import Sweep
    from guardsteer.steer import Vector

__all__ = ["add_calibrate", "add_sweep", "run_calibrate", "run_sweep"]

_SITES = ("embedding", "block_input", "heads", "attention", "mlp", "block_output")
_PLACES = 2
_SWEEP_PROMPTS = 60


def add_sweep(actions: frame.Subparsers) -> None:
    """Add ``vectors sweep``."""
    parser = frame.add_command(
        actions,
        "sweep",
        "rank blocks, sites and positions by what steering there does to replies",
        "guardsteer vectors sweep --model models/my-chat --recipe empathy --metric vader --out sweep",
    )
    parser.add_argument("--model", metavar="PATH", required=True, help="a chat model")
    parser.add_argument("--vector", metavar="PATH", type=Path, nargs="+", help="vectors, one for each site")
    parser.add_argument(
        "--sites",
        choices=_SITES,
        nargs="+",
        default=["block_output"],
        help="without --vector: where to extract",
    )
    add_study(parser)
    parser.add_argument("--strengths", metavar="S", type=float, nargs="+", help="default: 0.2 0.4 0.6")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="gets sweep.json and sweep.html"
    )


def add_calibrate(actions: frame.Subparsers) -> None:
    """Add ``vectors calibrate``."""
    parser = frame.add_command(
        actions,
        "calibrate",
        "find a vector's usable strengths, and put them on its card if they hold on unseen prompts",
        "guardsteer vectors calibrate --model models/my-chat --vector warmth.safetensors --recipe warmth "
        "--metric vader",
    )
    parser.add_argument("--model", metavar="PATH", required=True, help="a chat model")
    parser.add_argument("--vector", metavar="PATH", type=Path, required=True, help="its .safetensors file")
    add_study(parser)
    add_gates(parser)
    parser.add_argument("--strengths", metavar="S", type=float, nargs="+", help="default: 0.1 to 1.0")
    parser.add_argument(
        "--half-lives",
        metavar="N",
        type=float,
        nargs="*",
        default=[3.0, 8.0],
        help="in tokens (default: 3 8)",
    )
    parser.add_argument("--controls", metavar="N", type=int, default=3, help="random vectors (default: 3)")
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="gets the vector if it is published, calibration.json and calibration.html (default: beside it)",
    )


def run_sweep(args: argparse.Namespace) -> int:
    """Sweep; status 1 where steering helps nowhere. Mistakes leave as ``GuardsteerError``."""
    from guardsteer.cli.models import load_model
    from guardsteer.lab.reports.report import save_page, sweep_page
    from guardsteer.lab.tuning.sweep import STRENGTHS, table

    study = study_of(args)
    model, tokenizer = load_model(args.model)
    vectors = _vectors(args, model, tokenizer)
    found = _swept(args, model, tokenizer, vectors, study, args.strengths or STRENGTHS)
    path = found.save(args.out)
    report = save_page(args.out / "sweep.html", sweep_page(found))
    best = found.recommended[:_PLACES]
    if args.json:
        spots = [spot.to_json() for spot in found.spots]
        frame.emit({"ok": bool(best), "path": str(path), "report": str(report), "spots": spots})
        return 0 if best else 1
    print("\n".join(table(found)))
    print(f"report  {report}")
    return 0 if best else 1


def run_calibrate(args: argparse.Namespace) -> int:
    """Calibrate; status 1 where the vector fails its bounds. Mistakes leave as ``GuardsteerError``."""
    from guardsteer.cli.models import load_model
    from guardsteer.errors import VectorError
    from guardsteer.host import fingerprint
    from guardsteer.lab.reports.report import calibration_page, save_page
    from guardsteer.lab.tuning.calibrate import STRENGTHS, Search, calibrate
    from guardsteer.steer import load_vector, save_vector

    study = study_of(args)
    # Before the model, which takes longer to load than a mistake to see.
    whole = gated(args, study, of=load_vector(args.vector, fingerprint=None).name)
    model, tokenizer = load_model(args.model)
    vector = load_vector(args.vector, fingerprint=fingerprint(model, tokenizer))
    try:
        places = _places(args, model, tokenizer, vector, study)
    except VectorError as error:
        if args.blocks is not None:
            raise
        print(f"not published: {error}; see sweep.html", file=sys.stderr)
        if args.json:
            frame.emit({"ok": False, "published": False, "reasons": [str(error)]})
        return 1
    search = Search(
        places=places,
        strengths=tuple(args.strengths or STRENGTHS),
        schedules=_schedules(args.half_lives),
        subtract=args.subtract,
        controls=args.controls,
        seed=args.seed,
    )
    found = calibrate(
        model,
        tokenizer,
        vector,
        whole,
        search,
        bounds_of(args),
        new_tokens=args.new_tokens,
        batch_size=args.batch_size,
        progress=frame.progress,
    )
    out = args.out or args.vector.parent
    path = found.save(out)
    report = save_page(out / "calibration.html", calibration_page(found))
    published = save_vector(found.publish(vector), out) if found.verdict.publish else None
    if args.json:
        told = found.to_json()
        where = {"path": str(path), "report": str(report), "vector_path": published and str(published)}
        names = ("published", "reasons", "window", "saturation", "held_out", "side_effects", "unjudged")
        short = {name: told[name] for name in names}
        frame.emit({"ok": found.verdict.publish, **where, **short})
    else:
        print("\n".join(_told(found, report)))
    return 0 if found.verdict.publish else 1


def _told(found: Any, report: Path) -> list[str]:
    from guardsteer.lab.tuning.calibrate import line

    window, held_out = found.window, found.held_out
    lines = ["published" if found.verdict.publish else "not published"]
    lines += [f"  {reason}" for reason in found.verdict.reasons]
    if window is not None:
        lines.append(f"window     {window.low:g} to {window.high:g}, recommended {window.recommended:g}")
    lines.append(f"saturation {found.saturation}")
    if held_out is not None:
        random = ", ".join(f"{each.value:+.3f}" for each in held_out.controls)
        lines += [f"test       {line(held_out.measured, held_out.costs)}", f"random     {random}"]
        lines += [f"cost       {cost}" for cost in _costs(held_out.measured)]
    if found.side_effects:
        moved = [f"{each.trait} {each.change.value:+.3f}" for each in found.side_effects if each.moved]
        told = ", ".join(moved) or "none more than by random pushes"
        lines.append(f"traits     of {len(found.side_effects)} others moved: {told}")
    lines += [f"not judged {note}" for note in found.unjudged]
    return [*lines, f"report     {report}"]


def _costs(found: Measured) -> list[str]:
    costs = [f"repetition {found.repetition_rise.value:+.3f}", f"length x{found.length_ratio.value:.2f}"]
    if found.kl_nats is not None:
        costs.append(f"off-target KL {found.kl_nats.value:.3f} nats")
    return [", ".join([*costs, *(f"{name} {each.value:+.3f}" for name, each in found.changes.items())])]


def _places(
    args: argparse.Namespace, model: Any, tokenizer: Any, vector: Vector, study: Study
) -> tuple[Place, ...]:
    """Return where to calibrate: at the given blocks, or where a sweep finds that steering helps most."""
    from guardsteer.lab.pairs.prompts import few
    from guardsteer.lab.reports.report import save_page, sweep_page
    from guardsteer.lab.tuning.calibrate import Place
    from guardsteer.lab.tuning.sweep import POSITIONS, STRENGTHS

    if args.blocks is not None:
        return tuple(Place((block,), where) for block in args.blocks for where in POSITIONS[::2])
    given = args.strengths or ()
    some = sorted({given[len(given) // 3], given[2 * len(given) // 3]}) if given else STRENGTHS
    # A sweep only has to tell good places from bad ones, so fewer prompts do.
    tuning = few(study.prompts.tuning, _SWEEP_PROMPTS)
    brief = replace(study, prompts=replace(study.prompts, tuning=tuning))
    found = _swept(args, model, tokenizer, [vector], brief, some)
    out = args.out or args.vector.parent
    found.save(out)
    save_page(out / "sweep.html", sweep_page(found))
    return found.places(vector.card.site, _PLACES)


def _swept(
    args: argparse.Namespace,
    model: Any,
    tokenizer: Any,
    vectors: list[Vector],
    study: Study,
    strengths: Sequence[float],
) -> Sweep:
    from guardsteer.lab.tuning.sweep import sweep

    return sweep(
        model,
        tokenizer,
        vectors,
        study,
        bounds_of(args),
        blocks=args.blocks,
        strengths=strengths,
        subtract=args.subtract,
        seed=args.seed,
        new_tokens=args.new_tokens,
        batch_size=args.batch_size,
        progress=frame.progress,
    )


def _vectors(args: argparse.Namespace, model: Any, tokenizer: Any) -> list[Vector]:
    from guardsteer.cli.recipes import recipe_folder
    from guardsteer.errors import VectorError
    from guardsteer.host import fingerprint
    from guardsteer.lab.extraction.extract import extract
    from guardsteer.lab.recipes.recipe import load_recipe
    from guardsteer.steer import load_vector

    if args.vector:
        identity = fingerprint(model, tokenizer)
        return [load_vector(path, fingerprint=identity) for path in args.vector]
    if args.recipe is None:
        raise VectorError("give --vector, or --recipe to extract one for each of --sites")
    recipe = load_recipe(recipe_folder(args.recipe))
    return [extract(model, tokenizer, recipe, site=site) for site in args.sites]


def _schedules(half_lives: list[float]) -> tuple[ScheduleSpec | None, ...]:
    from guardsteer.core.policy import ScheduleSpec

    decaying = [ScheduleSpec(half_life=tokens) for tokens in half_lives]
    return (None, *decaying, ScheduleSpec(until_sentence_end=True))
