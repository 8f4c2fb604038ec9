"""The pairs of a vector's recipe as labelled texts: replies of both sides, and what was asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from guardsteer.lab.classifiers.sources.files import Labelled, Source
from guardsteer.lab.recipes.recipe import load_recipe

__all__ = ["pairs_source"]


def pairs_source(name: str, folder: Path) -> Source:
    """Return the pairs in the folder of a recipe as a source.

    Labels: ``positive`` and ``negative`` for replies, ``prompt`` for what was asked.
    """
    recipe = load_recipe(folder)

    def read(_: Path) -> Iterator[Labelled]:
        for pair in recipe.pairs:
            domain = pair.id.rpartition("-")[0]
            asked = [message["content"] for message in pair.messages if message["role"] == "user"]
            if asked:
                yield Labelled(asked[-1], ("prompt",), domain, pair.id)
            for side, label in ((pair.positive, "positive"), (pair.negative, "negative")):
                if side.reply:
                    yield Labelled(side.reply, (label,), domain, pair.id)

    return Source(
        name,
        "",
        recipe.licence,
        f"pairs of the recipe {recipe.name}, written for guardsteer, {recipe.licence}",
        read,
    )
