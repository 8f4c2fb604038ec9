"""What else happened to a row: halts, text taken back, classifiers that failed or were late, its error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from guardsteer.evaluate.timeline import RowRecord

__all__ = ["Happening", "happenings"]


@dataclass(frozen=True, slots=True)
class Happening:
    """Something at steps ``first`` to ``last``; ``form`` is how lanes draw it, ``shadow``: it would have."""

    kind: str
    first: int
    last: int
    form: Literal["halt", "cut", "cross", "soft"]
    told: str
    shadow: bool = False


def happenings(row: RowRecord) -> Iterator[Happening]:
    """Yield what else happened to a row, by kind."""
    for halt in row.halts:
        shadow = halt.mode == "shadow"
        told = f"step {halt.step}: {halt.rule} {'would have halted' if shadow else 'halted'} the row"
        told += f"; its fallback begins at position {halt.position}"
        yield Happening("halts", halt.step, halt.step, "halt", told, shadow)
    for back in row.revisions:
        shadow = back.mode == "shadow"
        tokens = "1 token" if back.dropped == 1 else f"{back.dropped} tokens"
        told = f"step {back.step}: {back.rule} {'would have taken' if shadow else 'took'} back {tokens}"
        told += f"; writing goes on at position {back.position}"
        yield Happening("revisions", back.step, back.step, "cut", told, shadow)
    for broken in row.broken:
        told = f"step {broken.step}: {broken.classifier} failed: {broken.error}"
        yield Happening("classifier failures", broken.step, broken.step, "cross", told)
    for late in row.late:
        steps = f"step {late.step}" if late.step == late.until else f"steps {late.step} to {late.until}"
        told = f"{steps}: {late.classifier} was late, its earlier scores stood"
        yield Happening("late classifiers", late.step, max(late.until, late.step), "soft", told)
    if row.failed is not None:
        told = f"generation failed: {row.failed.error}"
        yield Happening("the request's error", row.steps, row.steps, "cross", told)
