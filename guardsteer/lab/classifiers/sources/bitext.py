"""Bitext: queries to a shop's customer support, 27 intents, with slips of typing and register."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from guardsteer.lab.classifiers.sources.files import Labelled, Source, rows_of_table

__all__ = ["BITEXT"]

_FILES = ("train.csv", "dev.csv")


def _read(folder: Path) -> Iterator[Labelled]:
    for file in _FILES:
        for row in rows_of_table(folder / file, ("utterance", "intent", "category")):
            category = row["category"].lower()
            yield Labelled(row["utterance"], (row["intent"], category), category)


# Section 3.5 of the licence: it imposes no obligation on results, of which 1.11 says that they hold no more
# than a trifle of the data. A table of weights is one.
BITEXT = Source(
    "bitext-intents",
    "bitext-intents",
    "CDLA-Sharing-1.0",
    "Bitext customer support dataset (2022), bitext, CDLA-Sharing-1.0 (results are free of it, section 3.5)",
    _read,
)
