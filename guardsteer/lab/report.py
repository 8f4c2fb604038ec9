"""Reports that a person can judge at a glance: one HTML page each, plots and all, that loads nothing."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from guardsteer.lab.figures import Data, figure, place
from guardsteer.lab.pages import page, save_page, table, verdict
from guardsteer.lab.report_calibration import calibration_page
from guardsteer.lab.report_where import sweep_page, trace_page

if TYPE_CHECKING:
    from guardsteer.lab.composition import Composition

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
        "<h2>Every two of them</h2>",
        *(_pair(pair) for pair in data["pairs"]),
        "<h2>How each was used</h2>",
        table(["vector", "strength", "blocks", "positions", "for", "judged by"], used),
    ]
    return page("Vectors together", body)


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
