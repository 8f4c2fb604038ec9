"""A recipe on disk: ``recipe.yaml`` says what the trait is and where to read it, ``pairs.jsonl`` shows it.

Both are read strictly, and every mistake is told with its line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from guardsteer.errors import AssetError, Problem
from guardsteer.lab.pairs.contrast import FEWEST_PAIRS, ContrastPair, Recipe, Seen, Side, Split, pair_mistakes
from guardsteer.lab.recipes.measure import MeasureRow
from guardsteer.lab.recipes.yaml_file import read_recipe_yaml
from guardsteer.steer.artifact import ReadPosition
from guardsteer.steer.strict_json import NOT_BLANK, parse_strict

__all__ = ["load_recipe"]

_LARGEST_RECIPE_BYTES = 1 << 16
_LARGEST_LINE_BYTES = 1 << 20
_LARGEST_FILE_BYTES = 1 << 28
_Line = Annotated[str, Field(min_length=1, max_length=4000, pattern=NOT_BLANK)]
_Label = Annotated[str, Field(min_length=1, max_length=64, pattern=NOT_BLANK)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _MessageRow(_Closed):
    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(min_length=1, pattern=NOT_BLANK)]


class _SideRow(_Closed):
    reply: Annotated[str, Field(pattern=NOT_BLANK)] | None = None
    system: Annotated[str, Field(pattern=NOT_BLANK)] | None = None


class _PairRow(_Closed):
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}(/[a-z0-9_.-]{1,64})?$")]
    messages: Annotated[tuple[_MessageRow, ...], Field(min_length=1)] | None = None
    positive: _SideRow
    negative: _SideRow
    labels: dict[_Label, _Label] = {}

    def pair(self, prompt: str | None) -> ContrastPair:
        asked: list[Mapping[str, str]] = [] if prompt is None else [{"role": "user", "content": prompt}]
        if self.messages is not None:
            asked = [{"role": row.role, "content": row.content} for row in self.messages]
        return ContrastPair(
            id=self.id,
            messages=tuple(asked),
            positive=Side(self.positive.reply, self.positive.system),
            negative=Side(self.negative.reply, self.negative.system),
            labels=self.labels,
        )


class _SplitRow(_Closed):
    extraction: Annotated[int, Field(ge=1, le=100)]
    tuning: Annotated[int, Field(ge=0, le=100)]
    test: Annotated[int, Field(ge=0, le=100)]

    @model_validator(mode="after")
    def _whole(self) -> _SplitRow:
        total = self.extraction + self.tuning + self.test
        if total != 100:
            raise ValueError(f"got shares that add up to {total}, expected 100")
        return self


class _RecipeRow(_Closed):
    format: Literal["guardsteer.recipe/1"]
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    version: _Line
    trait: _Line
    description: _Line
    licence: _Line
    read: ReadPosition
    split: _SplitRow
    prompt: _Line | None = None
    measure: MeasureRow | None = None


def load_recipe(folder: Path | str) -> Recipe:
    """Return the recipe in ``folder``, whose name must be the recipe's.

    Raises ``AssetError`` with every mistake of both files: form, unknown fields, sides that do not
    compare, repeated ids and pairs, text that leaks from one part of the split into another, and fewer
    than ``FEWEST_PAIRS`` pairs.
    """
    folder = Path(folder)
    row, problems = _read_recipe(folder / "recipe.yaml")
    if row is not None and row.name != folder.resolve().name:
        message = f"field 'name': got {row.name!r}, expected the folder's name, {folder.resolve().name!r}"
        problems.append(Problem(str(folder / "recipe.yaml"), 0, 0, message))
    # Without a split nothing leaks, and a mistake in one file is not told as many in the other.
    split = Split(**row.split.model_dump()) if row is not None else Split(100, 0, 0)
    prompt = row.prompt if row is not None else None
    pairs = _read_pairs(folder / "pairs.jsonl", (split, prompt), problems)
    if problems or row is None:
        raise AssetError(problems)
    return Recipe(
        name=row.name,
        trait=row.trait,
        licence=row.licence,
        read=row.read,
        pairs=tuple(pairs),
        description=row.description,
        version=row.version,
        split=split,
        prompt=prompt,
        measure=None if row.measure is None else row.measure.measure(),
    )


def _read_recipe(path: Path) -> tuple[_RecipeRow | None, list[Problem]]:
    try:
        data = path.read_bytes() if path.stat().st_size <= _LARGEST_RECIPE_BYTES else None
    except OSError as error:
        return None, [Problem(str(path), 0, 0, f"cannot be read: {error.strerror or error}")]
    if data is None:
        return None, [Problem(str(path), 0, 0, f"larger than {_LARGEST_RECIPE_BYTES} bytes")]
    found = read_recipe_yaml(data, str(path))
    if found.problems:
        return None, found.problems
    row = parse_strict(_RecipeRow, json.dumps(found.values).encode(), str(path), place_of=found.place_of)
    return (None, list(row)) if isinstance(row, tuple) else (row, [])


def _read_pairs(path: Path, shared: tuple[Split, str | None], problems: list[Problem]) -> list[ContrastPair]:
    pairs: list[ContrastPair] = []
    seen = Seen(*shared)
    rows = 0
    try:
        for number, line in _lines(path):
            rows += 1
            row = parse_strict(_PairRow, line, str(path), number)
            if isinstance(row, tuple):
                problems.extend(row)
                continue
            pair = row.pair(shared[1])
            mistakes = (*pair_mistakes(pair), *seen.mistakes(pair, number))
            problems.extend(Problem(str(path), number, 1, message) for message in mistakes)
            pairs.append(pair)
    except OSError as error:
        problems.append(Problem(str(path), 0, 0, f"cannot be read: {error.strerror or error}"))
        return pairs
    if rows < FEWEST_PAIRS:
        message = f"got {rows} pairs, expected at least {FEWEST_PAIRS}"
        problems.append(
            Problem(str(path), 0, 0, message, "fewer give a direction that is mostly their wording")
        )
    return pairs


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if path.stat().st_size > _LARGEST_FILE_BYTES:
        raise OSError(f"larger than {_LARGEST_FILE_BYTES} bytes")
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_LARGEST_LINE_BYTES):
            number += 1
            yield number, line.rstrip(b"\r\n")
