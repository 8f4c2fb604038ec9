"""Reports that a person can judge at a glance: one HTML page each, plots and all, that loads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from guardsteer.lab.reports.calibration import calibration_page
from guardsteer.lab.reports.where import sweep_page, trace_page
from guardsteer.pages.figures import Data, figure, place
from guardsteer.pages.heat import Cell, Interval, heat, intervals
from guardsteer.pages.page import page, plots, save_page, table, verdict

if TYPE_CHECKING:
    from guardsteer.lab.tuning.composition import Composition

__all__ = [
    "calibration_page",
    "composition_page",
    "page",
    "save_page",
    "sweep_page",
    "table",
    "trace_page",
]

_SIDES = ("first", "second", "together")
_ALIKE = 0.5
"""Cosines from which on vectors are nearly one, or against each other."""


def composition_page(found: Composition) -> str:
    """Return the report of vectors used together: cosines, each gain alone and with the other, and costs."""
    data = found.to_json()
    fine = not data["warnings"]
    told = "No pair fights." if fine else "Some of these vectors fight:"
    goals = {effect["owner"]: effect["goal"] for pair in data["pairs"] for effect in pair["effects"]}
    used = [
        [
            name,
            f"{push['strength']:+g}",
            ", ".join(map(str, push["blocks"])),
            place(push["positions"]),
            push["for"],
            goals.get(name, ""),
        ]
        for name, push in data["pushes"].items()
    ]
    body = [
        verdict(fine, told, (), data["warnings"]),
        f"<p>On {data['prompts']} prompts, with 95 % bootstrap intervals over prompts. Kept: with both, less "
        "with the goal's own vector alone. Perplexity is that of the replies under the bare model.</p>",
        plots([*_cosines(data["pairs"]), *_joint(data["pairs"])]),
        "<h2>Every two of them</h2>",
        *(_pair(pair) for pair in data["pairs"]),
        "<h2>How each was used</h2>",
        table(["vector", "strength", "blocks", "positions", "for", "judged by"], used),
    ]
    return page("Vectors together", body)


def _cosines(pairs: Sequence[Data]) -> Iterator[str]:
    cells = {}
    for pair in pairs:
        if pair["cosines"]:
            block, most = max(pair["cosines"].items(), key=lambda each: abs(each[1]))
            cell = Cell(most, f"cosine {most:+.2f} at block {block}", sure=abs(most) >= _ALIKE)
            cells[pair["first"], pair["second"]] = cells[pair["second"], pair["first"]] = cell
    if cells:
        names = list(dict.fromkeys(name for key in cells for name in key))
        title = "Cosine at the block where it is furthest from 0"
        yield heat(cells, names, names, title=title, row_label="")


def _joint(pairs: Sequence[Data]) -> Iterator[str]:
    for pair in pairs:
        told = {"first": f"{pair['first']} alone", "second": f"{pair['second']} alone", "together": "both"}
        for effect in pair["effects"]:
            rows = [
                Interval(name, *(effect[key][end] for end in ("value", "low", "high")))
                for key, name in told.items()
            ]
            title = f"{pair['first']} and {pair['second']}: gain of {effect['owner']}"
            yield intervals(rows, title=title, x_label=f"gain in {effect['goal']}")


def _pair(pair: Data) -> str:
    shared = ", ".join(f"{value:+.2f} at block {block}" for block, value in pair["cosines"].items())
    heads = ["gain of", f"{pair['first']} alone", f"{pair['second']} alone", "both", "kept"]
    rows = [
        [effect["owner"], *(figure(effect[name]) for name in ("first", "second", "together", "kept"))]
        for effect in pair["effects"]
    ]
    ratios = [figure(pair["perplexity_ratio"][name], "perplexity_ratio") for name in _SIDES]
    rows.append(["perplexity, times bare", *ratios, ""])
    title = f"{escape(pair['first'])} and {escape(pair['second'])}"
    told = f"Cosine of the pushes: {shared}." if shared else "They share no block, so they have no cosine."
    return f"<h3>{title}</h3><p>{told}</p>{table(heads, rows)}"
