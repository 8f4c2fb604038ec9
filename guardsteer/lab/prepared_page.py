"""The report of ``prepare`` as one page: what runs, each window now and before, and what else matters."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path

from guardsteer.lab.prepared import HEADS, Made, Report
from guardsteer.lab.report import page, table

__all__ = ["prepared_page"]


def prepared_page(report: Report) -> str:
    """Return the page of a report; it links to the calibrations that lie below the same folder."""
    failed = [made.name for made in report.made if made.state == "failed"]
    beyond = [made.name for made in report.made if made.outside]
    told = f"The policy {report.policy} runs on this model, every strength within its window."
    if not report.made:
        told = f"The policy {report.policy} names no vector and no probe: there is nothing to prepare."
    elif failed:
        told = f"The policy {report.policy} cannot run on this model yet: {', '.join(failed)} failed."
    elif beyond:
        names = ", ".join(beyond)
        told = f"The policy {report.policy} runs, but pushes {names} outside of what was found to work."
    body = [
        f'<div class="verdict{"" if report.ok else " no"}"><p><strong>{escape(told)}</strong></p></div>',
        f"<p>Model <code>{escape(report.model)}</code>. Strengths are in units of the residual norm at their "
        "blocks. Gains and perplexity ratios are those of the best strength on prompts that nothing was "
        "chosen on, with 95 % bootstrap intervals over prompts.</p>",
    ]
    if report.made:
        rows = list(report.rows())
        body.append(table(HEADS, rows, marked=[row[0] != "" for row in rows]))
    for made in report.made:
        body += _section(made, report.out)
    return page(f"{report.policy}, prepared", body)


def _section(made: Made, out: Path) -> list[str]:
    said = list(made.told())
    if made.kind == "vector" and made.chosen_by:
        said.insert(0, f"judged by {made.chosen_by}")
    listed = "".join(f"<li>{escape(each)}</li>" for each in said)
    body = [f"<h2>{escape(made.name)}</h2>", f"<ul>{listed}</ul>" if listed else ""]
    folder = made.path if made.path.is_dir() else made.path.parent
    calibration = folder / "calibration.html"
    if calibration.is_file():
        link = escape(os.path.relpath(calibration, out), quote=True)
        body.append(f'<p><a href="{link}">How it was calibrated</a></p>')
    return body
