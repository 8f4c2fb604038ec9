"""An evaluation in words: the part of a README that says what a classifier is worth, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from guardsteer.evaluate import Estimate
from guardsteer.lab.classifiers.disguise import Disguised
from guardsteer.lab.classifiers.eval_stream import Streamed
from guardsteer.lab.classifiers.evaluate import Evaluation, Sheet

__all__ = [
    "DISGUISE_HEADS",
    "FIGURES",
    "STREAM_HEADS",
    "disguise_row",
    "evaluation_lines",
    "figure",
    "sheet_name",
    "stream_row",
    "worst_first",
]

FIGURES: Mapping[str, str] = {
    "auroc": "AUROC",
    "tpr_at_1_percent_fpr": "TPR at 1 % FPR",
    "tpr_at_5_percent_fpr": "TPR at 5 % FPR",
    "f1": "F1",
    "tpr": "TPR",
    "fpr": "FPR",
    "accuracy": "accuracy",
    "ece_before": "ECE before",
    "ece_after": "ECE after",
}
"""Each figure and its head in a table; those from F1 to accuracy are at the threshold."""

STREAM_HEADS = (
    "onsets and leads",
    "threshold",
    "after",
    "median",
    "90 %",
    "within 8",
    "within 12",
    "within 32",
    "within 128",
    "false alarms per 1,000 tokens",
    "up before the onset",
)
"""Heads of a table about streams; ``stream_row`` gives its rows."""

DISGUISE_HEADS = ("disguise", "TPR", "change")
"""Heads of a table about disguises; ``disguise_row`` gives its rows."""

_WORST_SLICES = 10
_SHOWN_MISSES = 3
_LONGEST_QUOTE = 140


def evaluation_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield the lines of Markdown that tell an evaluation."""
    yield "## On rows it has not seen"
    yield ""
    yield "Figures with 95 % bootstrap intervals over rows, worst first. *n*: rows; *pos*: positive ones."
    if any(sheet.seen == "source left out" for sheet in evaluation.sheets):
        yield "A source left out was scored by a twin trained without it, at the twin's own threshold."
    for threshold in evaluation.thresholds:
        yield ""
        verdict = "holds on sources left out" if threshold.holds else "**no default**: it does not hold"
        reasons = f" ({'; '.join(threshold.reasons)})" if threshold.reasons else ""
        yield (
            f"Threshold {threshold.value:.4f} of `{threshold.output}`, for {100 * threshold.target:g} % "
            f"false positives on tuning rows: {verdict}{reasons}."
        )
    if evaluation.accuracies:
        yield ""
        yield from _table(
            ["source", "accuracy", "accuracy in scope"],
            [
                [name, *(figure(found.get(key)) for key in ("accuracy", "accuracy in scope"))]
                for name, found in evaluation.accuracies.items()
            ],
        )
    whole = [sheet for sheet in evaluation.sheets if not sheet.slice]
    slices = [sheet for sheet in evaluation.sheets if sheet.slice and "auroc" in sheet.figures]
    for title, sheets in (("source", whole), ("slice", worst_first(slices)[:_WORST_SLICES])):
        if sheets:
            yield ""
            yield from _sheets(title, worst_first(sheets))
    if evaluation.streamed:
        yield ""
        yield from _streams(evaluation.streamed)
    if evaluation.disguised:
        yield ""
        yield "## In disguise"
        yield ""
        yield "What is raised of the positive rows when they are written otherwise, at the same threshold."
        yield ""
        yield from _table(DISGUISE_HEADS, [disguise_row(each) for each in evaluation.disguised])
    yield from _misses(evaluation)
    if evaluation.failures:
        yield ""
        yield "## Known failures"
        yield ""
        yield from (f"- {failure}" for failure in evaluation.failures)


def worst_first(sheets: Sequence[Sheet]) -> list[Sheet]:
    """Return sheets in ascending order of AUROC, those without one last."""

    def key(sheet: Sheet) -> tuple[float, str, str, str]:
        found = sheet.figures.get("auroc")
        return (2.0 if found is None else found.value, sheet.source, sheet.slice, sheet.output)

    return sorted(sheets, key=key)


def sheet_name(sheet: Sheet) -> str:
    """Return what a sheet is about, in words."""
    parts = [sheet.source, *([sheet.slice] if sheet.slice else [])]
    name = f"{': '.join(parts)} ({sheet.seen})"
    return f"{name}, against {sheet.against}" if sheet.against and not sheet.slice else name


def figure(found: Estimate | None) -> str:
    """Return a figure with its interval, empty where there is none."""
    return "" if found is None else f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def stream_row(found: Streamed) -> list[str]:
    """Return the cells of a row about streams."""
    return [
        found.part or "all",
        f"{found.threshold:.4f}{', set for streams' if found.tuned else ''}",
        str(found.after),
        "never" if found.median is None else f"{found.median:g}",
        "never" if found.ninetieth is None else f"{found.ninetieth:g}",
        *(figure(found.caught.get(within)) for within in ("8", "12", "32", "128")),
        f"{found.alarms_per_thousand:.2f}",
        str(found.early),
    ]


def disguise_row(found: Disguised) -> list[str]:
    """Return the cells of a row about a disguise."""
    change = found.change
    return [
        found.disguise,
        figure(found.tpr),
        f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})",
    ]


def _sheets(title: str, sheets: Sequence[Sheet]) -> Iterator[str]:
    several = len({sheet.output for sheet in sheets}) > 1
    keys = [key for key in FIGURES if any(key in sheet.figures for sheet in sheets)]
    if several:
        keys = [key for key in keys if key not in ("f1", "tpr", "fpr", "accuracy")]
    heads = [title, *(["output"] if several else []), "n", "pos", *(FIGURES[key] for key in keys)]
    rows = [
        [
            sheet_name(sheet),
            *([sheet.output] if several else []),
            str(sheet.rows),
            str(sheet.positives),
            *(figure(sheet.figures.get(key)) for key in keys),
        ]
        for sheet in sheets
    ]
    yield from _table(heads, rows)


def _streams(found: Sequence[Streamed]) -> Iterator[str]:
    yield "## Onsets in a stream"
    yield ""
    yield "A text of the label behind benign ones, read token by token; delays in tokens from the onset on."
    yield f"Tokens are {found[0].tokens}; {len(found[0].delays) + found[0].early} onsets,"
    yield f"{found[0].benign_tokens:,} benign tokens. *after*: the flag's debounce in tokens."
    yield ""
    yield from _table(STREAM_HEADS, [stream_row(each) for each in found])


def _misses(evaluation: Evaluation) -> Iterator[str]:
    for kind, title in (("false alarm", "Worst false alarms"), ("missed", "Worst misses")):
        chosen = [miss for miss in evaluation.misses if miss.kind == kind]
        chosen.sort(key=lambda miss: -miss.score if miss.kind == "false alarm" else miss.score)
        quoted = list(dict.fromkeys(_quote(miss.text) for miss in chosen))[:_SHOWN_MISSES]
        if quoted:
            yield ""
            yield f"## {title}"
            yield ""
            for quote in quoted:
                miss = next(each for each in chosen if _quote(each.text) == quote)
                yield f"- {miss.output} {miss.score:.3f}, {miss.source}: {quote}"


def _quote(text: str) -> str:
    plain = text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
    # A quotation is not markup, whatever it holds.
    return "“" + "".join(f"\\{sign}" if sign in "\\`*_{}[]<>()#+-!|" else sign for sign in plain) + "”"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
