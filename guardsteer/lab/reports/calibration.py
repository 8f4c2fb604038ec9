"""How strongly to steer and for how long, on a page: dose and response, costs, side effects, examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from guardsteer.lab.reports.traits import traits_part, unjudged_part
from guardsteer.pages.charts import Dot, Line, chart
from guardsteer.pages.figures import (
    Data,
    dot,
    estimates,
    figure,
    named,
    place,
    push_of,
    short,
    strength_of,
    titled,
)
from guardsteer.pages.heat import Interval, intervals
from guardsteer.pages.page import facts, page, plots, table, verdict

if TYPE_CHECKING:
    from guardsteer.lab.tuning.calibration import Calibration

__all__ = ["calibration_page", "calibration_parts"]

_LABEL = "strength, in residual norms"
_BOUNDS = {"perplexity_ratio": "perplexity_ratio", "repetition_rise": "repetition_rise", "kl_nats": "kl_nats"}
_SATURATION = {
    "none": "still rising",
    "flat": "flat beyond",
    "turns": "falls beyond",
    "never": "never helps, best at",
}
_NO_BOUND = 100.0
"""A bound beyond this is none, and would flatten a chart."""


def calibration_page(found: Calibration) -> str:
    """Return the report of a calibration: verdict, dose and response with the window, costs, examples."""
    data = found.to_json()
    goal = data["goal"]
    title = f"Calibration of {data['vector']}: {goal['metric']} {goal['direction']}"
    return page(title, calibration_parts(data))


def calibration_parts(data: Data) -> list[str]:
    """Return the markup of a calibration's JSON."""
    window: Data | None = data.get("window")
    curve: Sequence[Data] = data.get("curve", ())
    held_out: Data | None = data.get("held_out")
    body = [_verdict(data), _facts(data), plots(_dose(data)), _checks(data)]
    body += [traits_part(data), unjudged_part(data)]
    if held_out is not None:
        body += ["<h2>On test prompts, which nothing was chosen on</h2>", _rungs([held_out], None)]
    body += [
        "<h2>Strengths in the chosen place, on tuning prompts</h2>",
        _rungs(curve, window),
        _changes(curve),
    ]
    for title, key in (("Examples", "test_examples"), ("Examples from the tuning prompts", "examples")):
        if data.get(key):
            body += [f"<h2>{title}</h2>", _examples(data[key], window)]
    trials: Sequence[Data] = data.get("trials", ())
    body += [
        f"<details><summary>All {len(trials)} that were tried, on tuning prompts</summary>",
        _rungs(trials, None, where=True),
        "</details>",
        f'<p class="note">Vector <code>{escape(str(data.get("vector_digest", "")))}</code>, model '
        f"<code>{escape(str(data.get('model', '')))}</code>, seed {data.get('seed', 0)}. Figures with 95 % "
        "bootstrap intervals over prompts.</p>",
    ]
    return body


def _verdict(data: Data) -> str:
    ok, window = bool(data.get("published")), data.get("window")
    told = "no usable strength"
    if window:
        told = f"strength {window['recommended']:g} ({window['low']:g} to {window['high']:g}){_place(data)}"
    more = []
    held_out = data.get("held_out")
    if held_out is None:
        more.append("It was not tried on the test prompts.")
    else:
        random = ", ".join(short(each) for each in held_out.get("random_gains", ()))
        rows = (held_out.get("gain") or {}).get("rows", 0)
        more.append(
            f"On {rows} test prompts: gain {figure(held_out.get('gain'))}, random {random or 'not tried'}, "
            f"perplexity ratio {figure(held_out.get('perplexity_ratio'), 'perplexity_ratio')}."
        )
    published = "Published" if ok else "Not published"
    return verdict(ok, f"{published}: {told}", more, [str(reason) for reason in data.get("reasons", ())])


def _place(data: Data) -> str:
    chosen = data.get("held_out") or next(iter(data.get("curve", ())), None)
    if chosen is None:
        return ""
    push = push_of(chosen)
    blocks = ", ".join(map(str, push.get("blocks", ())))
    return f" on blocks {blocks} at {place(push.get('positions', ()))}, {push.get('for', 'constant')}"


def _facts(data: Data) -> str:
    held_out: Data = data.get("held_out") or {}
    window, saturation = data.get("window") or {}, data.get("saturation") or {}
    controls = [each["value"] for each in held_out.get("random_gains", ())]
    rows = []
    if held_out:
        against = f"random at most {max(controls):+.3f}" if controls else ""
        rows += [
            ("gain, test prompts", short(held_out.get("gain")), against),
            (
                "perplexity ratio",
                short(held_out.get("perplexity_ratio"), "perplexity_ratio"),
                f"bound {(data.get('bounds') or {}).get('perplexity_ratio', '')}",
            ),
        ]
    if window:
        rows.append(
            ("strength", f"{window['recommended']:g}", f"usable {window['low']:g} to {window['high']:g}")
        )
    if saturation:
        kind = _SATURATION.get(str(saturation.get("kind")), str(saturation.get("kind")))
        told = f"{kind} {saturation.get('strength', 0):g}" if saturation.get("kind") != "none" else kind
        rows.append(("saturation", told, f"gain {saturation.get('gain', 0):+.3f} there"))
    return facts(rows)


def _dose(data: Data) -> Iterator[str]:
    curve: Sequence[Data] = data.get("curve", ())
    window = data.get("window")
    band = (window["low"], window["high"]) if window else None
    chosen = window["recommended"] if window else None
    bounds: Data = data.get("bounds") or {}
    goal: Data = data.get("goal") or {}
    known = [(strength_of(rung), rung) for rung in curve]
    keys = list(dict.fromkeys(name for _, rung in known for name, _ in estimates(rung)))
    for key in ["gain", *(key for key in keys if key not in ("gain", "goal"))]:
        dots = tuple(each for x, rung in known if (each := dot(x, rung.get(key))) is not None)
        if not dots:
            continue
        limit = bounds.get(_BOUNDS.get(key, key))
        limit = limit if isinstance(limit, int | float) and limit < _NO_BOUND else None
        lines = [Line("vector" if key == "gain" else named(key), dots)]
        if key == "gain":
            lines += _controls(known)
        yield chart(
            lines,
            title=f"Gain in {goal.get('metric', 'the goal')}" if key == "gain" else titled(named(key)),
            x_label=_LABEL,
            y_label=_unit(key),
            window=band,
            chosen=chosen,
            bound=None if key == "gain" else limit,
            # One collapsed reply would press all the rest onto the axis.
            highest=3 * (limit or _NO_BOUND) if key == "perplexity_ratio" else None,
        )


def _unit(key: str) -> str:
    units = {"kl_nats": "nats a token", "repetition_rise": "rise", "gain": "gain"}
    return units.get(key, "ratio" if key.endswith("ratio") else "change")


def _controls(known: Sequence[tuple[float, Data]]) -> list[Line]:
    most = max((len(rung.get("random_gains", ())) for _, rung in known), default=0)
    lines = []
    for number in range(most):
        given = [(x, rung["random_gains"]) for x, rung in known if len(rung.get("random_gains", ())) > number]
        dots = [Dot(x, gains[number]["value"]) for x, gains in given]
        lines.append(Line(f"random {number + 1}", tuple(dots), True))
    return lines


def _checks(data: Data) -> str:
    """Return how checks and tasks moved at the recommended strength, empty where none was watched."""
    shown = data.get("held_out")
    window = data.get("window")
    if shown is None and window:
        near = [rung for rung in data.get("curve", ()) if strength_of(rung) == window["recommended"]]
        shown = next(iter(near), None)
    changes = estimates((shown or {}).get("changes") or {})
    rows = [Interval(name, each["value"], each["low"], each["high"]) for name, each in changes]
    if not rows:
        return ""
    on = "test prompts" if data.get("held_out") else "tuning prompts"
    drawn = intervals(rows, title=f"At the recommended strength, {on}", x_label="change")
    return f"<h2>Checks and tasks</h2>{plots([drawn])}"


def _rungs(rungs: Sequence[Data], window: Data | None, *, where: bool = False) -> str:
    keys = list(dict.fromkeys(name for rung in rungs for name, _ in estimates(rung)))
    keys = ["gain", *(key for key in keys if key not in ("gain", "goal"))]
    heads = ["strength", "gain", "random", *(named(key) for key in keys[1:])]
    heads = ["blocks", "positions", "for", *heads, "breaks"] if where else [*heads, "breaks"]
    rows = []
    for rung in rungs:
        push = push_of(rung)
        at = [
            ", ".join(map(str, push.get("blocks", ()))),
            place(push.get("positions", ())),
            str(push.get("for")),
        ]
        row = [
            f"{push.get('strength', 0):g}",
            figure(rung.get("gain")),
            ", ".join(short(each) for each in rung.get("random_gains", ())),
            *(_told(rung.get(key), key) for key in keys[1:]),
            "; ".join(rung.get("costs", ())),
        ]
        rows.append([*at, *row] if where else row)
    return table(heads, rows, [_inside(strength_of(rung), window) for rung in rungs])


def _told(found: Any, key: str) -> str:
    # What bounds a strength most often is told with its interval, the rest is short enough to be seen.
    return figure(found, key) if key == "perplexity_ratio" else short(found, key)


def _changes(curve: Sequence[Data]) -> str:
    parts = []
    for key, title in (("changes", "Checks and tasks by strength"), ("traits", "Other traits by strength")):
        names = list(dict.fromkeys(name for rung in curve for name in rung.get(key) or {}))
        if names:
            heads = ["change of", *(f"{strength_of(rung):g}" for rung in curve)]
            rows = [[name, *(short((rung.get(key) or {}).get(name)) for rung in curve)] for name in names]
            parts.append(f"<h2>{title}</h2>{table(heads, rows)}")
    return "".join(parts)


def _examples(examples: Sequence[Data], window: Data | None) -> str:
    parts = []
    for example in examples:
        steered: Sequence[Any] = example.get("steered", ())
        rows = [["bare", str(example.get("bare", ""))], *([f"{dose:g}", text] for dose, text in steered)]
        marked = [False, *(_inside(dose, window) for dose, _ in steered)]
        parts.append(f"<h3>{escape(str(example.get('prompt', '')))}</h3>")
        parts.append(table(["strength", "reply"], rows, marked))
    return "".join(parts)


def _inside(strength: float, window: Data | None) -> bool:
    return window is not None and window["low"] <= abs(strength) <= window["high"]
