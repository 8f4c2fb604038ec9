"""Comments that people called toxic or not (Surge AI, 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from guardsteer.lab.classifiers.sources.files import Labelled, Source, rows_of_table

__all__ = ["SURGE"]


def _read(folder: Path) -> Iterator[Labelled]:
    for row in rows_of_table(folder / "toxicity_en.csv", ("text", "is_toxic")):
        label = row["is_toxic"].lower().replace(" ", "_")
        yield Labelled(row["text"], (label,), label)


SURGE = Source(
    "surge-toxicity",
    "surge-toxicity",
    "MIT",
    "toxicity dataset, Surge AI (2022), surge-ai/toxicity, MIT",
    _read,
)
