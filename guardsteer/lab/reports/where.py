"""Where to steer, on a page: what steering at each place does (a sweep), what each carries (a trace)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guardsteer.pages.charts import Dot, Line, chart
from guardsteer.pages.figures import Data, dot, figure, named, place, push_of, short, titled, value_of
from guardsteer.pages.heat import Cell, heat
from guardsteer.pages.page import facts, page, plots, table, verdict

if TYPE_CHECKING:
    from guardsteer.lab.tuning.sweep import Sweep
    from guardsteer.lab.where.trace import Trace

__all__ = ["sweep_page", "sweep_parts", "trace_page", "trace_parts"]

_MARKS = {
    "helps": "\N{CHECK MARK}",
    "costs too much": "!",
    "wrong way": "\N{MULTIPLICATION X}",
    "no effect": "\N{MIDDLE DOT}",
}
_SWEEP_NOTE = (
    "Gain of the best strength at each place, on the tuning prompts; {marks}. Bold: the interval does not "
    "hold 0. Framed: recommended. A pass goes through the blocks from top to bottom."
)
_SPOTS_NOTE = (
    "Gain at equal strength relative to the residual norm at the place, with 95 % bootstrap intervals over "
    "prompts. How well a block separates the pairs decides nothing."
)
_TRACE_NOTE = (
    "<b>Restored</b>: the run without the trait, given the states of the run with it; 1 is all of the "
    "effect. <b>Lost</b>: the run with the trait, given the states of the run without it. Bold: the interval "
    "does not hold 0. A pass goes through the blocks from top to bottom. Cells do not add up over blocks: "
    "what one carries, the next carries on; after the last block, the states from the prompt's end on are "
    "all of the effect by construction."
)
_ABOUT = "Shares of the effect of the cue, by block and part of the prompt."
_TOP = 12
_HALF = 0.5
_MANY = 6
_EXACT = 0.005


def sweep_page(found: Sweep) -> str:
    """Return the report of a sweep: effect by block beside how well the block separates, and the ranking."""
    data = found.to_json()
    return page(f"Where to steer for {data['goal']}", sweep_parts(data))


def sweep_parts(data: Data) -> list[str]:
    """Return the markup of a sweep's JSON."""
    spots: Sequence[Data] = data.get("spots", ())
    helping = [spot for spot in spots if spot.get("outcome") == "helps"]
    wrong = [spot for spot in spots if spot.get("outcome") == "wrong way"]
    more = [f"{len(helping)} of {len(spots)} places help; {len(wrong)} move replies the wrong way."]
    if helping:
        best = helping[0]
        told = (
            f"Steer at {_where(best)}, strength {push_of(best).get('strength', 0):g}: gain "
            f"{figure(best.get('gain'), 'gain')}, a random vector there {short(best.get('random_gain'))}."
        )
    else:
        told = "Steering helps nowhere that was tried."
    if wrong:
        worst = max(wrong, key=lambda spot: spot.get("cohens_d") or 0.0)
        apart = (
            f" although it separates the pairs by {worst['cohens_d']:.1f} (Cohen d)"
            if worst.get("cohens_d")
            else ""
        )
        more.append(f"{titled(_where(worst))} moves them by {figure(worst.get('gain'))}{apart}.")
    columns = sorted(dict.fromkeys(map(_column, spots)), key=len)
    marks = ", ".join(f"{mark} {outcome}" for outcome, mark in _MARKS.items())
    return [
        verdict(bool(helping), told, more),
        plots(_maps(spots, columns)),
        f'<p class="note">{_SWEEP_NOTE.format(marks=marks)}</p>',
        "<h2>By block</h2>",
        plots(_by_block(spots, columns)),
        "<h2>Places, the best first</h2>",
        _spots(spots),
        f'<p class="note">{_SPOTS_NOTE}</p>',
    ]


def _where(spot: Data) -> str:
    site = spot.get("site", "block_output")
    named_site = "" if site == "block_output" else f", {site}"
    return f"block {spot.get('block')}{named_site}, {place(push_of(spot).get('positions', ()))}"


def _maps(spots: Sequence[Data], columns: Sequence[str]) -> Iterator[str]:
    most = max((abs(value_of(spot.get("gain"))) for spot in spots), default=0.0) or 1.0
    for site in _sites(spots):
        here = [spot for spot in spots if str(spot.get("site", "")) == site]
        blocks = sorted({spot.get("block", 0) for spot in here})
        cells = {
            (str(spot.get("block", 0)), _column(spot)): Cell(
                value_of(spot.get("gain")),
                f"gain {figure(spot.get('gain'))}, {spot.get('outcome', '')}",
                sure=_sure(spot.get("gain")),
                mark=_MARKS.get(spot.get("outcome", ""), ""),
                framed=spot.get("outcome") == "helps",
            )
            for spot in here
        }
        title = f"Gain by block and position, {site}"
        yield heat(
            cells, [str(block) for block in blocks], columns, title=title, row_label="block", most=most
        )


def _sites(found: Sequence[Data]) -> list[str]:
    """Return the sites, whole blocks first."""
    return sorted(
        {str(each.get("site", "")) for each in found}, key=lambda site: (site != "block_output", site)
    )


def _column(spot: Data) -> str:
    return place(push_of(spot).get("positions", ()))


def _sure(found: Any) -> bool:
    return bool(found) and (found["low"] > 0 or found["high"] < 0)


def _by_block(spots: Sequence[Data], columns: Sequence[str]) -> Iterator[str]:
    for site in _sites(spots):
        here = sorted(
            (spot for spot in spots if str(spot.get("site", "")) == site),
            key=lambda spot: spot.get("block", 0),
        )
        lines, controls = [], []
        for column in columns:
            those = [spot for spot in here if _column(spot) == column]
            found = [dot(spot.get("block", 0), spot.get("gain")) for spot in those]
            lines.append(Line(column, tuple(each for each in found if each is not None)))
            dots = [Dot(spot["block"], value_of(spot.get("random_gain"))) for spot in those]
            controls.append(Line(f"random, {column}", tuple(dots), True))
        title = f"Gain by block, {site}"
        yield chart([*lines, *controls], title=title, x_label="block", y_label="gain")
        known = {spot["block"]: spot["cohens_d"] for spot in here if spot.get("cohens_d") is not None}
        if known:
            line = Line("Cohen d", tuple(Dot(block, apart) for block, apart in known.items()))
            yield chart([line], title=f"Separation by block, {site}", x_label="block", y_label="Cohen d")


def _spots(spots: Sequence[Data]) -> str:
    keys = ("gain", "perplexity_ratio", "repetition_rise", "length_ratio")
    changes = list(dict.fromkeys(name for spot in spots for name in spot.get("changes") or {}))
    heads = ["block", "site", "positions", "strength", "outcome", "gain", "random", *map(named, keys[1:])]
    rows = [
        [
            str(spot.get("block", "")),
            str(spot.get("site", "")),
            _column(spot),
            f"{push_of(spot).get('strength', 0):g}",
            "; ".join(
                [
                    f"{_MARKS.get(spot.get('outcome', ''), '')} {spot.get('outcome', '')}",
                    *spot.get("costs", ()),
                ]
            ),
            figure(spot.get("gain")),
            short(spot.get("random_gain")),
            figure(spot.get("perplexity_ratio"), "perplexity_ratio"),
            *(short(spot.get(key), key) for key in keys[2:]),
            *(short((spot.get("changes") or {}).get(name)) for name in changes),
            "" if spot.get("cohens_d") is None else f"{spot['cohens_d']:.2f}",
        ]
        for spot in spots
    ]
    marked = [spot.get("outcome") == "helps" for spot in spots]
    return table([*heads, *changes, "Cohen d"], rows, marked)


def trace_page(found: Trace) -> str:
    """Return the report of a trace: what each block and segment restores, and what is lost without it."""
    data = found.to_json()
    return page(f"What carries {data['recipe']}", trace_parts(data))


def trace_parts(data: Data) -> list[str]:
    """Return the markup of a trace's JSON."""
    cells: Sequence[Data] = data.get("cells", ())
    effect = data.get("effect", {})
    cue = "the system line" if data.get("cue") == "system" else "an earlier reply"
    numbers = facts(
        [
            ("effect of the cue", f"{value_of(effect):+.2f} nats", figure(effect, form="+.2f")),
            ("with the trait", short(data.get("positive"), form="+.2f"), "nats for the reply with the trait"),
            ("without it", short(data.get("negative"), form="+.2f"), "nats for the reply with the trait"),
            (
                "pairs",
                str(effect.get("rows", 0)),
                f"{data.get('right', 0):.0%} move the right way; cue: {cue}",
            ),
        ]
    )
    told = (
        "Nothing to trace: the cue does not make the reply with the trait likelier."
        if not cells
        else f"The cue makes the reply with the trait likelier by {figure(effect, form='.2f')} nats."
    )
    body = [verdict(bool(cells), told, list(_sentences(cells))), numbers, *_trace_maps(cells)]
    if cells:
        heading = "<h2>All cells, by the lesser of the two</h2>"
        body += [f'<p class="note">{_TRACE_NOTE}</p>', heading, _cells(cells)]
    body += [f"<p>Left out: {len(data['left_out'])} pairs.</p>"] if data.get("left_out") else []
    return body


def _sentences(cells: Sequence[Data]) -> Iterator[str]:
    """Yield for each segment from and up to which block it carries at least half of the effect."""
    blocks = [cell for cell in cells if cell["site"] == "block_output"]
    for segment in dict.fromkeys(cell["segment"] for cell in blocks):
        strong = {
            cell["block"]: value_of(cell["restored"])
            for cell in blocks
            if cell["segment"] == segment and value_of(cell["restored"]) >= _HALF
        }
        if strong:
            ends = sorted({min(strong), max(strong)})
            until = f"blocks {ends[0]} to {ends[-1]}" if len(ends) > 1 else f"block {ends[0]}"
            most = max(strong.values())
            yield f"{titled(segment)}: half of it or more at {until}, at most {most:.2f}."


def _trace_maps(cells: Sequence[Data]) -> Iterator[str]:
    """Yield for each site what is restored beside what is lost, whole blocks first."""
    titles = {"restored": "Effect restored", "lost": "Effect lost"}
    for site in _sites(cells):
        here = [cell for cell in cells if cell["site"] == site]
        rows = [str(block) for block in sorted({cell["block"] for cell in here})]
        columns = list(dict.fromkeys(cell["segment"] for cell in here))
        maps = []
        for key, title in titles.items():
            shown = {
                (str(cell["block"]), cell["segment"]): _shown(cell[key]) for cell in here if cell.get(key)
            }
            told = f"{title}, {site}"
            maps.append(heat(shown, rows, columns, title=told, row_label="block", description=_ABOUT))
        yield plots(maps, columns=2 if len(columns) < _MANY else 1)


def _shown(found: Mapping[str, Any]) -> Cell:
    # What is shown as nothing must not look as if it were sure to be something.
    value = 0.0 if abs(found["value"]) < _EXACT else float(found["value"])
    return Cell(value, figure(found, form="+.2f"), sure=_sure(found) and value != 0)


def _cells(cells: Sequence[Data]) -> str:
    ranked = sorted(cells, key=lambda cell: -min(value_of(cell["restored"]), value_of(cell["lost"])))
    rows = [
        [
            str(cell["block"]),
            cell["site"],
            cell["segment"],
            figure(cell["restored"], form="+.2f"),
            figure(cell["lost"], form="+.2f"),
            str(cell["restored"].get("rows", "")),
        ]
        for cell in ranked
    ]
    heads = ["block", "site", "position", "restored", "lost", "pairs"]
    shown = table(heads, rows[:_TOP])
    rest = table(heads, rows[_TOP:])
    return (
        shown
        if len(rows) <= _TOP
        else f"{shown}<details><summary>{len(rows) - _TOP} more</summary>{rest}</details>"
    )
