"""The texts of this example: its own utterances, GoEmotions and SODA, each with where it came from.

Nothing of the two data sets is kept in the repository; both are read from a folder of the user's.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from guardsteer.errors import AssetError

__all__ = [
    "OWN",
    "Comment",
    "Frames",
    "comments",
    "expand",
    "own_lines",
    "read_frames",
    "soda_lines",
    "without",
]

OWN = Path(__file__).resolve().parent / "utterances"

_GAP = re.compile(r"\{(\w+)\}")
_AN = re.compile(r"\b([Aa]) (?=[aeiou])")
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment of GoEmotions and the emotions that its raters saw in it."""

    text: str
    emotions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Frames:
    """Sentences with gaps, and what may fill each gap (which may hold gaps again)."""

    frames: tuple[str, ...]
    gaps: Mapping[str, tuple[str, ...]]


def own_lines(name: str) -> list[str]:
    """Return the lines of one of this example's files of utterances."""
    text = (OWN / f"{name}.txt").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_frames(name: str) -> Frames:
    """Return the frames in ``utterances/NAME_frames.yaml``."""
    held: Any = yaml.safe_load((OWN / f"{name}_frames.yaml").read_text(encoding="utf-8"))
    return Frames(tuple(held["frames"]), {gap: tuple(words) for gap, words in held["gaps"].items()})


def expand(frames: Frames, count: int, *, seed: int) -> list[str]:
    """Return ``count`` different utterances drawn from ``frames``; some lower-cased, shouted or exclaimed."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found.setdefault(_styled(_filled(frames, rng), rng))
    return list(found)


def _filled(frames: Frames, rng: random.Random) -> str:
    text = rng.choice(frames.frames)
    for _ in range(_DEEPEST):
        gap = _GAP.search(text)
        if gap is None:
            break
        text = text[: gap.start()] + rng.choice(frames.gaps[gap[1]]) + text[gap.end() :]
    text = _AN.sub(r"\1n ", text)
    return text[0].upper() + text[1:]


def _styled(text: str, rng: random.Random) -> str:
    drawn = rng.random()
    if drawn < 0.10:
        return text.lower().rstrip(".")
    if drawn < 0.14:
        return text.upper()
    return text.rstrip(".") + "!" if drawn < 0.20 else text


def comments(folder: Path, part: str) -> list[Comment]:
    """Return the comments of ``goemotions/PART.tsv`` below ``folder``; ``part`` is train or dev.

    Raises ``AssetError`` that says how to get them where they are missing.
    """
    names = _read(folder / "goemotions" / "labels.txt").split()
    rows = []
    for line in _read(folder / "goemotions" / f"{part}.tsv").splitlines():
        text, labels, _ = line.split("\t")
        rows.append(Comment(text.strip('"'), frozenset(names[int(label)] for label in labels.split(","))))
    return rows


def soda_lines(folder: Path) -> list[str]:
    """Return the different lines of the dialogues in ``soda-dialogues/dialogues.txt`` below ``folder``."""
    found: dict[str, None] = {}
    for line in _read(folder / "soda-dialogues" / "dialogues.txt").splitlines():
        speaker, colon, said = line.partition(": ")
        said = said.replace("<|endoftext|>", "").strip()
        if colon and speaker in ("User", "Bot") and said:
            found.setdefault(said)
    return list(found)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise AssetError(
            f"{path}: {error.strerror}. Get GoEmotions (train.tsv, dev.tsv, labels.txt of "
            "github.com/google-research/google-research, folder goemotions/data; rename emotions.txt to "
            "labels.txt) into DATA/goemotions, dialogues of SODA (huggingface.co/datasets/allenai/soda) as "
            "lines 'User: ...' and 'Bot: ...' into DATA/soda-dialogues/dialogues.txt, and give --data DATA"
        ) from error


def without(texts: Sequence[str], held_out: Sequence[str]) -> list[str]:
    """Return ``texts`` less those of ``held_out``; case, signs and spaces aside."""
    kept_out = {_words(text) for text in held_out}
    return [text for text in texts if _words(text) not in kept_out]


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
