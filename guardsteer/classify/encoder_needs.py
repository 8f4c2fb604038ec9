"""Which encoders a classifier's folder reads with, told by cards alone."""

from __future__ import annotations

from pathlib import Path

from guardsteer.assets import Catalog, resolve
from guardsteer.classify.combined.files import DEEPEST
from guardsteer.classify.files.card import Card, CombinationCard, EncoderCard, EncoderRef, read_card
from guardsteer.errors import GuardsteerError

__all__ = ["encoders_of"]


def encoders_of(folder: Path, card: Card, catalog: Catalog, depth: int = 0) -> tuple[EncoderRef, ...]:
    """Return the encoders that a classifier and its members read with, each once.

    A member that is not found or damaged is left out: loading tells of it.
    """
    if isinstance(card, EncoderCard):
        return (card.encoder,)
    if not isinstance(card, CombinationCard) or depth > DEEPEST:
        return ()
    found: dict[str, EncoderRef] = {}
    for member in card.members:
        try:
            place = resolve("classifiers", member.use, folder, catalog)
            place = place if place.is_dir() else place.parent
            inner = encoders_of(place, read_card(place), catalog, depth + 1)
        except GuardsteerError:
            continue
        found.update({each.identity: each for each in inner})
    return tuple(found.values())
