"""Answers as text for people and for machines: table, CSV, JSON, JSON lines."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from datetime import date, datetime
from typing import IO, Any

from guardsteer.audit.index.source import Answer

__all__ = ["format_table", "json_rows", "write_csv", "write_json", "write_jsonl"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBERS = ("BIGINT", "INTEGER", "HUGEINT", "DOUBLE", "UBIGINT", "SMALLINT", "TINYINT", "FLOAT", "DECIMAL")


def plain(value: Any) -> Any:
    """Return a value as JSON holds it: times in ISO 8601 with Z, bytes in hexadecimal, nan null."""
    match value:
        case datetime():
            return value.isoformat(timespec="microseconds" if value.microsecond else "seconds") + "Z"
        case date():
            return value.isoformat()
        case bytes():
            return value.hex()
        case float() if not math.isfinite(value):
            return None
        case list() | tuple():
            return [plain(each) for each in value]
        case dict():
            return {str(key): plain(each) for key, each in value.items()}
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def json_rows(answer: Answer) -> Iterator[str]:
    """Yield each row as a JSON object on one line; what is JSON already stays as it was written."""
    names = [json.dumps(name) for name in answer.columns]
    nested = [type_ == "JSON" for type_ in answer.types]
    for row in answer.rows:
        texts = (
            value if as_it_is and value is not None else json.dumps(plain(value), allow_nan=False)
            for value, as_it_is in zip(row, nested, strict=True)
        )
        yield "{" + ", ".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True)) + "}"


def format_table(answer: Answer) -> str:
    """Return rows as aligned text, numbers to the right; empty when there are none."""
    rows = [[_cell(value) for value in row] for row in answer.rows]
    if not rows:
        return ""
    widths = [max(len(name), *(len(row[at]) for row in rows)) for at, name in enumerate(answer.columns)]
    right = [type_.startswith(_NUMBERS) and not type_.endswith("]") for type_ in answer.types]
    lines = [list(answer.columns), ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def write_csv(answer: Answer, file: IO[str]) -> int:
    """Write rows with a head line; return how many. Text that a spreadsheet would run gets a ``'`` first."""
    # As RFC 4180 has it; with it, breaks within a cell are quoted, whichever they are.
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow([_guarded(name) for name in answer.columns])
    count = 0
    for row in answer.rows:
        writer.writerow([_csv(value) for value in row])
        count += 1
    return count


def write_jsonl(answer: Answer, file: IO[str]) -> int:
    """Write one object on each line; return how many."""
    count = 0
    for each in json_rows(answer):
        file.write(each + "\n")
        count += 1
    return count


def write_json(answer: Answer, file: IO[str]) -> int:
    """Write one array of objects, one on each line; return how many."""
    count = 0
    file.write("[")
    for each in json_rows(answer):
        file.write((",\n" if count else "\n") + each)
        count += 1
    file.write("\n]\n" if count else "]\n")
    return count


def _cell(value: Any) -> str:
    """Return a value as a table shows it: on one line, without control characters."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e6 else f"{value:,.0f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**15 else str(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds")
    value = plain(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _csv(value: Any) -> Any:
    value = plain(value)
    if isinstance(value, list | dict):
        return json.dumps(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return _guarded(value) if isinstance(value, str) else value


def _guarded(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
