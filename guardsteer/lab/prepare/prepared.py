"""What ``prepare`` did, as values: one record beside each artifact, and the report of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from guardsteer.core.policy import ScheduleSpec
from guardsteer.errors import AssetError
from guardsteer.evaluate import Estimate
from guardsteer.lab.measure.effects import schedule_text
from guardsteer.lab.measure.measuring import estimate_json
from guardsteer.steer import Recommendation
from guardsteer.steer.vectors import write_whole

__all__ = ["HEADS", "SEPARATION", "Figures", "Made", "Old", "Report", "State", "read_made", "write_made"]

SEPARATION = "separation"
"""How a block was chosen where no metric was given: it proves nothing about what steering does."""

State: TypeAlias = Literal["built", "there", "shipped", "failed"]

HEADS = ("", "state", "model", "blocks", "at", "for", "low", "best", "high", "held-out gain", "perplexity")

_FILE = "prepared.json"
_FORMAT = "guardsteer.prepared/2"


@dataclass(frozen=True, slots=True)
class Figures:
    """What a push at the best strength did on prompts that nothing was chosen on.

    ``random``: the gains of random vectors of equal norm in its place.
    """

    gain: Estimate
    perplexity_ratio: Estimate
    random: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Old:
    """What was made of the same for the model before, and in which parts that model differs."""

    model: str
    window: Recommendation | None
    differs: tuple[str, ...]
    figures: Figures | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one vector or probe.

    ``state``: ``built`` now, ``there`` from before, ``shipped`` with its recipe, or ``failed``.
    ``chosen_by``: the metric that its window was found with, or ``separation``. ``outside`` and ``inside``:
    what of the policy is outside the window, what within. ``notes``: what else a person must know. ``plan``:
    all that decided what was made.
    """

    name: str
    state: State
    path: Path
    kind: Literal["vector", "probe"] = "vector"
    digest: str = ""
    chosen_by: str = ""
    window: Recommendation | None = None
    figures: Figures | None = None
    reasons: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    old: Old | None = None
    plan: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        old = self.old
        return {
            "name": self.name,
            "kind": self.kind,
            "state": self.state,
            "path": str(self.path),
            "digest": self.digest,
            "chosen_by": self.chosen_by,
            "window": _window_json(self.window),
            "held_out": _figures_json(self.figures),
            "reasons": list(self.reasons),
            "outside": list(self.outside),
            "inside": list(self.inside),
            "notes": list(self.notes),
            "old": old
            and {
                "model": old.model,
                "window": _window_json(old.window),
                "held_out": _figures_json(old.figures),
                "differs": list(old.differs),
            },
            "plan": self.plan,
        }

    def told(self) -> Iterator[str]:
        """Yield what a person must know of it beside its figures."""
        yield from (f"not published: {reason}" for reason in self.reasons)
        if self.chosen_by == SEPARATION:
            yield (
                "NOT CALIBRATED: its block is the one that separates best, its strengths are a guess; give "
                "its recipe a measure, or --metric"
            )
        if self.figures is not None and self.figures.random:
            random = ", ".join(f"{each:+.3f}" for each in self.figures.random)
            yield f"random vectors of its norm in its place gain {random}"
        yield from (f"outside: {each}" for each in self.outside)
        yield from (f"inside: {each}" for each in self.inside)
        yield from self.notes
        if self.old is not None:
            yield f"the model before, {self.old.model}, differs in {', '.join(self.old.differs) or 'nothing'}"


@dataclass(frozen=True, slots=True)
class Report:
    """All that a policy needs for one model."""

    policy: str
    model: str
    out: Path
    made: tuple[Made, ...]

    @property
    def runs(self) -> bool:
        """True where the policy can run on the model now."""
        return all(made.state != "failed" for made in self.made)

    @property
    def ok(self) -> bool:
        """True where it can, and every strength is within its window."""
        return self.runs and not any(made.outside for made in self.made)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON holds it."""
        head = {"ok": self.ok, "runs": self.runs, "policy": self.policy, "model": self.model}
        made = {
            f"{kind}s": [each.to_json() for each in self.made if each.kind == kind]
            for kind in ("vector", "probe")
        }
        return {"format": _FORMAT, **head, "out": str(self.out), **made}

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield a row for each vector and probe as ``HEADS`` names its cells, and one for what was before."""
        for made in self.made:
            yield (made.name, made.state, self.model, *_cells(made.window, made.figures))
            if made.old is not None:
                yield ("", "before", made.old.model, *_cells(made.old.window, made.old.figures))

    def lines(self) -> list[str]:
        """Return the report as a table, with what a person must know below it."""
        if not self.made:
            return [f"the policy {self.policy} names no vector and no probe: there is nothing to prepare"]
        rows = [HEADS, *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        told = [f"{made.name}: {text}" for made in self.made for text in made.told()]
        return [*table, *told]

    def save(self) -> Path:
        """Write ``prepared.json`` into ``out`` and return its path; ``AssetError`` where that fails."""
        path = self.out / _FILE
        try:
            write_whole(path, (json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n").encode())
        except OSError as error:
            raise AssetError(f"{path}: cannot be written: {error.strerror or error}") from error
        return path


def write_made(folder: Path, made: Made) -> None:
    """Write the record into an artifact's folder, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"format": _FORMAT, **made.to_json(), "path": made.path.name}
    write_whole(folder / _FILE, (json.dumps(data, indent=1, allow_nan=False) + "\n").encode())


def read_made(folder: Path) -> Made | None:
    """Return the record in an artifact's folder, None where there is none that can be read."""
    try:
        data = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        known = data["state"] in ("built", "failed", "shipped") and data["kind"] in ("vector", "probe")
        if data["format"] != _FORMAT or not known:
            return None
        window, held_out = data["window"], data["held_out"]
        return Made(
            name=str(data["name"]),
            kind=data["kind"],
            state=data["state"],
            path=folder / str(data["path"]),
            digest=str(data["digest"]),
            chosen_by=str(data["chosen_by"]),
            window=None if window is None else Recommendation.model_validate_json(json.dumps(window)),
            figures=None if held_out is None else _figures_of(held_out),
            reasons=tuple(map(str, data["reasons"])),
            notes=tuple(map(str, data["notes"])),
            plan=dict(data["plan"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError):
        return None


def _window_json(window: Recommendation | None) -> dict[str, Any] | None:
    return None if window is None else window.model_dump(mode="json")


def _figures_json(figures: Figures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    random = [round(each, 5) for each in figures.random]
    return {
        "gain": estimate_json(figures.gain),
        "perplexity_ratio": estimate_json(figures.perplexity_ratio),
        "random": random,
    }


def _figures_of(held: dict[str, Any]) -> Figures:
    random = tuple(map(float, held["random"]))
    return Figures(Estimate(**held["gain"]), Estimate(**held["perplexity_ratio"]), random)


def _cells(window: Recommendation | None, figures: Figures | None) -> tuple[str, ...]:
    cells: tuple[str, ...] = ("-",) * 6
    if window is not None:
        given = window.schedule
        schedule = None if given is None else ScheduleSpec(**given.model_dump())
        blocks, positions = ", ".join(map(str, window.blocks)), " + ".join(window.positions)
        strengths = (f"{each:g}" for each in (window.low, window.recommended, window.high))
        cells = (blocks, positions, schedule_text(schedule), *strengths)
    if figures is None:
        return (*cells, "-", "-")
    gain, ratio = figures.gain, figures.perplexity_ratio
    told = f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
    return (*cells, told, f"x{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})")
