"""An evaluation as one page that loads nothing: ROC, reliability, delays, figures and the worst rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from guardsteer.lab.classifiers.eval_plots import Curve, delay_bars, unit_square
from guardsteer.lab.classifiers.eval_stream import Streamed
from guardsteer.lab.classifiers.eval_text import (
    DISGUISE_HEADS,
    FIGURES,
    STREAM_HEADS,
    disguise_row,
    figure,
    sheet_name,
    stream_row,
    worst_first,
)
from guardsteer.lab.classifiers.evaluate import Evaluation, Miss, Sheet
from guardsteer.pages.page import page, table

__all__ = ["evaluation_page"]

_MOST_CURVES = 6


def evaluation_page(name: str, evaluation: Evaluation) -> str:
    """Return the page of a classifier's evaluation."""
    whole = worst_first([sheet for sheet in evaluation.sheets if not sheet.slice])
    slices = worst_first([sheet for sheet in evaluation.sheets if sheet.slice])
    body = [*_verdicts(evaluation), '<div class="plots">', *_curves(whole), "</div>"]
    if evaluation.accuracies:
        rows = [[title, *(figure(found.get(key)) for key in ("accuracy", "accuracy in scope"))]
                for title, found in evaluation.accuracies.items()]  # fmt: skip
        body += ["<h2>Accuracy</h2>", table(["source", "accuracy", "accuracy in scope"], rows)]
    body += ["<h2>Sources, the worst first</h2>", _sheets(whole)]
    if slices:
        body += ["<h2>Slices, the worst first</h2>", _sheets(slices)]
    if evaluation.streamed:
        body += ["<h2>Onsets in streams</h2>", *_streams(evaluation.streamed)]
    if evaluation.disguised:
        body += [
            "<h2>In disguise</h2>",
            table(DISGUISE_HEADS, [disguise_row(d) for d in evaluation.disguised]),
        ]
    for kind, title in (
        ("false alarm", "False alarms, the worst first"),
        ("missed", "Misses, the worst first"),
    ):
        chosen = [miss for miss in evaluation.misses if miss.kind == kind]
        if chosen:
            body += [f"<h2>{title}</h2>", _misses(chosen, false=kind == "false alarm")]
    if evaluation.failures:
        listed = "".join(f"<li>{escape(failure)}</li>" for failure in evaluation.failures)
        body += ["<h2>Known failures</h2>", f"<ul>{listed}</ul>"]
    body.append("<p>Figures with 95 % bootstrap intervals over rows.</p>")
    return page(f"Evaluation of {name}", body)


def _verdicts(evaluation: Evaluation) -> Iterator[str]:
    for threshold in evaluation.thresholds:
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in threshold.reasons)
        told = "holds on sources left out" if threshold.holds else "is no default: it does not hold elsewhere"
        yield (
            f'<div class="verdict{"" if threshold.holds else " no"}">Threshold '
            f"<strong>{threshold.value:.4f}</strong> of {escape(threshold.output)}, for "
            f"{100 * threshold.target:g} % false positives on tuning rows, {told}.<ul>{reasons}</ul></div>"
        )


def _curves(sheets: Sequence[Sheet]) -> Iterator[str]:
    drawn = [sheet for sheet in sheets if sheet.roc and ", first " not in sheet.source][:_MOST_CURVES]
    if not drawn:
        return
    yield unit_square(
        [Curve(_short(sheet), sheet.roc) for sheet in drawn],
        title="ROC",
        x_label="false positive rate",
        y_label="true positive rate",
        diagonal="no better than chance",
    )
    yield unit_square(
        [Curve(_short(sheet), tuple((x, y) for x, y, _ in sheet.reliability)) for sheet in drawn],
        title="Reliability",
        x_label="score",
        y_label="share of positives",
        diagonal="as often as said",
        dots=True,
    )


def _short(sheet: Sheet) -> str:
    return f"{sheet.output}, {sheet.source} ({sheet.seen})"


def _sheets(sheets: Sequence[Sheet]) -> str:
    keys = [key for key in FIGURES if any(key in sheet.figures for sheet in sheets)]
    heads = ["rows of", "output", "rows", "positive", *(FIGURES[key] for key in keys)]
    rows = [
        [
            sheet_name(sheet),
            sheet.output,
            str(sheet.rows),
            str(sheet.positives),
            *(figure(sheet.figures.get(key)) for key in keys),
        ]
        for sheet in sheets
    ]
    return table(heads, rows)


def _streams(found: Sequence[Streamed]) -> Iterator[str]:
    yield table(STREAM_HEADS, [stream_row(each) for each in found])
    yield f"<p>Delays in tokens ({escape(found[0].tokens)}); “after” is the flag's debounce.</p>"
    yield '<div class="plots">'
    for each in (one for one in found if not one.part):
        kind = "set for streams" if each.tuned else "of the card"
        yield delay_bars(
            each.delays, f"Delays at the threshold {each.threshold:.3f} {kind}, after {each.after}"
        )
    yield "</div>"


def _misses(chosen: Sequence[Miss], *, false: bool) -> str:
    ordered = sorted(chosen, key=lambda miss: (-miss.score if false else miss.score, miss.text))
    heads = ["score", "output", "source", "slice", "text"]
    rows = [[f"{miss.score:.3f}", miss.output, miss.source, miss.slice, miss.text] for miss in ordered]
    return table(heads, rows)
