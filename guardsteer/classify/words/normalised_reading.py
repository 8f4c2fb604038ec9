"""How a stream becomes n-grams where its text is normalised first."""

from __future__ import annotations

from guardsteer.classify.words.normalise import Normaliser
from guardsteer.classify.words.reading import Gram, Place, Reader, Unit

__all__ = ["NormalisedReader"]


_SEVERAL: tuple[Unit, ...] = ((),)
"""What a unit made of several begins with, as no other does."""


class NormalisedReader:
    """Another reader behind a normaliser.

    Place: the other reader's at the end of what is settled; where the normaliser stands; the other reader's
    place and units behind what is open, as if the text ended there.
    """

    __slots__ = ("_normaliser", "_reader", "start")

    def __init__(self, normaliser: Normaliser, reader: Reader) -> None:
        self._normaliser = normaliser
        self._reader = reader
        self.start: Place = (reader.start, normaliser.start, reader.start, ())

    def read(self, place: Place, text: str) -> tuple[Place, list[Unit]]:
        """Return the place after ``text`` and the units that it settled."""
        inner, reading, _, _ = place
        reading, settled = self._normaliser.read(reading, text)
        units: list[Unit] = []
        if settled:
            inner, units = self._reader.read(inner, settled)
        rest = self._normaliser.rest(reading)
        behind, further = self._reader.read(inner, rest) if rest else (inner, [])
        return (inner, reading, behind, tuple(further)), units

    def open_unit(self, place: Place) -> Unit | None:
        """Return what would be added if the text ended here: one unit, or several as one."""
        _, _, behind, further = place
        unit = self._reader.open_unit(behind)
        if not further:
            return unit
        return _SEVERAL + (further if unit is None else (*further, unit))

    cuts_to = None

    def cut(self, place: Place) -> Place | None:
        """Return the place behind a gap that ends what is open, or None where that is not sure."""
        _, reading, behind, _ = place
        after = self._normaliser.ended(reading)
        inner = None if after is None else self._reader.cut(behind)
        return None if inner is None else (inner, after, inner, ())

    def grams(self, unit: Unit) -> list[Gram]:
        """Return the n-grams of a unit, or of each of several."""
        if unit[:1] == _SEVERAL:
            return [gram for part in unit[1:] for gram in self._reader.grams(part)]
        return self._reader.grams(unit)
