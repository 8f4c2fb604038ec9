"""Everyday dialogues (SODA, Kim et al., 2023): one row for each line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from guardsteer.lab.classifiers.sources.files import Labelled, Source, refuse

__all__ = ["SODA"]

_SPEAKERS = {"User": "user", "Bot": "assistant"}
_END = "<|endoftext|>"


def _read(folder: Path) -> Iterator[Labelled]:
    path = folder / "dialogues.txt"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        refuse(path, f"cannot be read: {error}")
    for number, dialogue in enumerate(text.split("\n\n")):
        for line in dialogue.splitlines():
            speaker, colon, said = line.partition(":")
            words = said.removesuffix(_END).strip()
            if colon and speaker in _SPEAKERS and words:
                yield Labelled(
                    words, ("everyday", _SPEAKERS[speaker]), _SPEAKERS[speaker], f"dialogue {number}"
                )


SODA = Source(
    "soda-dialogues",
    "soda-dialogues",
    "CC-BY-4.0",
    "SODA, Kim et al. (2023), allenai, CC-BY-4.0",
    _read,
)
