"""Reports that a person can judge at a glance: one HTML page each, plots and all, that loads nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardsteer.lab.figures import figure
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


def composition_page(found: Composition) -> str:
    """Return the report of vectors used together: cosines, and each one's gain alone and among the others."""
    data = found.to_json()
    fine = not data["warnings"]
    told = "No pair fights." if fine else "Some of these vectors fight:"
    heads = ["pair", "cosine", "gain in", "first alone", "second alone", "sum", "together"]
    rows = [
        [
            f"{pair['first']} + {pair['second']}",
            ", ".join(f"block {block}: {value:+.2f}" for block, value in pair["cosines"].items())
            or "no block shared",
            effect["goal"],
            figure(effect["first"]),
            figure(effect["second"]),
            f"{effect['first']['value'] + effect['second']['value']:+.3f}",
            figure(effect["together"]),
        ]
        for pair in data["pairs"]
        for effect in pair["effects"]
    ]
    body = [verdict(fine, told, (), data["warnings"]), "<h2>Every two of them</h2>", table(heads, rows)]
    return page("Vectors together", body)
