"""A recipe's rows: every source read, its labels put into the recipe's words, its attribution kept."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from guardsteer.assets import Catalog
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.data import Example, read_examples
from guardsteer.lab.classifiers.recipe import ClassifierRecipe, SourceUse
from guardsteer.lab.classifiers.sources import SOURCES, Labelled, Source
from guardsteer.lab.classifiers.sources.pairs import pairs_source

__all__ = ["Gathered", "gather"]

_PAIRS = "recipe:"


@dataclass(frozen=True, slots=True)
class Gathered:
    """Examples of each purpose, and for each source that was used: its attribution."""

    training: tuple[Example, ...]
    testing: tuple[Example, ...]
    attributions: tuple[str, ...]


def gather(recipe: ClassifierRecipe, folder: Path, data: Path | None) -> Gathered:
    """Return the rows of a recipe in ``folder``; ``data`` holds the public sets.

    A set whose licence does not let a derived table be passed on may only be tested on. Raises
    ``ClassifierError`` for sets that are missing, damaged, unknown or not allowed for their purpose.
    """
    training: list[Example] = []
    testing: list[Example] = []
    attributions = []
    for use in recipe.sources:
        source = _source(use.use)
        if use.purpose == "training" and not source.ships:
            raise ClassifierError(
                f"source {use.use!r}: its licence ({source.licence}) lets no table of weights made of it "
                "be passed on; say purpose: testing"
            )
        place = folder if use.use.startswith("./") else _set_folder(source, data)
        rows = list(_labelled(source, use, place))
        if not rows:
            raise ClassifierError(f"source {use.use!r}: no row has a label of {sorted(use.labels)}")
        (training if use.purpose == "training" else testing).extend(_few(rows, use, recipe.seed))
        attributions.append(source.attribution + ("" if use.purpose == "training" else "; for testing alone"))
    return Gathered(tuple(training), tuple(testing), tuple(dict.fromkeys(attributions)))


def _source(name: str) -> Source:
    if name.startswith(_PAIRS):
        return pairs_source(name, Catalog().find("vectors", name.removeprefix(_PAIRS)))
    if name.startswith("./"):
        return _own(name)
    if name not in SOURCES:
        raise ClassifierError(
            f"source {name!r}: there is no such set; there are {', '.join(SOURCES)}, recipe:NAME and ./FILE"
        )
    return SOURCES[name]


def _own(name: str) -> Source:
    def read(place: Path) -> Iterator[Labelled]:
        for row in read_examples(place / name, text_column="text", label_column="label"):
            yield Labelled(row.text, (row.label,), row.slice, row.group)

    return Source(name, "", "", f"{Path(name).name}, written for guardsteer, Apache-2.0", read)


def _set_folder(source: Source, data: Path | None) -> Path:
    if not source.folder:
        return Path()
    if data is None:
        raise ClassifierError(f"source {source.name!r}: name the folder of the public sets with --sets DIR")
    return data / source.folder


def _labelled(source: Source, use: SourceUse, folder: Path) -> Iterator[Example]:
    for row in source.read(folder):
        known = set(row.labels)
        for label, theirs in use.labels.items():
            if "*" in theirs or known & set(theirs):
                if row.text.strip():
                    group = f"{source.name}: {row.group}" if row.group else ""
                    yield Example(row.text, label, row.source or source.name, row.slice, group)
                break


def _few(rows: Sequence[Example], use: SourceUse, seed: int) -> list[Example]:
    """Return at most ``use.most`` rows of each label, drawn by the seed, in their order."""
    if use.most is None:
        return list(rows)
    places: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[row.label].append(place)
    draw = random.Random(json.dumps([seed, use.use]))
    kept = {
        place
        for label in sorted(places)
        for place in draw.sample(places[label], min(use.most, len(places[label])))
    }
    return [row for place, row in enumerate(rows) if place in kept]
