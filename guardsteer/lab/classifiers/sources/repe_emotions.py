"""Situations that call for one of six emotions, written for representation engineering (Zou et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from guardsteer.lab.classifiers.sources.files import Labelled, Source, refuse, rows_of_json

__all__ = ["REPE_EMOTIONS"]

_EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")


def _read(folder: Path) -> Iterator[Labelled]:
    for emotion in _EMOTIONS:
        path = folder / f"{emotion}.json"
        for place, text in enumerate(rows_of_json(path), 1):
            if not isinstance(text, str):
                refuse(path, f"entry {place} is no text")
            if text.strip():
                yield Labelled(text, (emotion,), emotion)


REPE_EMOTIONS = Source(
    "repe-emotions",
    "repe-emotions",
    "MIT",
    "scenarios of representation engineering, Zou et al. (2023), andyzoujm, MIT",
    _read,
)
