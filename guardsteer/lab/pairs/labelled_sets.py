"""Contrast pairs of a labelled set: texts that have a trait and texts that have it not, one a line of JSON.

Such texts were not written in pairs. Those that answer the same prompt are put side by side in their order,
which a mean difference does not depend on; where the sides are not equally many, nothing is left out in
silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from guardsteer.errors import AssetError, Problem
from guardsteer.lab.pairs.contrast import ContrastPair, Side
from guardsteer.steer.strict_json import NOT_BLANK, parse_strict

__all__ = ["load_labelled_pairs"]

_LARGEST_FILE_BYTES = 1 << 28
_Sides: TypeAlias = dict[tuple[str | None, tuple[tuple[str, str], ...]], dict[str, list[str]]]
_Text = Annotated[str, Field(pattern=NOT_BLANK, max_length=100_000)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    text: _Text
    label: _Text
    prompt: _Text | None = None
    labels: dict[str, _Text] = {}


def load_labelled_pairs(
    path: Path | str,
    *,
    positive: str = "positive",
    negative: str = "negative",
    template: str = "{text}",
    prompt: str = "Say something.",
) -> tuple[ContrastPair, ...]:
    """Return the pairs of JSON Lines with ``text`` and ``label``, and maybe ``prompt`` and ``labels``.

    ``positive`` and ``negative`` name the labels of the two sides. The assistant says ``template`` with the
    text in the place of ``{text}``, in answer to the line's prompt or else to ``prompt``. Texts are paired
    within a prompt and its ``labels`` (locale, product), which are one group of the split. Raises
    ``AssetError`` with every mistake: lines of another form, other labels, a text given twice, and prompts
    whose sides are not equally many.
    """
    path = Path(path)
    if template.count("{text}") != 1:
        raise AssetError(f"template: got {template!r}, expected one {{text}} in it")
    if positive == negative:
        raise AssetError(f"labels: got {positive!r} for both sides, expected two different ones")
    problems: list[Problem] = []
    sides = _sides(path, (positive, negative), problems)
    prompts = list(dict.fromkeys(asked or prompt for asked, _ in sides))
    pairs: list[ContrastPair] = []
    for (asked, labels), texts in sides.items():
        if len(texts[positive]) != len(texts[negative]):
            problems.append(_unequal(path, asked or prompt, texts, positive, negative))
            continue
        turns = ({"role": "user", "content": asked or prompt},)
        # What all share leaks nothing, so its pairs need not stay together in one part of the split.
        group = f"set-{prompts.index(asked or prompt) + 1}{'/' if asked else '-'}"
        for texts_of in zip(texts[positive], texts[negative], strict=True):
            first, second = (Side(template.replace("{text}", text)) for text in texts_of)
            pairs.append(ContrastPair(f"{group}{len(pairs) + 1}", turns, first, second, dict(labels)))
    if problems:
        raise AssetError(problems)
    return tuple(pairs)


def _sides(path: Path, wanted: tuple[str, str], problems: list[Problem]) -> _Sides:
    """Return the texts by prompt and labels, then by side; mistakes are added to ``problems``."""
    sides: _Sides = {}
    seen: dict[str, int] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        row = parse_strict(_Row, line, str(path), number)
        if isinstance(row, tuple):
            problems.extend(row)
            continue
        if row.label not in wanted:
            message = f"field 'label': got {row.label!r}, expected {wanted[0]!r} or {wanted[1]!r}"
            problems.append(Problem(str(path), number, 1, message))
            continue
        first = seen.setdefault(" ".join(row.text.casefold().split()), number)
        if first != number:
            problems.append(Problem(str(path), number, 1, f"the text is that of line {first}"))
        key = (row.prompt, tuple(sorted(row.labels.items())))
        sides.setdefault(key, {side: [] for side in wanted})[row.label].append(row.text)
    return sides


def _unequal(path: Path, asked: str, texts: dict[str, list[str]], positive: str, negative: str) -> Problem:
    message = (
        f"prompt {asked!r:.60}: {len(texts[positive])} texts are {positive!r} and {len(texts[negative])} "
        f"{negative!r}, expected as many of each"
    )
    return Problem(str(path), 0, 0, message, "add texts to one side or leave some of the other out")


def _lines(path: Path) -> list[bytes]:
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise AssetError(f"{path}: larger than {_LARGEST_FILE_BYTES} bytes")
        return path.read_bytes().splitlines()
    except OSError as error:
        raise AssetError([Problem(str(path), 0, 0, f"cannot be read: {error}")]) from error
