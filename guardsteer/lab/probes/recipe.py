"""``probe.yaml``: how a probe is made for a model, of a vector's recipe or of labelled texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from guardsteer.errors import ClassifierError, Problem
from guardsteer.host import render_chat
from guardsteer.lab.capture.sequences import states_of
from guardsteer.lab.classifiers.data import Example
from guardsteer.rules.document import compose, find, plain
from guardsteer.rules.places import Report
from guardsteer.rules.reading import decode

__all__ = [
    "PROBE_FILE",
    "TEXTS_FILE",
    "OfTexts",
    "ProbeRecipe",
    "States",
    "load_probe_recipe",
    "read_blocks",
]

PROBE_FILE = "probe.yaml"
TEXTS_FILE = "texts.jsonl"

_Line: TypeAlias = Annotated[str, Field(min_length=1, max_length=4096)]
_Block: TypeAlias = Annotated[int, Field(ge=0, le=100_000)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class OfVector(_Closed):
    """A vector read backwards.

    ``recipe``: named as a policy would. ``block``: the best separated by default.
    """

    recipe: _Line
    block: _Block | None = None
    measure: Literal["projection", "cosine"] = "projection"


class OfTexts(_Closed):
    """Labelled texts in ``texts.jsonl``: ``text`` and ``label``, two labels.

    ``said_by`` ``user``: the state that chooses the first token of the answer is read. ``model``: each token
    of the text, as an answer to ``prompt``. ``block``: the best on the tuning texts by default.
    """

    positive: _Line
    said_by: Literal["user", "model"] = "user"
    prompt: _Line = "Go on."
    block: _Block | None = None


class ProbeRecipe(_Closed):
    """How a probe is made; its output is ``score``. Exactly one of ``vector`` and ``texts`` is given."""

    format: Literal["guardsteer.probe/1"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    description: _Line = "A probe."
    licence: _Line
    vector: OfVector | None = None
    texts: OfTexts | None = None

    @model_validator(mode="after")
    def _one(self) -> ProbeRecipe:
        if (self.vector is None) == (self.texts is None):
            raise ValueError("give either vector (a recipe read backwards) or texts (labelled texts)")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """Hidden states [row, width] of one block; ``labels`` and ``keys``, the text, of each row."""

    hidden: NDArray[np.float32]
    labels: tuple[str, ...]
    keys: tuple[str, ...]
    block: int


def load_probe_recipe(folder: Path) -> ProbeRecipe:
    """Return what ``probe.yaml`` in ``folder`` says; ``ClassifierError`` has every mistake with its place."""
    file = folder / PROBE_FILE
    try:
        text = decode(file.read_bytes(), str(file))
    except OSError as error:
        raise ClassifierError([Problem(str(file), 0, 0, f"cannot be read: {error.strerror}")]) from error
    report = Report(str(file), text)
    root = compose(report)
    if report or root is None:
        raise ClassifierError(report.problems() or [Problem(str(file), 0, 0, "is empty")])
    try:
        return ProbeRecipe.model_validate(plain(root))
    except ValidationError as error:
        for item in error.errors(include_url=False):
            node, key_start, _ = find(root, item["loc"])
            where = ".".join(map(str, item["loc"]))
            message = item["msg"].removeprefix("Value error, ")
            got = "" if isinstance(item["input"], dict) else f"got {item['input']!r:.60}"
            place = key_start if key_start >= 0 else node.start
            report.add(place, f"{where}: {message}" if where else message, got)
        raise ClassifierError(report.problems()) from error


def read_blocks(
    model: Any,
    tokenizer: Any,
    recipe: OfTexts,
    examples: Sequence[Example],
    blocks: Sequence[int],
    *,
    batch_size: int,
) -> dict[int, States]:
    """Return what a policy's probe would see of each text at each of ``blocks``, in one pass a text.

    Raises ``ClassifierError`` for a block that is not there, and ``HostError`` as ``capture`` does.
    """
    rows = [_tokens(tokenizer, recipe, example.text) for example in examples]
    read = states_of(model, [tokens for tokens, _ in rows], blocks, batch_size=batch_size)
    states = {
        block: [hidden[first:] for hidden, (_, first) in zip(found, rows, strict=True)]
        for block, found in read.items()
    }
    return {
        block: States(
            hidden=np.concatenate(found),
            labels=tuple(e.label for e, some in zip(examples, found, strict=True) for _ in some),
            keys=tuple(e.text for e, some in zip(examples, found, strict=True) for _ in some),
            block=block,
        )
        for block, found in states.items()
    }


def _tokens(tokenizer: Any, recipe: OfTexts, text: str) -> tuple[list[int], int]:
    """Return the tokens of a chat and the first position to read; all from there on are read."""
    said = text if recipe.said_by == "user" else recipe.prompt
    ids = list(render_chat(tokenizer, [{"role": "user", "content": said}]).input_ids)
    if recipe.said_by == "user":
        return ids, len(ids) - 1
    reply = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return ids + reply, len(ids)
