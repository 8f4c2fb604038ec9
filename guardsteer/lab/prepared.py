"""What ``prepare`` did, as values: one record beside each artifact, and the report of all of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from guardsteer.evaluate import Estimate
from guardsteer.lab.measuring import estimate_json
from guardsteer.steer import Recommendation
from guardsteer.steer.vectors import write_whole

__all__ = ["SEPARATION", "Made", "Old", "Report", "State", "read_made", "write_made"]

SEPARATION = "separation"
"""How a block was chosen where no metric was given: it proves nothing about what steering does."""

State: TypeAlias = Literal["built", "there", "shipped", "failed"]

_FILE = "prepared.json"
_FORMAT = "guardsteer.prepared/1"


@dataclass(frozen=True, slots=True)
class Old:
    """The vector of the model that was prepared before, and in which parts that model differs."""

    model: str
    window: Recommendation | None
    differs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one vector.

    ``state``: ``built`` now, ``there`` from before, ``shipped`` with its recipe, or ``failed``.
    ``chosen_by``: the metric that its window was found with, or ``separation``. ``gain``: on prompts that
    nothing was chosen on. ``plan``: all that decided what was made.
    """

    name: str
    state: State
    path: Path
    digest: str = ""
    chosen_by: str = ""
    window: Recommendation | None = None
    gain: Estimate | None = None
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    old: Old | None = None
    plan: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        old = self.old
        return {
            "name": self.name,
            "state": self.state,
            "path": str(self.path),
            "digest": self.digest,
            "chosen_by": self.chosen_by,
            "window": _window_json(self.window),
            "gain": None if self.gain is None else estimate_json(self.gain),
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "old": old
            and {"model": old.model, "window": _window_json(old.window), "differs": list(old.differs)},
            "plan": self.plan,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All vectors of a policy for one model; ``unbound``: its probes that belong to another model."""

    policy: str
    model: str
    out: Path
    made: tuple[Made, ...]
    unbound: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True where the policy can run on the model now."""
        return not self.unbound and all(made.state != "failed" for made in self.made)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON holds it."""
        vectors = [made.to_json() for made in self.made]
        head = {"ok": self.ok, "policy": self.policy, "model": self.model, "out": str(self.out)}
        return {**head, "vectors": vectors, "unbound": list(self.unbound)}

    def lines(self) -> list[str]:
        """Return the report as a table, with what a person must know below it."""
        head = ("vector", "state", "chosen by", "blocks", "low", "recommended", "high", "held-out gain")
        rows = [head, *(_row(made) for made in self.made)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        if not self.made:
            table = [f"the policy {self.policy} names no vector by recipe: there is nothing to prepare"]
        for made in self.made:
            table += [f"{made.name}: {text}" for text in _told(made)]
        return [*table, *self.unbound]


def write_made(folder: Path, made: Made) -> None:
    """Write the record into an artifact's folder, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"format": _FORMAT, **made.to_json(), "path": made.path.name}
    write_whole(folder / _FILE, (json.dumps(data, indent=1, allow_nan=False) + "\n").encode())


def read_made(folder: Path) -> Made | None:
    """Return the record in an artifact's folder, None where there is none that can be read."""
    try:
        data = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        if data["format"] != _FORMAT or data["state"] not in ("built", "failed", "shipped"):
            return None
        window, gain = data["window"], data["gain"]
        return Made(
            name=str(data["name"]),
            state=data["state"],
            path=folder / str(data["path"]),
            digest=str(data["digest"]),
            chosen_by=str(data["chosen_by"]),
            window=None if window is None else Recommendation.model_validate_json(json.dumps(window)),
            gain=None if gain is None else Estimate(**gain),
            reasons=tuple(map(str, data["reasons"])),
            notes=tuple(map(str, data["notes"])),
            plan=dict(data["plan"]),
        )
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None


def _window_json(window: Recommendation | None) -> dict[str, Any] | None:
    return None if window is None else window.model_dump(mode="json")


def _row(made: Made) -> tuple[str, ...]:
    window, gain = made.window, made.gain
    numbers = ("-",) * 4
    if window is not None:
        blocks = ", ".join(map(str, window.blocks))
        numbers = (blocks, f"{window.low:g}", f"{window.recommended:g}", f"{window.high:g}")
    told = "-" if gain is None else f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
    return (made.name, made.state, made.chosen_by or "-", *numbers, told)


def _told(made: Made) -> list[str]:
    lines = [f"not published: {reason}" for reason in made.reasons]
    if made.chosen_by == SEPARATION:
        lines.append("not calibrated: block by separation, strengths a guess; give --metric to find them")
    lines += made.notes
    if made.old is not None:
        old, new = _range(made.old.window), _range(made.window)
        parts = ", ".join(made.old.differs) or "nothing"
        lines.append(f"model {made.old.model} before (differs in {parts}): {old}; now: {new}")
    return lines


def _range(window: Recommendation | None) -> str:
    if window is None:
        return "no window"
    blocks = ", ".join(map(str, window.blocks))
    return f"blocks {blocks}, {window.low:g} to {window.high:g}, recommended {window.recommended:g}"
