"""Directions of other tools bound to a model: its fingerprint on the card, its residual norms measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from pydantic import ValidationError

from guardsteer import __version__
from guardsteer.core.policy import Site
from guardsteer.errors import VectorError
from guardsteer.host import check_model, check_steering, find_layout, fingerprint, point_at, site_width
from guardsteer.lab.capture.capturing import Capture, States
from guardsteer.lab.capture.positions import GENERATED_TOKENS
from guardsteer.steer.artifact import MethodName, ModelBinding, VectorCard
from guardsteer.steer.interchange import Foreign
from guardsteer.steer.strict_json import problems_of
from guardsteer.steer.vectors import Vector, make_vector

__all__ = ["About", "Imported", "import_vector"]

_TEXTS = (
    "The train to the coast leaves at seven and stops at every village on the way.",
    "Could you tell me when the parcel will arrive? I ordered it last Monday.",
    "To change your address, open the settings, choose your profile and save the new one.",
    "Water boils at a lower temperature on a mountain, since the air presses less on it.",
    "I have read your letter twice and still do not know what you would like me to do.",
    "The committee met on Thursday, agreed on the budget and put off the other questions.",
    "Add the flour slowly, stir until the dough is smooth, and let it rest for an hour.",
    "Nobody had expected rain, so most of the guests were left without an umbrella.",
)
"""Ordinary sentences over which residual norms are measured where no others are given."""


@dataclass(frozen=True, slots=True)
class About:
    """What a user must say of a direction that no recipe describes."""

    name: str
    trait: str
    licence: str
    description: str = ""
    version: str = "1.0.0"


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """The vector, and what its user should know of how it came to be."""

    vector: Vector
    notes: tuple[str, ...]


def import_vector(
    model: Any,
    tokenizer: Any,
    foreign: Foreign,
    about: About,
    *,
    site: Site = "block_output",
    texts: Sequence[str] = (),
    block_path: str | None = None,
) -> Imported:
    """Return ``foreign`` as a vector of ``model``, at ``site``.

    Directions become unit; what a coefficient of 1 on the file's own length amounts to is in the notes, in
    units of the residual norm, measured over all tokens of ``texts`` but the first of each. Raises
    ``VectorError`` where the width or a block does not fit the model, ``LayoutError`` for a site it lacks.
    """
    check_model(model)
    layout = find_layout(model, blocks=block_path)
    beyond = [block for block in foreign.directions if block >= layout.n_blocks]
    if beyond:
        raise VectorError(f"{foreign.source}: block {beyond[0]}, but the model has {layout.n_blocks} blocks")
    points = tuple(point_at(block, site) for block in foreign.directions)
    widths = {site_width(layout, point) for point in points}
    if widths != {foreign.width}:
        raise VectorError(
            f"{foreign.source}: directions are {foreign.width} wide, the model's states at {site} "
            f"{sorted(widths)}"
        )
    if site != "block_output":
        check_steering(model, layout, points)
    totals = dict.fromkeys(points, np.zeros(2))

    def add(states: States) -> None:
        totals[states.point] = totals[states.point] + (len(states.norms), states.norms.sum())

    capture = Capture(model, tokenizer, layout, points, (GENERATED_TOKENS,))
    capture.read(capture.preparer.texts(texts or _TEXTS), add)
    if not all(total[0] for total in totals.values()):
        raise VectorError("texts: no text has two tokens or more, so no residual norm can be measured")
    norms = [float(total[1] / total[0]) for total in totals.values()]
    lengths = {block: float(np.linalg.norm(row)) for block, row in foreign.directions.items()}
    found = fingerprint(model, tokenizer, blocks=block_path)
    own_width = foreign.width if site == "heads" or foreign.width != layout.width else None
    card = _card(foreign, about, ModelBinding.model_validate(_parts(found)), (site, own_width))
    rows = [row / lengths[block] for block, row in foreign.directions.items()]
    vector = make_vector(card, directions=np.stack(rows), residual_norms=norms)
    return Imported(vector, (*foreign.notes, *_notes(foreign, model, lengths, norms)))


def _parts(found: Any) -> dict[str, Any]:
    return {part: getattr(found, part) for part in ModelBinding.model_fields}


def _notes(foreign: Foreign, model: Any, lengths: dict[int, float], norms: list[float]) -> list[str]:
    shares = [length / norm for length, norm in zip(lengths.values(), norms, strict=True)]
    span = f"{min(shares):.3g}" if len(shares) == 1 else f"{min(shares):.3g} to {max(shares):.3g} by block"
    notes = [f"a coefficient of 1 in the file is strength {span} here; calibrate before use"]
    kind = str(model.config.model_type)
    if foreign.model_hint and _plain(foreign.model_hint) not in map(_plain, (kind, type(model).__name__)):
        notes.append(f"the file says that it is for a {foreign.model_hint}, the model is a {kind}")
    return notes


def _plain(name: str) -> str:
    """Return a kind of model without what tools write differently: gpt_neox, gpt-neox, GPTNeoX."""
    return name.lower().replace("_", "").replace("-", "")


def _card(
    foreign: Foreign, about: About, binding: ModelBinding, where: tuple[Site, int | None]
) -> VectorCard:
    method: MethodName = "sae_feature" if foreign.method == "sae_feature" else "imported"
    try:
        return VectorCard(
            name=about.name,
            version=about.version,
            trait=about.trait,
            description=about.description,
            licence=about.licence,
            method=method,
            source=foreign.source,
            read="not_known",
            site=where[0],
            site_width=where[1],
            data_digest=foreign.digest,
            pairs=0,
            blocks=tuple(foreign.directions),
            model=binding,
            libraries={"guardsteer": __version__, "torch": version("torch")},
        )
    except ValidationError as error:
        raise VectorError(problems_of(VectorCard, error, f"vector {about.name!r}")) from error
