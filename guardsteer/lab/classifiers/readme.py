"""A classifier's README, written from its card and, where there is one, its evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from guardsteer.classify.files.card import (
    Card,
    CombinationCard,
    EncoderCard,
    LinearCard,
    PatternsCard,
    PipelineCard,
    ProbeCard,
    read_card,
)
from guardsteer.lab.classifiers.eval_file import read_evaluation
from guardsteer.lab.classifiers.eval_text import evaluation_lines

__all__ = ["readme_of", "write_readme"]


def write_readme(folder: Path) -> None:
    """Write ``README.md`` beside the card of a classifier's folder."""
    (folder / "README.md").write_text(readme_of(folder), encoding="utf-8")


def readme_of(folder: Path) -> str:
    """Return what the README of a classifier's folder says."""
    lines = [*_lines(read_card(folder))]
    evaluation = read_evaluation(folder)
    if evaluation is not None:
        lines += ["", *evaluation_lines(evaluation)]
    return "\n".join(lines) + "\n"


def _lines(card: Card) -> Iterator[str]:
    yield f"# {card.name}"
    yield ""
    if card.description:
        yield card.description
        yield ""
    yield from _what(card)
    if card.licence:
        yield f"- Licence: {card.licence}"
    if card.data is not None:
        data = card.data
        parts = f"{data.train} train, {data.tune} tune, {data.test} test"
        yield f"- Data: {data.rows} rows ({parts}), `{data.digest}`"
        yield from (f"- Source: {source}" for source in data.sources)
    if card.metrics:
        yield ""
        yield "| on held-out rows | value | 95 % interval | rows |"
        yield "|---|---|---|---|"
        for name, measure in sorted(card.metrics.items()):
            interval = f"{measure.low:.4f} to {measure.high:.4f}" if measure.low is not None else ""
            yield f"| {name.replace('_', ' ')} | {measure.value:.4f} | {interval} | {measure.rows} |"
    if card.operating_points:
        yield ""
        yield "Thresholds set on the tuning rows, and what they gave on the test rows:"
        yield ""
        yield "| output | threshold | false positives | true positives |"
        yield "|---|---|---|---|"
        for point in card.operating_points:
            rates = f"{point.false_positive_rate:.4f} | {point.true_positive_rate:.4f}"
            yield f"| {point.output} | {point.threshold:.4f} | {rates} |"


def _what(card: Card) -> Iterator[str]:
    if isinstance(card, PatternsCard):
        yield f"- {len(card.literals)} literals and {len(card.patterns)} patterns, output `match`"
        return
    outputs = ", ".join(f"`{output}`" for output in card.outputs)
    if isinstance(card, CombinationCard):
        made = {"stack": "A learned stack", "max": "The highest", "mean": "The mean"}[card.by]
        yield f"- {made} of what {len(card.members)} members say:"
        for member in card.members:
            heard = "" if member.first_words is None else f", of the first {member.first_words} words"
            yield f"  - `{member.use}`{heard} (`{member.digest[:15]}…`)"
    if isinstance(card, EncoderCard):
        yield (
            f"- A table over the encoder {card.encoder.name} ({card.encoder.precision}, width "
            f"{card.encoder.width}, `{card.encoder.identity[:15]}…`), which you export yourself"
        )
        yield f"- Reads windows of {card.window} tokens ({card.over} of several), by default at: {card.read}"
    if isinstance(card, PipelineCard):
        steps = card.training.get("pipeline", "converted")
        yield f"- A scikit-learn pipeline ({steps}), by default read at: {card.read}"
    if isinstance(card, ProbeCard):
        what = "Cosine" if card.measure == "cosine" else "Linear"
        yield f"- {what} probe of block {card.block} ({card.site}, width {card.width}, {card.dtype})"
        yield f"- Model: `{card.fingerprint}`"
    if isinstance(card, LinearCard):
        settings = card.vectorizer
        shortest, longest = settings.ngrams
        yield (
            f"- Linear model over {settings.type} {settings.analyzer} n-grams of {shortest} to {longest}, "
            f"{settings.features} features, {card.activation}"
        )
        if settings.normalise is not None:
            yield f"- Disguised writing is undone first: `{settings.normalise}`"
        if card.windows is not None:
            windows = card.windows
            yield (
                f"- Reads the newest words alone: {windows.open} windows of at most {windows.longest} words, "
                f"begun every {windows.every}, the highest score counts"
            )
    yield f"- Outputs: {outputs}"
