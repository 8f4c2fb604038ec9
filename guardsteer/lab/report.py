"""Reports that a person can judge at a glance: one HTML page each, plots and all, that loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TypeAlias

from guardsteer.evaluate import Estimate
from guardsteer.lab.calibration import Calibration, Example, Rung
from guardsteer.lab.charts import Dot, Line, chart
from guardsteer.lab.composition import Composition
from guardsteer.lab.effects import schedule_text
from guardsteer.lab.measuring import Measured
from guardsteer.lab.sweep import Spot, Sweep

__all__ = ["calibration_page", "composition_page", "page", "save_page", "sweep_page", "table"]

_Figure: TypeAlias = Callable[[Measured], Estimate | None]
_ALLOWED = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root{color-scheme:light dark;--ok:#3b7d23;--no:#b00020}
body{font:15px/1.45 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}
th,td{padding:.2rem .6rem;border-bottom:1px solid #8884;text-align:left;vertical-align:top}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(24rem,1fr));gap:1rem}
figure{margin:0}figcaption{font-weight:600}svg{width:100%;height:auto}
svg text{font:11px system-ui,sans-serif;fill:currentColor}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1rem;padding:0;margin:0;font-size:.85rem}
.legend span{display:inline-block;width:.8rem;height:.8rem;margin-right:.3rem;border-radius:2px}
.verdict{padding:.6rem .8rem;border-left:.35rem solid var(--ok);background:#8881}
.verdict.no{border-color:var(--no)}.in{background:#3b7d2322}
code{font-size:.85em;overflow-wrap:anywhere}
"""


def page(title: str, body: Iterable[str]) -> str:
    """Return a whole page; ``body`` holds markup, ``title`` plain text."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_ALLOWED}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def save_page(path: Path, text: str) -> Path:
    """Write a page and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def calibration_page(found: Calibration) -> str:
    """Return the report of a calibration: verdict, dose and response with the window, costs, examples."""
    ok = found.verdict.publish
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in found.verdict.reasons)
    verdict = "Published" if ok else "Not published"
    window = found.window
    told = "no usable strength"
    if window is not None:
        push = _chosen(found).push
        blocks, positions = ", ".join(map(str, push.blocks)), ", ".join(push.positions)
        told = f"strength {window.recommended:g} ({window.low:g} to {window.high:g}) on blocks {blocks}"
        told += f" at {positions}, {schedule_text(push.schedule)}"
    body = [
        f'<div class="verdict{"" if ok else " no"}"><strong>{verdict}:</strong> {escape(told)}. '
        f"{escape(_sentence(found))}<ul>{reasons}</ul></div>",
        f"<p>Saturation: {escape(str(found.saturation))}.</p>",
        '<div class="plots">',
        *_dose(found),
        "</div>",
    ]
    if found.held_out is not None:
        body += ["<h2>On test prompts, which nothing was chosen on</h2>", _rungs([found.held_out], None)]
    body += [
        "<h2>Strengths in the chosen place, on tuning prompts</h2>",
        _rungs(found.curve, (window.low, window.high) if window else None),
        "<h2>Examples</h2>",
        _examples(found.examples),
        "<h2>All that was tried, on tuning prompts</h2>",
        _rungs(found.trials, None, where=True),
        f"<p>Vector <code>{escape(found.vector_digest)}</code>, model <code>{escape(found.model)}</code>, "
        f"seed {found.seed}. Figures with 95 % bootstrap intervals over prompts.</p>",
    ]
    return page(f"Calibration of {found.vector}: {found.goal} {'up' if found.up else 'down'}", body)


def sweep_page(found: Sweep) -> str:
    """Return the report of a sweep: effect by block beside how well the block separates, and the ranking."""
    body = ['<div class="plots">', *_by_block(found.spots), "</div>", "<h2>Places, the best first</h2>"]
    heads = [
        "place",
        "outcome",
        "gain",
        "random",
        "perplexity ratio",
        "repetition",
        "length",
        "Cohen d",
        "costs",
    ]
    rows = [
        [
            f"{spot.site} {spot.block}, {' + '.join(spot.measured.push.positions)}, "
            f"strength {spot.measured.push.strength:g}",
            spot.outcome,
            _figure(spot.measured.gain, "+.3f"),
            f"{spot.control.value:+.3f}",
            _figure(spot.measured.perplexity_ratio, ".2f"),
            f"{spot.measured.repetition_rise.value:+.3f}",
            f"{spot.measured.length_ratio.value:.2f}",
            "" if spot.cohens_d is None else f"{spot.cohens_d:.2f}",
            "; ".join(spot.costs),
        ]
        for spot in found.spots
    ]
    body.append(table(heads, rows, marked=[spot.outcome == "helps" for spot in found.spots]))
    body.append(
        "<p>Gain at equal strength relative to the block's residual norm. Separation decides nothing.</p>"
    )
    return page(f"Where to steer for {found.goal}", body)


def composition_page(found: Composition) -> str:
    """Return the report of vectors used together: cosines, and each one's gain alone and among the others."""
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in found.warnings)
    verdict = "No pair fights." if not found.warnings else "Some of these vectors fight:"
    heads = ["pair", "cosine", "gain in", "first alone", "second alone", "sum", "together"]
    rows = [
        [
            f"{pair.first} + {pair.second}",
            ", ".join(f"block {block}: {value:+.2f}" for block, value in pair.cosines.items())
            or "no block shared",
            effect.goal,
            _figure(effect.first, "+.3f"),
            _figure(effect.second, "+.3f"),
            f"{effect.first.value + effect.second.value:+.3f}",
            _figure(effect.together, "+.3f"),
        ]
        for pair in found.pairs
        for effect in pair.effects
    ]
    marked = f'<div class="verdict{" no" if found.warnings else ""}">{verdict}<ul>{warnings}</ul></div>'
    return page("Vectors together", [marked, table(heads, rows)])


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[bool] = ()) -> str:
    """Return a table of plain text; rows that are ``marked`` stand out."""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = []
    for place, row in enumerate(rows):
        mark = ' class="in"' if place < len(marked) and marked[place] else ""
        body.append(f"<tr{mark}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _chosen(found: Calibration) -> Measured:
    return (found.held_out or found.curve[0]).measured


def _sentence(found: Calibration) -> str:
    if found.held_out is None:
        return "It was not tried on the test prompts."
    measured = found.held_out.measured
    random = ", ".join(f"{each.value:+.3f}" for each in found.held_out.controls)
    return (
        f"On {measured.gain.rows} test prompts: gain {_figure(measured.gain, '+.3f')}, random {random}, "
        f"perplexity ratio {_figure(measured.perplexity_ratio, '.2f')}."
    )


def _dose(found: Calibration) -> Iterable[str]:
    curve, window = found.curve, found.window
    band = (window.low, window.high) if window else None
    chosen = window.recommended if window else None
    label = "strength, in residual norms"

    def drawn(title: str, y_label: str, value: _Figure, **more: float | None) -> str:
        dots = [(rung.strength, value(rung.measured)) for rung in curve]
        line = Line(title, tuple(_dot(x, each) for x, each in dots if each is not None))
        if not line.dots:
            return ""
        return chart([line], title=title, x_label=label, y_label=y_label, window=band, chosen=chosen, **more)

    controls = [
        Line(
            f"random {n + 1}",
            tuple(_dot(r.strength, r.controls[n]) for r in curve if len(r.controls) > n),
            True,
        )
        for n in range(max((len(rung.controls) for rung in curve), default=0))
    ]
    gain = Line("vector", tuple(_dot(rung.strength, rung.measured.gain) for rung in curve))
    yield chart(
        [gain, *controls],
        title=f"Gain in {found.goal}",
        x_label=label,
        y_label="gain",
        window=band,
        chosen=chosen,
    )
    bounds = found.bounds
    limit = bounds.perplexity_ratio
    yield drawn(
        "Perplexity ratio", "ratio", lambda m: m.perplexity_ratio, bound=limit if limit < 100 else None,
        highest=min(3 * limit, 300.0),
    )  # fmt: skip
    yield drawn("Repetition", "rise", lambda m: m.repetition_rise, bound=bounds.repetition_rise)
    yield drawn("Length", "ratio", lambda m: m.length_ratio)
    yield drawn("Off-target divergence", "nats a token", lambda m: m.kl_nats, bound=bounds.kl_nats)
    for name in sorted({name for rung in curve for name in rung.measured.changes}):
        yield drawn(f"Change of {name}", "change", lambda m, name=name: m.changes.get(name))  # type: ignore[misc]


def _by_block(spots: Sequence[Spot]) -> Iterable[str]:
    for site in dict.fromkeys(spot.site for spot in spots):
        here = sorted((spot for spot in spots if spot.site == site), key=lambda spot: spot.block)
        lines = []
        for positions in dict.fromkeys(spot.measured.push.positions for spot in here):
            those = [spot for spot in here if spot.measured.push.positions == positions]
            name = " + ".join(positions)
            lines.append(Line(name, tuple(_dot(spot.block, spot.measured.gain) for spot in those)))
            dots = tuple(Dot(spot.block, spot.control.value) for spot in those)
            lines.append(Line(f"random, {name}", dots, True))
        yield chart(lines, title=f"Gain by block, {site}", x_label="block", y_label="gain")
        known = {spot.block: spot.cohens_d for spot in here if spot.cohens_d is not None}
        if known:
            line = Line("Cohen d", tuple(Dot(block, d) for block, d in known.items()))
            yield chart([line], title=f"Separation by block, {site}", x_label="block", y_label="Cohen d")


def _rungs(rungs: Sequence[Rung], window: tuple[float, float] | None, *, where: bool = False) -> str:
    names = list(dict.fromkeys(name for rung in rungs for name in rung.measured.changes))
    heads = [
        "strength",
        "gain",
        "random",
        "perplexity ratio",
        "repetition",
        "length",
        "off-target KL",
        *names,
    ]
    heads = ["blocks", "positions", "for", *heads, "breaks"] if where else [*heads, "breaks"]
    rows = []
    for rung in rungs:
        found, push = rung.measured, rung.measured.push
        place = [", ".join(map(str, push.blocks)), " + ".join(push.positions), schedule_text(push.schedule)]
        row = [
            f"{push.strength:g}",
            _figure(found.gain, "+.3f"),
            ", ".join(f"{each.value:+.3f}" for each in rung.controls),
            _figure(found.perplexity_ratio, ".2f"),
            f"{found.repetition_rise.value:+.3f}",
            f"{found.length_ratio.value:.2f}",
            "" if found.kl_nats is None else f"{found.kl_nats.value:.3f}",
            *(_figure(found.changes[name], "+.3f") if name in found.changes else "" for name in names),
            "; ".join(rung.costs),
        ]
        rows.append([*place, *row] if where else row)
    inside = [window is not None and window[0] <= rung.strength <= window[1] for rung in rungs]
    return table(heads, rows, inside)


def _examples(examples: Sequence[Example]) -> str:
    parts = []
    for example in examples:
        rows = [["bare", example.bare], *([f"{strength:g}", text] for strength, text in example.steered)]
        parts.append(f"<h3>{escape(example.prompt)}</h3>{table(['strength', 'reply'], rows)}")
    return "".join(parts)


def _dot(x: float, found: Estimate) -> Dot:
    return Dot(x, found.value, found.low, found.high)


def _figure(found: Estimate, form: str) -> str:
    return f"{found.value:{form}} ({found.low:{form}} to {found.high:{form}})"
