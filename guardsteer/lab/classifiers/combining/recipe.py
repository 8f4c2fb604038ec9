"""``recipe.yaml`` of a stack: whose rows, which members, which encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from guardsteer.errors import ClassifierError, Problem
from guardsteer.lab.classifiers.fitting import About
from guardsteer.lab.classifiers.recipe import RECIPE_FILE
from guardsteer.rules.document import compose, find, plain
from guardsteer.rules.places import Report
from guardsteer.rules.reading import decode

__all__ = ["FORMAT", "MEANING", "MemberUse", "StackRecipe", "is_stack", "load_stack_recipe"]

FORMAT = "guardsteer.classifier.stack/1"

MEANING = "./encoder"
"""How a stack names the table over an encoder that is trained with it, in a folder of its own."""

_Line: TypeAlias = Annotated[str, Field(min_length=1, max_length=4096)]
_Penalties: TypeAlias = Annotated[tuple[float, ...], Field(min_length=1, strict=False)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class MemberUse(_Closed):
    """A member: ``words``, the classifier of the base recipe, or ``meaning``, the table over the encoder.

    ``first_words``: it hears so many words at the beginning of a text and no more.
    """

    use: Literal["words", "meaning"]
    first_words: Annotated[int, Field(ge=1, le=100_000)] | None = None


class _Encoder(_Closed):
    """The encoder to train on, by name; ``read``, ``window`` and ``over`` as on an encoder's card."""

    name: _Line
    read: _Line = "sentences"
    window: Annotated[int, Field(ge=8)] | None = None
    over: Literal["max", "mean"] = "mean"
    penalties: _Penalties = (0.3, 1.0, 3.0, 10.0)


class StackRecipe(_Closed):
    """A stack that can be built again.

    ``base``: the classifier, a catalogue name or a path, that is the member ``words`` and whose recipe gives
    rows, labels, splits and target. ``rows``: a recipe beside this one that gives them in its place, by the
    base's seed and split; what the base learned from is then not judged. ``folds``: members are trained so
    often without part of the training rows, and the stack on what they say of these. ``left_out`` and
    ``failures`` as in other recipes.
    """

    format: Literal["guardsteer.classifier.stack/1"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    version: _Line = "1"
    description: _Line
    licence: _Line
    base: _Line
    rows: _Line | None = None
    encoder: _Encoder
    members: Annotated[tuple[MemberUse, ...], Field(min_length=2, max_length=16, strict=False)]
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    penalty: Annotated[float, Field(gt=0)] = 1.0
    left_out: Annotated[tuple[_Line, ...], Field(strict=False)] = ()
    left_out_slices: Annotated[
        tuple[Annotated[tuple[_Line, ...], Field(strict=False)], ...], Field(strict=False)
    ] = ()
    failures: Annotated[tuple[_Line, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _meaning_is_used(self) -> StackRecipe:
        if not any(member.use == "meaning" for member in self.members):
            raise ValueError("no member is 'meaning': a stack without the encoder needs no encoder")
        return self

    @property
    def about(self) -> About:
        """What the card says beyond what training finds out."""
        return About(self.name, self.version, self.description, self.licence)


def is_stack(path: Path) -> bool:
    """Tell whether a recipe is one of a stack; False where it cannot be read."""
    file = path / RECIPE_FILE if path.is_dir() else path
    try:
        return f"format: {FORMAT}" in file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def load_stack_recipe(path: Path) -> StackRecipe:
    """Return the recipe in a folder or file.

    Raises ``ClassifierError`` that lists every mistake with its line.
    """
    file = path / RECIPE_FILE if path.is_dir() else path
    try:
        text = decode(file.read_bytes(), str(file))
    except OSError as error:
        problem = Problem(
            str(file), 0, 0, f"cannot be read: {error.strerror}", "give a folder with recipe.yaml"
        )
        raise ClassifierError([problem]) from error
    report = Report(str(file), text)
    root = compose(report)
    if report or root is None:
        raise ClassifierError(report.problems() or [Problem(str(file), 0, 0, "is empty")])
    try:
        return StackRecipe.model_validate(plain(root))
    except ValidationError as error:
        for item in error.errors(include_url=False):
            node, key_start, _ = find(root, item["loc"])
            where = ".".join(str(part) for part in item["loc"])
            told = f"{where}: {item['msg']}" if where else str(item["msg"])
            report.add(key_start if key_start >= 0 else node.start, told, _got(item["input"]))
        raise ClassifierError(report.problems()) from error


def _got(value: Any) -> str:
    return "" if isinstance(value, dict) else f"got {value!r:.60}"
