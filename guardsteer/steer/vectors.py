"""Vectors in memory: made, saved, found, and loaded only for the model that they were read from."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from guardsteer.core.digests import digest_bytes
from guardsteer.errors import BindingError, Problem, VectorError
from guardsteer.steer.artifact import (
    ModelBinding,
    Recommendation,
    Tensors,
    VectorCard,
    card_digest,
    check_numbers,
    pack_tensors,
    unpack_tensors,
)
from guardsteer.steer.strict_json import parse_strict

if TYPE_CHECKING:
    from guardsteer.host import Fingerprint

__all__ = [
    "Vector",
    "check_binding",
    "find_artifact",
    "load_vector",
    "make_vector",
    "recommend",
    "save_vector",
    "write_whole",
]

_LARGEST_CARD_BYTES = 1 << 20
_LARGEST_TENSORS_BYTES = 1 << 28


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """A direction for each of some blocks of one model, checked.

    ``directions``: ``[block, width]`` float32, unit rows, ``width`` that of the card's site.
    ``residual_norms``: ``[block]`` float32, the typical L2 norm of a hidden state there, so that a
    strength of 0.3 pushes by ``0.3 * residual_norm``. Row ``i`` of both belongs to block ``blocks[i]``;
    both are read-only. ``digest`` covers the card and the numbers.
    """

    name: str
    digest: str
    blocks: tuple[int, ...]
    directions: NDArray[np.float32]
    residual_norms: NDArray[np.float32]
    card: VectorCard

    def direction(self, block: int) -> NDArray[np.float32]:
        """Return the unit direction at ``block``, ``[width]``; ``VectorError`` for a block without one."""
        direction: NDArray[np.float32] = self.directions[self._row(block)]
        return direction

    def residual_norm(self, block: int) -> float:
        """Return the typical residual norm at ``block``; ``VectorError`` for a block without one."""
        return float(self.residual_norms[self._row(block)])

    def _row(self, block: int) -> int:
        if block not in self.blocks:
            listed = ", ".join(map(str, self.blocks))
            raise VectorError(f"vector {self.name!r} has no direction for block {block}, only for {listed}")
        return self.blocks.index(block)


def make_vector(card: VectorCard, *, directions: ArrayLike, residual_norms: ArrayLike) -> Vector:
    """Return a vector with its digests filled in on ``card``.

    ``directions``: ``[block, width]`` unit rows; ``residual_norms``: ``[block]``; both in the order of
    ``card.blocks``. Raises ``VectorError`` where the numbers are not finite, not unit or misshapen.
    """
    tensors = Tensors(
        blocks=np.asarray(card.blocks, dtype=np.int64),
        directions=np.array(directions, dtype=np.float32),
        residual_norms=np.array(residual_norms, dtype=np.float32),
    )
    expected = (len(card.blocks), card.width)
    if tensors.directions.shape != expected or tensors.residual_norms.shape != expected[:1]:
        raise VectorError(
            f"vector {card.name!r}: got directions {tensors.directions.shape} and residual norms "
            f"{tensors.residual_norms.shape}, expected {expected} and {expected[:1]}"
        )
    problems = check_numbers(tensors, card, f"vector {card.name!r}")
    if problems:
        raise VectorError(problems)
    card = card.model_copy(update={"tensors_digest": digest_bytes(pack_tensors(tensors))})
    card = card.model_copy(update={"digest": card_digest(card)})
    return _vector(card, tensors)


def recommend(vector: Vector, recommended: Recommendation | None) -> Vector:
    """Return ``vector`` with a calibrated range on its card; the digest changes with it.

    Raises ``VectorError`` where the range names blocks that the vector lacks.
    """
    fields = vector.card.model_dump(exclude={"tensors_digest", "digest", "recommended"})
    strange = set(recommended.blocks) - set(vector.blocks) if recommended else set()
    if strange:
        raise VectorError(f"vector {vector.name!r} has no direction for blocks {sorted(strange)}")
    card = VectorCard.model_validate({**fields, "recommended": recommended})
    return make_vector(card, directions=vector.directions, residual_norms=vector.residual_norms)


def save_vector(vector: Vector, path: Path) -> Path:
    """Write ``NAME.safetensors`` and its card and return the former's path.

    ``path`` is the ``.safetensors`` file, or a folder that gets ``<name>.safetensors``; missing folders are
    made. Each file appears whole or not at all. Raises ``VectorError`` where it cannot be written.
    """
    path = path if path.suffix == ".safetensors" else path / f"{vector.name}.safetensors"
    tensors = Tensors(np.asarray(vector.blocks, dtype=np.int64), vector.directions, vector.residual_norms)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, pack_tensors(tensors))
        write_whole(_card_path(path), (vector.card.model_dump_json(indent=2) + "\n").encode())
    except OSError as error:
        raise VectorError(f"{path}: the vector cannot be written: {error.strerror or error}") from error
    return path


def load_vector(path: Path | str, *, fingerprint: Fingerprint | None, mend: bool = True) -> Vector:
    """Return the vector at ``path`` (its ``.safetensors`` file; the card lies beside it).

    ``fingerprint`` is that of the model at hand; None skips the comparison (to show a card, never to
    steer). Without ``mend`` an error leaves out how to build the vector. Raises ``VectorError`` with
    everything that is wrong with the files, and ``BindingError`` where the vector was read from another
    model, saying which part differs.
    """
    path = Path(path)
    card_path = _card_path(path)
    tensors_bytes = _read(path, _LARGEST_TENSORS_BYTES)
    card = parse_strict(VectorCard, _read(card_path, _LARGEST_CARD_BYTES), str(card_path))
    if isinstance(card, tuple):
        raise VectorError(card)
    damaged = _damage(card, card_digest(card), digest_bytes(tensors_bytes), path)
    if damaged:
        raise VectorError(damaged)
    tensors = unpack_tensors(tensors_bytes, card, str(path))
    if isinstance(tensors, tuple):
        raise VectorError(tensors)
    if fingerprint is not None:
        _check_card(card, fingerprint, path, mend=mend)
    return _vector(card, tensors)


def check_binding(vector: Vector, fingerprint: Fingerprint) -> None:
    """Return if ``vector`` was read from the model with ``fingerprint``.

    Raises ``BindingError`` that says which part differs; ``load_vector`` has done this already.
    """
    _check_card(vector.card, fingerprint, None)


def find_artifact(
    recipe_dir: Path | str, fingerprint: Fingerprint, *, places: Sequence[Path] = (), mend: bool = True
) -> Path:
    """Return the artifact of a recipe for one model: ``artifacts/<fingerprint.short>/NAME.safetensors``.

    NAME is the recipe's folder's name. ``places``: the folders to look in, in order; the recipe's alone by
    default. Raises ``BindingError`` where there are artifacts for other models alone, ``VectorError`` where
    there are none; both list what is there and, with ``mend``, say how to build the missing one.
    """
    folder = Path(recipe_dir)
    looked = places or (folder,)
    file = f"{folder.name}.safetensors"
    for place in looked:
        path: Path = place / "artifacts" / fingerprint.short / file
        if path.is_file():
            return path
    others = sorted({path.parent.name for place in looked for path in place.glob(f"artifacts/*/{file}")})
    how = f" {_mend(folder)}" if mend else ""
    if not others:
        there = "there are none yet" if folder.is_dir() else "the folder does not exist"
        raise VectorError(f"{folder}: no artifact for model {fingerprint.short}; {there}.{how}")
    listed = ", ".join(others)
    raise BindingError(f"{folder}: no artifact for model {fingerprint.short}, only for {listed}.{how}")


def _vector(card: VectorCard, tensors: Tensors) -> Vector:
    for array in (tensors.directions, tensors.residual_norms):
        array.setflags(write=False)
    return Vector(
        name=card.name,
        digest=card.digest,
        blocks=card.blocks,
        directions=tensors.directions,
        residual_norms=tensors.residual_norms,
        card=card,
    )


def _card_path(path: Path) -> Path:
    if path.suffix != ".safetensors":
        raise VectorError(f"{path}: expected the path of a .safetensors file")
    return path.with_suffix(".json")


def _read(path: Path, largest_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(largest_bytes + 1)
    except FileNotFoundError as error:
        raise VectorError(f"{path}: no such file; a vector is NAME.safetensors and NAME.json") from error
    except OSError as error:
        raise VectorError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > largest_bytes:
        raise VectorError(f"{path}: larger than {largest_bytes} bytes, which no vector is")
    return data


def _damage(card: VectorCard, card_now: str, tensors_now: str, path: Path) -> Sequence[Problem]:
    hint = "damaged or edited; restore it, or build the vector anew"
    problems = []
    if card.digest != card_now:
        message = f"the card's digest is {card_now}, but it says {card.digest or 'nothing'}"
        problems.append(Problem(str(_card_path(path)), 0, 0, message, hint))
    if card.tensors_digest != tensors_now:
        message = f"the file's digest is {tensors_now}, but the card says {card.tensors_digest or 'nothing'}"
        problems.append(Problem(str(path), 0, 0, message, hint))
    return problems


def _check_card(card: VectorCard, fingerprint: Fingerprint, path: Path | None, *, mend: bool = True) -> None:
    lines = []
    for part in ModelBinding.model_fields:
        made_for, at_hand = getattr(card.model, part), getattr(fingerprint, part)
        if made_for != at_hand:
            lines.append(f"  {part}: the vector was read from {made_for}, the model at hand has {at_hand}")
    if lines:
        in_recipe = path is not None and len(path.parents) > 2 and path.parents[1].name == "artifacts"
        folder = path.parents[2] if path is not None and in_recipe else None
        listed = "\n".join(lines)
        where = path or f"vector {card.name!r}"
        how = f"\n{_mend(folder)}" if mend else ""
        raise BindingError(f"{where}: belongs to another model.\n{listed}{how}")


def _mend(recipe_dir: Path | None) -> str:
    recipe = shlex.quote(str(recipe_dir)) if recipe_dir else "DIR"
    return (
        "Build all that a policy needs for this model: guardsteer prepare --model PATH --policy POLICY "
        "--out OUT, and name OUT in assets (or GUARDSTEER_ASSETS); or this vector alone: "
        f"guardsteer vectors extract --model PATH --recipe {recipe}"
    )


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, which holds all of it or what it held before; raises ``OSError``."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
