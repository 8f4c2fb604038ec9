"""An evaluation as one page that loads nothing: ROC, reliability, delays, figures and the worst rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

from guardsteer.lab.charts import Dot, Line, chart
from guardsteer.lab.classifier_eval import Evaluation, Miss, Sheet
from guardsteer.lab.classifier_eval_stream import Streamed
from guardsteer.lab.classifier_eval_text import FIGURES, figure, sheet_name, stream_row, worst_first
from guardsteer.lab.report import page, table

__all__ = ["evaluation_page"]

_MOST_CURVES = 6
_BARS = (1, 2, 4, 8, 12, 16, 24, 32, 64, 128, 256)
_WIDTH, _HEIGHT, _FOOT = 560, 200, 34


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
    evenly = Line("no better than chance", (Dot(0, 0), Dot(1, 1)), control=True)
    lines = [Line(_short(sheet), tuple(Dot(x, y) for x, y in sheet.roc)) for sheet in drawn]
    yield chart([*lines, evenly], title="ROC", x_label="false positive rate", y_label="true positive rate")
    lines = [Line(_short(sheet), tuple(Dot(x, y) for x, y, _ in sheet.reliability)) for sheet in drawn]
    evenly = Line("as often as said", (Dot(0, 0), Dot(1, 1)), control=True)
    yield chart([*lines, evenly], title="Reliability", x_label="score", y_label="share of positives")


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
    heads = ["threshold", "after", "median", "90 %", "within 8", "within 12", "within 32", "within 128"]
    heads += ["false alarms per 1,000 tokens", "up before the onset"]
    yield table(heads, [stream_row(each) for each in found])
    yield f"<p>Delays in tokens ({escape(found[0].tokens)}); “after” is the flag's debounce.</p>"
    yield '<div class="plots">'
    for each in found:
        kind = "set for streams" if each.tuned else "of the card"
        yield _bars(each, f"Delays at the threshold {each.threshold:.3f} {kind}, after {each.after}")
    yield "</div>"


def _bars(found: Streamed, title: str) -> str:
    """Return a histogram of delays: one bar for each range of tokens, the last for those never heard."""
    ends = [0, *_BARS]
    names = [str(end) if end - start == 1 else f"{start + 1}–{end}" for start, end in pairwise(ends)]
    counts = [
        sum(delay is not None and start < delay <= end for delay in found.delays)
        for start, end in pairwise(ends)
    ]
    names.append("never")
    counts.append(sum(delay is None or delay > ends[-1] for delay in found.delays))
    step, top = _WIDTH / len(counts), max(*counts, 1)
    parts = []
    for place, (label, count) in enumerate(zip(names, counts, strict=True)):
        height = (_HEIGHT - _FOOT - 18) * count / top
        x, y = place * step, _HEIGHT - _FOOT - height
        middle = x + step / 2
        fill = "#b4441a" if label == "never" else "#0b62a4"
        parts.append(
            f'<rect x="{x + 3:.1f}" y="{y:.1f}" width="{step - 6:.1f}" height="{height:.1f}" fill="{fill}"/>'
            f'<text x="{middle:.1f}" y="{y - 4:.1f}" text-anchor="middle">{count}</text>'
            f'<text x="{middle:.1f}" y="{_HEIGHT - _FOOT + 14}" text-anchor="middle">{label}</text>'
        )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title, quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>{"".join(parts)}</svg></figure>'
    )


def _misses(chosen: Sequence[Miss], *, false: bool) -> str:
    ordered = sorted(chosen, key=lambda miss: (-miss.score if false else miss.score, miss.text))
    heads = ["score", "output", "source", "slice", "text"]
    rows = [[f"{miss.score:.3f}", miss.output, miss.source, miss.slice, miss.text] for miss in ordered]
    return table(heads, rows)
