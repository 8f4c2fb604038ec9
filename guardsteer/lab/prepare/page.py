"""The report of ``prepare`` as one page: what runs, each window now and before, and what else matters."""

from __future__ import annotations

import os
from collections.abc import Iterator
from html import escape
from pathlib import Path

from guardsteer.lab.prepare.prepared import HEADS, Figures, Made, Report
from guardsteer.pages.page import facts, page, table, verdict
from guardsteer.steer import Recommendation

__all__ = ["prepared_page"]

_AT = HEADS.index("at")


def prepared_page(report: Report) -> str:
    """Return the page of a report; it links to the calibrations that lie below the same folder."""
    body = [
        verdict(report.ok, _told(report)),
        f"<p>Model <code>{escape(report.model)}</code>. Strengths are in units of the residual norm at their "
        "blocks. Gains and perplexity ratios are those of the best strength on prompts that nothing was "
        "chosen on, with 95 % bootstrap intervals over prompts.</p>",
    ]
    if report.made:
        rows = list(report.rows())
        shown = [(*row[:_AT], *row[_AT + 1 :]) for row in rows]
        heads = (*HEADS[:_AT], *HEADS[_AT + 1 :])
        body.append(table(heads, shown, [row[0] != "" for row in rows], "Now and before"))
    for made in report.made:
        body += _section(made, report.out)
    return page(f"{report.policy}, prepared", body)


def _told(report: Report) -> str:
    failed = ", ".join(made.name for made in report.made if made.state == "failed")
    beyond = ", ".join(made.name for made in report.made if made.outside)
    if not report.made:
        return f"The policy {report.policy} names no vector and no probe: there is nothing to prepare."
    if failed:
        return f"The policy {report.policy} cannot run on this model yet: {failed} failed."
    if beyond:
        return f"The policy {report.policy} runs, but pushes {beyond} outside of what was found to work."
    return f"The policy {report.policy} runs on this model, every strength within its window."


def _section(made: Made, out: Path) -> Iterator[str]:
    yield f"<h2>{escape(made.name)}</h2>"
    if made.window is not None:
        yield facts(_facts(made.window, made.figures, made.chosen_by))
    listed = "".join(f"<li>{escape(each)}</li>" for each in made.told())
    if listed:
        yield f"<ul>{listed}</ul>"
    folder = made.path if made.path.is_dir() else made.path.parent
    calibration = folder / "calibration.html"
    if calibration.is_file():
        link = escape(os.path.relpath(calibration, out), quote=True)
        yield f'<p><a href="{link}">How it was calibrated</a></p>'


def _facts(window: Recommendation, figures: Figures | None, chosen_by: str) -> Iterator[tuple[str, str, str]]:
    blocks, positions = ", ".join(map(str, window.blocks)), " + ".join(window.positions)
    yield "window", f"{window.low:g} to {window.high:g}", f"block {blocks}, {positions}"
    yield "best strength", f"{window.recommended:g}", f"judged by {chosen_by}"
    if figures is None:
        return
    gain, ratio = figures.gain, figures.perplexity_ratio
    random = ", ".join(f"{each:+.3f}" for each in figures.random)
    yield "gain", f"{gain.value:+.3f}", f"{gain.low:+.3f} to {gain.high:+.3f}; random {random or 'not tried'}"
    yield "perplexity", f"x{ratio.value:.2f}", f"{ratio.low:.2f} to {ratio.high:.2f}"
