"""Instructions that ask for harm, gathered by Arditi et al. (2024) from several sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from guardsteer.lab.classifiers.sources.files import Labelled, Source, rows_of_json

__all__ = ["HARMFUL_PROMPTS"]

_FILES = ("harmful_train.json", "harmful_val.json")


def _read(folder: Path) -> Iterator[Labelled]:
    for file in _FILES:
        for row in rows_of_json(folder / file, ("instruction",)):
            yield Labelled(row["instruction"], ("harmful",), row.get("category") or "uncategorised")


HARMFUL_PROMPTS = Source(
    "harmful-prompts",
    "harmful-prompts",
    "Apache-2.0 (parts MIT)",
    "harmful instructions of refusal_direction, Arditi et al. (2024), andyrdt, Apache-2.0; of AdvBench, "
    "HarmBench, JailbreakBench, MaliciousInstruct, StrongREJECT and TDC2023, MIT",
    _read,
)
