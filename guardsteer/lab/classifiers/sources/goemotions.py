"""GoEmotions: comments of Reddit with 27 emotions or none (Demszky et al., 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from guardsteer.lab.classifiers.sources.files import Labelled, Source, refuse

__all__ = ["GOEMOTIONS"]

_FILES = ("train.tsv", "dev.tsv")


def _read(folder: Path) -> Iterator[Labelled]:
    names = _lines(folder / "labels.txt")
    for file in _FILES:
        for number, line in enumerate(_lines(folder / file), 1):
            try:
                text, numbers, _ = line.split("\t")
                emotions = tuple(names[int(each)] for each in numbers.split(","))
            except (ValueError, IndexError):
                refuse(
                    folder / file, f"expected text, numbers of emotions and id, got {line!r:.80}", line=number
                )
            yield Labelled(text, emotions, emotions[0])


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        refuse(path, f"cannot be read: {error}")
    return [line for line in text.split("\n") if line]


GOEMOTIONS = Source(
    "goemotions",
    "goemotions",
    "Apache-2.0",
    "GoEmotions, Demszky et al. (2020), google-research, Apache-2.0",
    _read,
)
