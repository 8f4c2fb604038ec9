"""Labelled texts: reading, checking and splitting them."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from blake3 import blake3

from guardsteer.core.digests import digest_parts
from guardsteer.errors import ClassifierError, Problem

__all__ = ["Example", "Part", "check_examples", "digest_examples", "distinct", "part_of", "read_examples"]

Part: TypeAlias = Literal["train", "tune", "test"]

_MOST_PROBLEMS = 20
_FIELD_BYTES = 2**24
_FURTHER = ("source", "slice", "group")


@dataclass(frozen=True, slots=True)
class Example:
    """A text and its label.

    ``source`` and ``slice``: where it is from, for figures of their own. ``group``: what examples share
    that may not stand on both sides of a split.
    """

    text: str
    label: str
    source: str = ""
    slice: str = ""
    group: str = ""


def read_examples(path: Path, *, text_column: str, label_column: str) -> list[Example]:
    """Return the examples of a CSV file with a header, or of a JSONL file with one object a line.

    Columns called ``source``, ``slice`` and ``group`` are taken along where they are text.
    Raises ``ClassifierError`` that lists the lines that hold none.
    """
    examples, problems = [], []
    try:
        for line, row in _rows(path):
            text, label = row.get(text_column), row.get(label_column)
            if isinstance(text, str) and isinstance(label, (str, int)):
                further = {name: row[name] for name in _FURTHER if isinstance(row.get(name), str)}
                examples.append(Example(text, str(label), **further))
                continue
            wanted = f"{text_column!r} and {label_column!r}"
            problems.append(
                Problem(
                    str(path), line, 1, f"needs a text and a label in {wanted}, got {sorted(map(str, row))}"
                )
            )
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise ClassifierError([Problem(str(path), 0, 0, f"cannot be read: {error}")]) from error
    if problems:
        raise ClassifierError(problems[:_MOST_PROBLEMS])
    return examples


def _rows(path: Path) -> Iterator[tuple[int, dict[Any, Any]]]:
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            csv.field_size_limit(_FIELD_BYTES)
            reader = csv.DictReader(file, strict=True)
            for row in reader:
                yield reader.line_num, row
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                value = json.loads(line)
                yield number, value if isinstance(value, dict) else {}


def _same(text: str) -> str:
    """Return what two texts have in common that are one for a split: case and spaces aside."""
    return " ".join(text.casefold().split())


def part_of(text: str, *, seed: int, tune: float, test: float) -> Part:
    """Return the part of the data that a text belongs to, from its digest.

    Texts that differ in case and spaces alone share a part, and a text keeps its part when the data
    grows. ``tune`` and ``test``: shares of the texts.
    """
    drawn = blake3(f"{seed}\n{_same(text)}".encode()).digest(length=8)
    fraction = int.from_bytes(drawn, "big") / 2**64
    if fraction < test:
        return "test"
    return "tune" if fraction < test + tune else "train"


def distinct(examples: Iterable[Example]) -> list[Example]:
    """Return the examples without repetitions, case and spaces aside, in order."""
    found: dict[tuple[str, str], Example] = {}
    for example in examples:
        found.setdefault((_same(example.text), example.label), example)
    return list(found.values())


def digest_examples(examples: Iterable[Example]) -> str:
    """Return the digest of examples in their order."""
    return digest_parts(part.encode() for example in examples for part in (example.text, example.label))


def check_examples(examples: Sequence[Example], *, least: int) -> None:
    """Raise ``ClassifierError`` where a text cannot be used or a label has fewer than ``least`` examples."""
    problems = []
    for number, example in enumerate(examples, 1):
        if not example.text.strip():
            problems.append(f"example {number} has no text")
        if any("\ud800" <= character <= "\udfff" for character in example.text + example.label):
            problems.append(f"example {number} holds half a surrogate pair")
    counts = Counter(example.label for example in examples)
    if len(counts) < 2:
        problems.append(f"there must be two labels at least, got {sorted(counts)}")
    problems.extend(
        f"label {label!r} has {count} examples, at least {least} are needed"
        for label, count in sorted(counts.items())
        if count < least
    )
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        listed = problems[:_MOST_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
        raise ClassifierError("; ".join(listed))
