"""Contrast pairs of other formats: A/B questions as in CAA, and two lists of plain texts.

Every mistake of a file is told at once, with its line or place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from guardsteer.errors import AssetError, Problem
from guardsteer.lab.pairs.contrast import ContrastPair, Measure, Recipe, Seen, Side, pair_mistakes
from guardsteer.steer.strict_json import NOT_BLANK, problems_of

__all__ = ["load_ab_pairs", "load_text_pairs", "write_recipe"]

_LARGEST_FILE_BYTES = 1 << 28
_WORD = re.compile(r"\w+")
_CHOICE = re.compile(r"^\s*\(([A-Z])\)\s*")
_Text = Annotated[str, Field(pattern=NOT_BLANK)]


class _AbRow(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    question: _Text
    answer_matching_behavior: _Text
    answer_not_matching_behavior: _Text


def load_ab_pairs(path: Path | str, *, spelled_out: bool = False) -> tuple[ContrastPair, ...]:
    """Return the pairs of a JSON list of A/B questions, as contrastive activation addition uses them.

    Each item has ``question`` (with its choices, a line each), ``answer_matching_behavior`` and
    ``answer_not_matching_behavior``, such as ``(A)`` and ``(B)``; other fields are ignored. The replies are
    these answers. With ``spelled_out`` the choices are taken out of the question and the replies are their
    words, so that the direction does not hold the letters. Items that share a question or a spelled out reply
    are one group; an item that says again what an earlier one did, as with its choices swapped, is left out.
    Raises ``AssetError`` with every mistake.
    """
    path = Path(path)
    try:
        items = json.loads(_read(path))
    except ValueError as error:
        raise AssetError([Problem(str(path), 0, 0, f"not JSON: {error}")]) from error
    if not isinstance(items, list):
        raise AssetError([Problem(str(path), 0, 0, "expected a list of questions")])
    pairs: list[ContrastPair] = []
    problems: list[Problem] = []
    groups = _Groups()
    seen: set[tuple[str, str, str]] = set()
    for place, item in enumerate(items, 1):
        where = f"{path}: item {place}"
        try:
            row = _AbRow.model_validate(item)
            question, positive, negative = _answers(row, where, spelled_out=spelled_out)
        except ValidationError as error:
            problems.extend(problems_of(_AbRow, error, where))
            continue
        except AssetError as error:
            problems.extend(error.problems)
            continue
        if (question, positive, negative) in seen:
            continue
        seen.add((question, positive, negative))
        groups.join(place, [question, *([positive, negative] if spelled_out else [])])
        made = _pair(str(place), question, positive, negative)
        problems.extend(Problem(where, 0, 0, message) for message in pair_mistakes(made))
        pairs.append(made)
    if problems:
        raise AssetError(problems)
    return tuple(replace(pair, id=f"item-{groups.of(int(pair.id))}/{pair.id}") for pair in pairs)


class _Groups:
    """Places that share a text, directly or through others; the first place names the group."""

    def __init__(self) -> None:
        self._above: dict[int, int] = {}
        self._first: dict[str, int] = {}

    def of(self, place: int) -> int:
        while (above := self._above.get(place, place)) != place:
            place = above
        return place

    def join(self, place: int, texts: Sequence[str]) -> None:
        for text in texts:
            words = " ".join(_WORD.findall(text.casefold()))
            one, other = sorted((self.of(place), self.of(self._first.setdefault(words, place))))
            self._above[other] = one


def load_text_pairs(
    positive: Path | str, negative: Path | str, *, template: str = "{text}", prompt: str = "Say something."
) -> tuple[ContrastPair, ...]:
    """Return the pairs of two plain text files: line ``i`` of each makes one pair, blank lines apart.

    The assistant says ``template`` with the text in the place of ``{text}``, in answer to ``prompt``, which a
    recipe of these pairs has as its ``prompt``. Texts that are on both sides, or several times on one, are
    refused. Raises ``AssetError`` with every mistake.
    """
    if template.count("{text}") != 1:
        raise AssetError(f"template: got {template!r}, expected one {{text}} in it")
    files = (str(positive), str(negative))
    sides = [_texts(Path(path)) for path in files]
    if len(sides[0]) != len(sides[1]):
        message = f"got {len(sides[0])} texts and {len(sides[1])} in {negative}, expected as many"
        raise AssetError([Problem(str(positive), 0, 0, message, "pairs are made line by line")])
    problems: list[Problem] = []
    seen: dict[str, tuple[int, int]] = {}
    pairs = []
    for place, texts in enumerate(zip(*sides, strict=True), 1):
        for side, (line, text) in enumerate(texts):
            first_side, first = seen.setdefault(text.casefold(), (side, line))
            if (first_side, first) != (side, line):
                message = f"the text is that of {files[first_side]}:{first}"
                problems.append(Problem(files[side], line, 1, message))
        first_reply, second_reply = (template.replace("{text}", text) for _, text in texts)
        pairs.append(_pair(f"text-{place}", prompt, first_reply, second_reply))
    if problems:
        raise AssetError(problems)
    return tuple(pairs)


def write_recipe(recipe: Recipe, folder: Path) -> Path:
    """Write ``recipe.yaml`` and ``pairs.jsonl`` and return ``folder``, whose name must be the recipe's.

    Raises ``AssetError`` where pairs would leak between parts, or where a file is there already.
    """
    seen = Seen(recipe.split, recipe.prompt)
    problems = [
        Problem(f"pair {pair.id!r}", 0, 0, mistake)
        for line, pair in enumerate(recipe.pairs, 1)
        for mistake in seen.mistakes(pair, line)
    ]
    if problems:
        raise AssetError(problems)
    head: Mapping[str, Any] = {
        "format": "guardsteer.recipe/1",
        "name": recipe.name,
        "version": recipe.version,
        "trait": recipe.trait,
        "description": recipe.description or recipe.trait,
        "licence": recipe.licence,
        "read": recipe.read,
    }
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    if recipe.prompt is not None:
        lines.append(f"prompt: {json.dumps(recipe.prompt, ensure_ascii=False)}")
    if recipe.measure is not None:
        lines += ["measure:", *(f"  {key}: {json.dumps(value)}" for key, value in _measure(recipe.measure))]
    split = recipe.split
    lines.append(f"split: {{extraction: {split.extraction}, tuning: {split.tuning}, test: {split.test}}}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (("recipe.yaml", lines), ("pairs.jsonl", list(_rows(recipe.pairs)))):
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write("".join(line + "\n" for line in content))
    except OSError as error:
        raise AssetError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return folder


def _measure(measure: Measure) -> Iterator[tuple[str, str | float]]:
    yield "metric", measure.metric
    yield "direction", "up" if measure.up else "down"
    for name in ("gain", "perplexity_ratio", "prompts"):
        value = getattr(measure, name)
        if value is not None:
            yield name, value


def _rows(pairs: Sequence[ContrastPair]) -> Iterator[str]:
    for pair in pairs:
        sides = {
            name: {key: value for key, value in (("reply", side.reply), ("system", side.system)) if value}
            for name, side in (("positive", pair.positive), ("negative", pair.negative))
        }
        row = {"id": pair.id, "messages": [dict(message) for message in pair.messages], **sides}
        if pair.labels:
            row["labels"] = dict(pair.labels)
        yield json.dumps(row, ensure_ascii=False)


def _answers(row: _AbRow, where: str, *, spelled_out: bool) -> tuple[str, str, str]:
    positive, negative = row.answer_matching_behavior.strip(), row.answer_not_matching_behavior.strip()
    if not spelled_out:
        return row.question, positive, negative
    kept, choices = [], {}
    for line in row.question.splitlines():
        match = _CHOICE.match(line)
        if match:
            choices[f"({match.group(1)})"] = line[match.end() :].strip()
        elif line.strip().rstrip(":").casefold() != "choices":
            kept.append(line)
    missing = [letter for letter in (positive, negative) if not choices.get(letter)]
    if missing:
        message = f"no choice {missing[0]} in the question, only {', '.join(choices) or 'none'}"
        raise AssetError([Problem(where, 0, 0, message)])
    return "\n".join(kept).strip(), choices[positive], choices[negative]


def _pair(name: str, prompt: str, positive: str, negative: str) -> ContrastPair:
    return ContrastPair(name, ({"role": "user", "content": prompt},), Side(positive), Side(negative))


def _texts(path: Path) -> list[tuple[int, str]]:
    lines = _read(path).splitlines()
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise AssetError(f"{path}: larger than {_LARGEST_FILE_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AssetError([Problem(str(path), 0, 0, f"cannot be read: {error}")]) from error
