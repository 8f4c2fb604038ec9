"""The catalogue: names to folders, over the user's roots and what ships with the package.

A root is a folder that holds ``classifiers/``, ``policies/`` and ``vectors/`` (any of them), and an
asset is a folder below one of these, with the file that makes it one.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from guardsteer.errors import AssetError

__all__ = ["ENVIRONMENT", "KINDS", "Catalog", "Kind", "built_in_root", "find_policy", "is_path", "resolve"]

Kind: TypeAlias = Literal["classifiers", "policies", "vectors"]
KINDS: tuple[Kind, ...] = get_args(Kind)

ENVIRONMENT = "GUARDSTEER_ASSETS"
"""Environment variable that lists further roots, as PATH lists folders."""

_MARKS: dict[Kind, tuple[str, ...]] = {
    "classifiers": ("classifier.json", "probe.yaml"),
    "policies": ("policy.yaml",),
    "vectors": ("recipe.yaml", "artifacts"),
}
_SINGULAR: dict[Kind, str] = {"classifiers": "classifier", "policies": "policy", "vectors": "vector"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_PATH_STARTS = ("./", "../", "/")
_PACKAGE = Path(__file__).resolve().parent.parent


def built_in_root(package: Path = _PACKAGE) -> Path | None:
    """Return the root that ships with the package, or None where the assets were stripped.

    In an installation they lie inside the package; in a checkout (an editable install is one) beside
    it. The folders beside it count only when a ``pyproject.toml`` there says that they are guardsteer's.
    """
    inside = package / "_assets"
    if inside.is_dir():
        return inside
    try:
        project = tomllib.loads((package.parent / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(table := project.get("project"), dict) and table.get("name") == "guardsteer"
    return package.parent if ours else None


class Catalog:
    """Finds assets by name: ``extra_roots`` first, then GUARDSTEER_ASSETS, then what ships.

    Raises ``AssetError`` when a root that was named does not exist.
    """

    __slots__ = ("given", "roots")

    def __init__(self, extra_roots: Sequence[Path] = ()) -> None:
        listed = [Path(part) for part in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if part]
        for origin, roots in (
            ("the folders of assets", extra_roots),
            (f"the environment's {ENVIRONMENT}", listed),
        ):
            for root in roots:
                if not _is_folder(root):
                    raise AssetError(
                        f"{root}: no such folder; {origin} must list folders that hold {', '.join(KINDS)}"
                    )
        shipped = built_in_root()
        self.given: tuple[Path, ...] = tuple(extra_roots)
        self.roots: tuple[Path, ...] = (*extra_roots, *listed, *([shipped] if shipped else []))

    def find(self, kind: Kind, name: str) -> Path:
        """Return the folder of asset ``name``; the first root that has it wins.

        Raises ``AssetError`` with where was looked and what there is instead.
        """
        _check_kind(kind)
        if not _NAME.fullmatch(name):
            raise AssetError(
                f"{name!r} is no name of a {_SINGULAR[kind]}: a name has letters, digits, '.', '_' and '-'; "
                f"a path starts with ./, ../ or /"
            )
        for root in self.roots:
            if _is_asset(kind, root / kind / name):
                return root / kind / name
        raise AssetError(self._missing(kind, name))

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of all assets of a kind, sorted."""
        _check_kind(kind)
        found = {
            folder.name
            for root in self.roots
            for folder in _entries(root / kind)
            if _NAME.fullmatch(folder.name) and _is_asset(kind, folder)
        }
        return tuple(sorted(found))

    def _missing(self, kind: Kind, name: str) -> str:
        looked = [root / kind / name for root in self.roots]
        bare = [str(place) for place in looked if _is_folder(place)]
        known = self.names(kind)
        lines = [f"there is no {_SINGULAR[kind]} named {name!r}"]
        if close := difflib.get_close_matches(name, known, n=1):
            lines.append(f"did you mean {close[0]!r}?")
        if bare:
            lines.append(f"{', '.join(bare)} exists but holds no {' or '.join(_MARKS[kind])}")
        lines.append(
            f"looked for {', '.join(map(str, looked)) or 'it nowhere, since no assets are installed'}"
        )
        lines.append(f"known: {', '.join(known) or 'none'}")
        lines.append(f"name further folders in {ENVIRONMENT}, or give a path (./{name})")
        return "; ".join(lines)


def resolve(kind: Kind, use: str, base: Path, catalog: Catalog) -> Path:
    """Return what a policy's ``use:`` means: a name in the catalogue, or a path relative to ``base``.

    A path starts with ``./``, ``../`` or ``/`` and may name a folder or a file.
    Raises ``AssetError`` when there is nothing.
    """
    _check_kind(kind)
    if not is_path(use):
        return catalog.find(kind, use)
    path = base / use
    try:
        return Path(os.path.realpath(path, strict=True))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise AssetError(
            f"{use!r} names no {_SINGULAR[kind]}: cannot read {path} ({reason}); "
            f"a path is taken relative to {base}; without ./ in front it would be a name in the catalogue"
        ) from error


def is_path(use: str) -> bool:
    """Tell whether a policy's ``use:`` is a path, and not a name."""
    return use.startswith(_PATH_STARTS)


def find_policy(policy: str | Path, catalog: Catalog) -> Path:
    """Return what a caller means by ``policy``: a file, a folder, or a name in the catalogue.

    What exists as a path is taken as a path. Raises ``AssetError`` when there is neither.
    """
    path = Path(policy)
    try:
        if path.exists():
            return path
    except (OSError, ValueError):
        pass
    if isinstance(policy, Path) or "/" in policy:
        raise AssetError(
            f"{str(policy)!r}: no such file; give a YAML file or a folder that holds policy.yaml"
        )
    return catalog.find("policies", policy)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise AssetError(f"{kind!r} is no kind of asset; the kinds are {', '.join(KINDS)}")


def _is_asset(kind: Kind, folder: Path) -> bool:
    return _is_folder(folder) and any((folder / mark).exists() for mark in _MARKS[kind])


def _entries(folder: Path) -> tuple[Path, ...]:
    try:
        return tuple(folder.iterdir())
    except OSError:
        return ()


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
