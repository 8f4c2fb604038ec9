"""Where that lies which was prepared of an asset for one model: ``artifacts/<model>/`` below its homes.

What has a name is prepared into ``ROOT/vectors/NAME`` of a root of the catalogue. What is named by a path
belongs to no root, and two of one name may differ; it is prepared into ``ROOT/vectors/NAME@DIGEST``, after
the content of what it is made from. So it is found wherever its folder lies, and not once it was changed.
No name of the catalogue holds an ``@``.
"""

from __future__ import annotations

from pathlib import Path

from guardsteer.assets.catalog import Catalog, Kind, is_path
from guardsteer.core.digests import digest_parts
from guardsteer.errors import AssetError

__all__ = ["SOURCES", "home_key", "homes"]

SOURCES: dict[Kind, tuple[str, ...]] = {
    "vectors": ("recipe.yaml", "pairs.jsonl"),
    "classifiers": ("probe.yaml", "texts.jsonl"),
    "policies": (),
}
"""The files that an asset is made from; the first makes it one that can be made for another model."""

_DIGITS = 12


def home_key(kind: Kind, use: str, folder: Path) -> str:
    """Return the name of the folder, in a root, for what is prepared of the asset in ``folder``.

    ``use``: how a policy names it. Empty for a path to what cannot be made anew. Raises ``AssetError`` for
    files that cannot be read.
    """
    if not is_path(use):
        return use
    parts = []
    try:
        for name in SOURCES[kind]:
            file = folder / name
            parts.append(file.read_bytes() if file.is_file() else b"")
    except OSError as error:
        raise AssetError(f"{folder}: cannot be read: {error.strerror or error}") from error
    if not parts or not parts[0]:
        return ""
    return f"{folder.name}@{digest_parts(parts).removeprefix('b3:')[:_DIGITS]}"


def homes(kind: Kind, use: str, folder: Path, catalog: Catalog) -> tuple[Path, ...]:
    """Return the folders that may hold what was prepared of the asset in ``folder``, in order of preference.

    A root behind the one that an asset comes from does not count: its asset of that name is another one.
    Raises ``AssetError`` as ``home_key`` does.
    """
    key = home_key(kind, use, folder)
    found = [root / kind / key for root in catalog.roots if key]
    if not is_path(use):
        source = next((place for place in found if (place / SOURCES[kind][0]).is_file()), None)
        return tuple(found if source is None else found[: found.index(source) + 1])
    return (*found, folder)
