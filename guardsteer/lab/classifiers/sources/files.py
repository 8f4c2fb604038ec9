"""What every reader of a public data set needs: tables and JSON out of a folder, refused with a reason."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from guardsteer.errors import ClassifierError, Problem

__all__ = ["Labelled", "Source", "refuse", "rows_of_json", "rows_of_table"]

_FIELD_CHARACTERS = 2**24


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text with every label that its set gives it.

    ``slice``: the kind of row within the set, for figures of its own. ``group``: what rows share that may
    not stand on both sides of a split, such as the prompt that several models answered. ``source``: a part
    of the set that can be left out alone; empty: the set itself.
    """

    text: str
    labels: tuple[str, ...]
    slice: str = ""
    group: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """A public data set: its folder, whose work it is, and how to read it.

    ``ships``: whether its licence lets a table of weights made of it be passed on; a set without is for
    testing alone.
    """

    name: str
    folder: str
    licence: str
    attribution: str
    read: Callable[[Path], Iterator[Labelled]]
    ships: bool = True


def rows_of_table(path: Path, columns: Sequence[str], *, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Yield the rows of a table with a header as column to text.

    Raises ``ClassifierError`` where it cannot be read or lacks one of ``columns``.
    """
    csv.field_size_limit(_FIELD_CHARACTERS)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                found = ", ".join(reader.fieldnames or ()) or "nothing"
                refuse(path, f"lacks the column {', '.join(missing)}, found {found}", line=1)
            for row in reader:
                if any(not isinstance(row[column], str) for column in columns):
                    refuse(path, f"has fewer values than {len(columns)} columns", line=reader.line_num)
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        refuse(path, f"cannot be read: {error}")


def rows_of_json(path: Path, fields: Sequence[str] = ()) -> list[Any]:
    """Return the list that a JSON file holds; every object in it has each of ``fields`` as text.

    Raises ``ClassifierError`` where it cannot be read or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        refuse(path, f"cannot be read: {error}")
    if not isinstance(found, list):
        refuse(path, f"must hold a list, got {type(found).__name__}")
    for place, row in enumerate(found, 1):
        wrong = [
            field for field in fields if not isinstance(row, dict) or not isinstance(row.get(field), str)
        ]
        if wrong:
            refuse(path, f"entry {place} has no text in {', '.join(wrong)}")
    return found


def refuse(path: Path, message: str, *, line: int = 0) -> NoReturn:
    """Raise the error for a file of a data set that is not what its reader expects."""
    hint = "take the set from its source again" if path.exists() else "name the folder that holds the sets"
    raise ClassifierError([Problem(str(path), line, 1 if line else 0, message, hint)])
