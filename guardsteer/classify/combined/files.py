"""The folder of a combination: its members by name and digest, and the table of a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from guardsteer.classify.activation import Activation
from guardsteer.classify.combined.combination import By, Missing, Stack
from guardsteer.classify.files.artifact import check_tensors, read_file, read_tensors, write_tensors
from guardsteer.classify.files.card import CombinationCard, MemberCard
from guardsteer.classify.files.graph import WEIGHTS_FILE
from guardsteer.classify.files.writing import write_folder
from guardsteer.classify.pace.opening import OpeningClassifier
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import ClassifierError

__all__ = ["DEEPEST", "Member", "checked_member", "read_stack", "write_combination"]

DEEPEST: Final = 4
"""How many combinations may lie within one another, so that one that names itself is refused."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member to be: how the card names it, the classifier, and how many words of a text it hears."""

    use: str
    classifier: TextClassifier
    first_words: int | None = None

    @property
    def heard(self) -> TextClassifier:
        """The classifier as the combination has it read."""
        if self.first_words is None:
            return self.classifier
        return OpeningClassifier(self.classifier, self.first_words)


def write_combination(
    folder: Path,
    members: Sequence[Member],
    *,
    by: By,
    outputs: Sequence[str],
    about: Mapping[str, Any],
    missing: Missing = "closed",
    activation: Activation = "sigmoid",
    stack: Mapping[str, NDArray[np.float64]] | None = None,
) -> None:
    """Write a combination's folder; ``stack`` holds ``weight``, ``bias`` and ``center``, as in ``Stack``.

    Raises ``ClassifierError`` where the loader would refuse it.
    """
    files = {}
    if stack is not None:
        width = sum(len(member.classifier.outputs) for member in members)
        problems = check_tensors(stack, _shapes(width, len(outputs)))
        if problems:
            raise ClassifierError("; ".join(problems))
        files[WEIGHTS_FILE] = write_tensors(stack)
    entries = [
        {
            "use": member.use,
            "digest": member.classifier.digest,
            "outputs": list(member.classifier.outputs),
            **({} if member.first_words is None else {"first_words": member.first_words}),
        }
        for member in members
    ]
    fixed = {
        "kind": "combination",
        "by": by,
        "missing": missing,
        "outputs": list(outputs),
        "members": entries,
    }
    write_folder(folder, {**about, **fixed, "activation": activation}, files)


def checked_member(entry: MemberCard, found: TextClassifier) -> TextClassifier:
    """Return what was found for a member; ``ClassifierError`` where it is another than the card names."""
    if found.digest != entry.digest or tuple(found.outputs) != entry.outputs:
        raise ClassifierError(
            "is another classifier than the combination was made of: its digest is "
            f"{found.digest}, expected {entry.digest}; its outputs are {', '.join(found.outputs)}, "
            f"expected {', '.join(entry.outputs)}; "
            "restore the member, or make the combination again (guardsteer classifiers combine)"
        )
    return found if entry.first_words is None else OpeningClassifier(found, entry.first_words)


def read_stack(folder: Path, card: CombinationCard) -> Stack | None:
    """Return the table of a stack; None for a combination that has none."""
    if card.by != "stack":
        return None
    data = read_file(folder, WEIGHTS_FILE, card.files[WEIGHTS_FILE])
    width = sum(len(member.outputs) for member in card.members)
    tensors = read_tensors(folder / WEIGHTS_FILE, data, _shapes(width, len(card.outputs)))
    return Stack(
        weight=tuple(tuple(row) for row in tensors["weight"].tolist()),
        bias=tuple(tensors["bias"].tolist()),
        center=tuple(tensors["center"].tolist()),
        activation=card.activation,
    )


def _shapes(width: int, outputs: int) -> dict[str, tuple[tuple[int, ...], tuple[str, ...]]]:
    wide = ("float64",)
    return {"weight": ((width, outputs), wide), "bias": ((outputs,), wide), "center": ((width,), wide)}
