"""What was captured of a recipe: sums and rows by point and position rule, on disk, in parts that merge.

A part is one shard of the pairs. It is written as it grows, so that a run that was stopped goes on where it
was, and parts of one capture add up to what a single run gives.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save

from guardsteer.core.digests import digest_json
from guardsteer.errors import VectorError
from guardsteer.host import point_at, site_width
from guardsteer.lab.capture.capturing import WINDOW_BATCHES, Capture, States
from guardsteer.lab.capture.moments import Key, Sums, merged
from guardsteer.lab.capture.readings import NEGATIVE, POSITIVE, Array
from guardsteer.lab.pairs.contrast import ContrastPair, pairs_digest
from guardsteer.steer.vectors import write_whole

__all__ = [
    "Captured",
    "Keep",
    "Rows",
    "Shard",
    "capture_pairs",
    "key_of",
    "load_part",
    "load_parts",
    "merge_parts",
    "part_path",
]

_FORMAT = "guardsteer.captured/1"
_SECONDS_BETWEEN_SAVES = 20.0


@dataclass(frozen=True, slots=True)
class Shard:
    """The ``index``-th of ``of`` parts, counted from 1: pairs ``index - 1``, ``index - 1 + of`` and so on."""

    index: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that ``text`` such as ``2/4`` names; ``VectorError`` for another text."""
        index, slash, of = text.partition("/")
        if not (slash and index.isascii() and of.isascii() and index.isdigit() and of.isdigit()):
            raise VectorError(f"shard: got {text!r}, expected I/N such as 1/4")
        if not 1 <= int(index) <= int(of):
            raise VectorError(f"shard: got {text!r}, expected I from 1 to N")
        return cls(int(index), int(of))


@dataclass(frozen=True, slots=True)
class Keep:
    """What to keep beside sums: ``second`` moments, of ``width * width`` numbers a side, and all ``rows``."""

    second: bool = False
    rows: bool = False


@dataclass(slots=True, eq=False)
class Rows:
    """States one by one, ``[row, width]`` float64, with the ``pairs`` and ``sides`` they are of."""

    values: list[Array] = field(default_factory=list)
    pairs: list[NDArray[np.int64]] = field(default_factory=list)
    sides: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, states: States) -> None:
        """Add what was read in a batch."""
        self.values.append(states.values)
        self.pairs.append(np.array([reading.pair for reading in states.batch])[states.owners])
        self.sides.append(np.array([reading.side for reading in states.batch])[states.owners])

    def side(self, side: int) -> tuple[Array, NDArray[np.int64]]:
        """Return the states of a side in the order of their pairs, ``[row, width]``, and these pairs."""
        if not self.values:
            raise VectorError("no position to read: the position rule found none")
        values, pairs = np.concatenate(self.values), np.concatenate(self.pairs)
        chosen = np.concatenate(self.sides) == side
        order = np.argsort(pairs[chosen], kind="stable")
        return values[chosen][order], pairs[chosen][order]

    def differences(self) -> Array:
        """Return positive minus negative of each pair, ``[pair, width]``; of several states, their mean."""
        sides = []
        for side in (POSITIVE, NEGATIVE):
            values, pairs = self.side(side)
            numbers, starts, counts = np.unique(pairs, return_index=True, return_counts=True)
            sides.append((np.add.reduceat(values, starts, axis=0) / counts[:, None], numbers))
        (first, of_first), (second, of_second) = sides
        _, left, right = np.intersect1d(of_first, of_second, return_indices=True)
        difference: Array = first[left] - second[right]
        return difference


@dataclass(slots=True, eq=False)
class Captured:
    """Sums and rows by point and position rule.

    ``key`` is the digest of model and pairs, ``plan`` that of key, points, rules and what is kept; ``done``
    counts pairs.
    """

    key: str
    plan: str
    shard: Shard
    done: int
    sums: dict[Key, Sums]
    rows: dict[Key, Rows]

    def add(self, states: States) -> None:
        """Add what was read in a batch."""
        key = (states.point, states.rule.name)
        self.sums[key].add(states)
        if key in self.rows:
            self.rows[key].add(states)

    def save(self, path: Path) -> None:
        """Write all of it to ``path``, whole or not at all."""
        tensors: dict[str, Any] = {}
        for (point, rule), sums in self.sums.items():
            name = f"{point.block}|{point.site}|{rule}"
            arrays = {
                "counts": sums.counts,
                "states": sums.states,
                "norms": sums.norms,
                "second": sums.second,
            }
            tensors |= {f"{part}|{name}": array for part, array in arrays.items() if array is not None}
            rows = self.rows.get((point, rule))
            if rows is not None and rows.values:
                tensors[f"values|{name}"] = np.concatenate(rows.values)
                tensors[f"pairs|{name}"] = np.concatenate(rows.pairs)
                tensors[f"sides|{name}"] = np.concatenate(rows.sides)
        about = {
            "format": _FORMAT,
            "key": self.key,
            "plan": self.plan,
            "done": self.done,
            "shard": asdict(self.shard),
        }
        _on_disk(path, lambda: write_whole(path, save(tensors, {"about": json.dumps(about)})))


def capture_pairs(
    capture: Capture,
    pairs: Sequence[ContrastPair],
    *,
    model: str,
    keep: Keep | None = None,
    shard: Shard | None = None,
    path: Path | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Captured:
    """Return what ``capture`` reads of the pairs of ``shard``, all of them by default.

    ``model`` is the digest of the model. With ``path`` the part is written there every so often and at the
    end, and what is there already of the same capture is not read again.
    Raises ``VectorError`` where ``path`` holds another capture, and as ``Capture.run``.
    """
    shard, keep = shard or Shard(), keep or Keep()
    found = _start(capture, key_of(model, pairs), keep, shard, path)
    numbered = list(enumerate(pairs))[shard.index - 1 :: shard.of]
    chunk = max(1, capture.batch_size * WINDOW_BATCHES // 2)
    if found.done and on_batch is not None:
        on_batch(2 * found.done)
    saved = time.monotonic()
    for first in range(found.done, len(numbered), chunk):
        some = numbered[first : first + chunk]
        capture.read(capture.preparer.pairs(some), found.add, on_batch)
        found.done = first + len(some)
        if path is not None and time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
            found.save(path)
            saved = time.monotonic()
    if path is not None:
        found.save(path)
    return found


def key_of(model: str, pairs: Sequence[ContrastPair]) -> str:
    """Return the digest of a model's digest and pairs."""
    return digest_json([model, pairs_digest(pairs)])


def _plan(capture: Capture, key: str, keep: Keep) -> str:
    points = [list(point) for point in capture.points]
    return digest_json([key, points, [rule.name for rule in capture.rules], asdict(keep)])


def _start(capture: Capture, key: str, keep: Keep, shard: Shard, path: Path | None) -> Captured:
    plan = _plan(capture, key, keep)
    if path is not None:  # before hours are spent on what goes there
        _on_disk(path, lambda: path.parent.mkdir(parents=True, exist_ok=True))
    if path is not None and path.exists():
        found = load_part(path)
        if (found.plan, found.shard) != (plan, shard):
            raise VectorError(
                f"{path}: holds another capture (other pairs, model, points, rules or shard); "
                "write elsewhere, or remove it"
            )
        return found
    keys = [(point, rule.name) for point in capture.points for rule in capture.rules]
    widths = {point: site_width(capture.layout, point) for point in capture.points}
    sums = {one: Sums.empty(widths[one[0]], second=keep.second) for one in keys}
    rows = {one: Rows() for one in keys} if keep.rows else {}
    return Captured(key, plan, shard, 0, sums, rows)


def load_part(path: Path) -> Captured:
    """Return the part at ``path``; ``VectorError`` for a file that is no such part."""
    try:
        with safetensors.safe_open(path, "np") as file:
            about = json.loads((file.metadata() or {})["about"])
            if about["format"] != _FORMAT:
                raise ValueError(f"format {about['format']!r}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        found = Captured(about["key"], about["plan"], Shard(**about["shard"]), int(about["done"]), {}, {})
        for name in sorted(tensors):
            part, block, site, rule = name.split("|", 3)
            if part != "counts":
                continue
            key, rest = (point_at(int(block), site), rule), f"{block}|{site}|{rule}"
            found.sums[key] = Sums(
                tensors[name],
                tensors[f"states|{rest}"],
                tensors[f"norms|{rest}"],
                tensors.get(f"second|{rest}"),
            )
            if f"values|{rest}" in tensors:
                found.rows[key] = Rows(
                    *([tensors[f"{part}|{rest}"]] for part in ("values", "pairs", "sides"))
                )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError) as error:
        raise VectorError(f"{path}: not a captured part: {error}") from error
    return found


def load_parts(folder: Path) -> Captured:
    """Return all parts in ``folder`` together; ``VectorError`` where there are none or some are missing."""
    paths = sorted(folder.glob("part-*.safetensors"))
    if not paths:
        raise VectorError(f"{folder}: no captured parts (part-I-of-N.safetensors)")
    return merge_parts([load_part(path) for path in paths])


def part_path(folder: Path, shard: Shard) -> Path:
    """Return where the part of ``shard`` is in ``folder``."""
    return folder / f"part-{shard.index}-of-{shard.of}.safetensors"


def merge_parts(parts: Sequence[Captured]) -> Captured:
    """Return the parts of one capture together, added in the order of their shards.

    Raises ``VectorError`` where parts are missing, given twice, or of different captures.
    """
    of = {part.shard.of for part in parts}
    if len(of) != 1 or len({part.plan for part in parts}) != 1:
        raise VectorError(
            f"parts to merge: {len(parts)} parts, not all of one capture (pairs, model, points)"
        )
    given, wanted = sorted(part.shard.index for part in parts), list(range(1, min(of) + 1))
    if given != wanted:
        raise VectorError(f"parts to merge: got shards {given}, expected each of {wanted} once")
    ordered = sorted(parts, key=lambda part: part.shard.index)
    first = ordered[0]
    sums = {key: merged([part.sums[key] for part in ordered]) for key in first.sums}
    rows = {key: Rows() for part in ordered for key in part.rows}
    for part in ordered:
        for key, found in part.rows.items():
            rows[key].values += found.values
            rows[key].pairs += found.pairs
            rows[key].sides += found.sides
    done = sum(part.done for part in ordered)
    return replace(first, shard=Shard(), done=done, sums=sums, rows=rows)


def _on_disk(path: Path, act: Callable[[], object]) -> None:
    try:
        act()
    except OSError as error:
        raise VectorError(f"{path}: cannot be written: {error.strerror or error}") from error
