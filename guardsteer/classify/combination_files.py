"""The folder of a combination: its members by name and digest, and the table of a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from guardsteer.assets import Catalog, resolve
from guardsteer.classify.activation import Activation
from guardsteer.classify.artifact import check_tensors, read_file, read_tensors, write_tensors
from guardsteer.classify.card import CARD_FILE, CombinationCard, MemberCard
from guardsteer.classify.combination import Blend, By, CombinationClassifier, Missing, Stack
from guardsteer.classify.graph import WEIGHTS_FILE
from guardsteer.classify.opening import OpeningClassifier
from guardsteer.classify.writing import write_folder
from guardsteer.core.digests import digest_json
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import ClassifierError, GuardsteerError, Problem

__all__ = ["DEEPEST", "Member", "load_combination", "load_member", "write_combination"]

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


def load_combination(
    folder: Path, card: CombinationCard, catalog: Catalog, depth: int = 1, encoders: Sequence[Path] = ()
) -> CombinationClassifier:
    """Return the combination in ``folder``, with its members as the card names them.

    Members' encoders are looked for in the folders ``encoders`` first.

    Raises ``ClassifierError`` that lists every member that is missing, damaged or another classifier than the
    one that the combination was made of.
    """
    if depth > DEEPEST:
        raise ClassifierError(f"{folder}: combinations lie within one another more than {DEEPEST} deep")
    members: dict[str, TextClassifier] = {}
    loaded: dict[str, TextClassifier] = {}
    problems: list[Problem] = []
    for place, entry in enumerate(card.members):
        try:
            if entry.use not in loaded:
                loaded[entry.use] = load_member(entry.use, folder, catalog, depth, encoders)
            members[f"{place}: {entry.use}"] = _checked(entry, loaded[entry.use])
        except GuardsteerError as error:
            told = f"members.{place}: {entry.use!r}: {' '.join(str(error).split())}"
            problems.append(Problem(str(folder / CARD_FILE), 0, 0, told[:1000]))
    if problems:
        raise ClassifierError(problems)
    decides = {"kind", "outputs", "by", "missing", "activation", "members", "files"}
    blend = Blend(card.by, len(members), len(card.outputs), card.missing, _stack(folder, card))
    digest = digest_json(card.model_dump(mode="json", include=decides))
    return CombinationClassifier(members, blend, outputs=card.outputs, digest=digest)


def load_member(
    use: str, base: Path, catalog: Catalog, depth: int = 1, encoders: Sequence[Path] = ()
) -> TextClassifier:
    """Return the classifier that ``use`` names, which reads text; a path is taken from ``base``."""
    from guardsteer.classify.card import read_card
    from guardsteer.classify.load import load_folder

    path = resolve("classifiers", use, base, catalog)
    folder = path if path.is_dir() else path.parent
    card = read_card(folder)
    if isinstance(card, CombinationCard):
        return load_combination(folder, card, catalog, depth + 1, encoders)
    if card.kind == "probe":
        raise ClassifierError(
            "is a probe, which reads hidden states and not text; combine its score in the policy: "
            "combine: {of: [probe, words], by: max}"
        )
    found = load_folder(folder, catalog, encoders)
    if not hasattr(found, "start"):
        raise ClassifierError(f"is of kind {card.kind!r}, which reads no text")
    return found


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


def _checked(entry: MemberCard, found: TextClassifier) -> TextClassifier:
    if found.digest != entry.digest or tuple(found.outputs) != entry.outputs:
        raise ClassifierError(
            "is another classifier than the combination was made of: its digest is "
            f"{found.digest}, expected {entry.digest}; its outputs are {', '.join(found.outputs)}, "
            f"expected {', '.join(entry.outputs)}; "
            "restore the member, or make the combination again (guardsteer classifiers combine)"
        )
    return found if entry.first_words is None else OpeningClassifier(found, entry.first_words)


def _stack(folder: Path, card: CombinationCard) -> Stack | None:
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
