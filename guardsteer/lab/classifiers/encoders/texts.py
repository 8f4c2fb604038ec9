"""The texts on which int8 is held against float32."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from guardsteer.errors import ClassifierError
from guardsteer.lab.measure.gates import Shipped, shipped_parts

__all__ = ["LEAST_TEXTS", "built_in_texts", "read_texts"]

LEAST_TEXTS: Final = 20

_SETS: Final[tuple[Shipped, ...]] = ("ordinary", "safe")
_ALL = 1000


def built_in_texts() -> tuple[str, ...]:
    """Return the prompts that ship for other gates: over a hundred, none of them long."""
    return tuple(
        str(prompt.messages[-1]["content"])
        for name in _SETS
        for part in (shipped_parts(name, _ALL).tuning, shipped_parts(name, _ALL).test)
        for prompt in part
    )


def read_texts(path: Path) -> tuple[str, ...]:
    """Return the lines of a file that are not blank. Raises ``ClassifierError`` for fewer than 20."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ClassifierError(f"--texts: cannot read {path}: {error}") from error
    texts = tuple(line.strip() for line in lines if line.strip())
    if len(texts) < LEAST_TEXTS:
        raise ClassifierError(f"--texts: {path} holds {len(texts)} texts, expected at least {LEAST_TEXTS}")
    return texts
