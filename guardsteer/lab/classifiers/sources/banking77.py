"""Banking77: queries of a bank's customers, 77 intents (Casanueva et al., 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from guardsteer.lab.classifiers.sources.files import Labelled, Source, rows_of_table

__all__ = ["BANKING77"]


def _read(folder: Path) -> Iterator[Labelled]:
    for row in rows_of_table(folder / "train.csv", ("text", "category")):
        yield Labelled(row["text"], (row["category"],), row["category"])


BANKING77 = Source(
    "banking77",
    "banking77",
    "CC-BY-4.0",
    "Banking77, Casanueva et al. (2020), PolyAI-LDN/task-specific-datasets, CC-BY-4.0",
    _read,
)
