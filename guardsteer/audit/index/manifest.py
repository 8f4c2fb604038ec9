"""What an index holds, in its own words: which lines of which streams, in which files."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from guardsteer import __version__
from guardsteer.audit.chain import STREAM_PATTERN
from guardsteer.audit.index.columns import VERSION
from guardsteer.audit.index.lines import Place
from guardsteer.errors import AuditError

__all__ = [
    "FORMAT",
    "MANIFEST",
    "SPILL",
    "Indexed",
    "Manifest",
    "Part",
    "check_path",
    "is_index",
    "load_manifest",
    "locked",
    "save_manifest",
    "sync",
]

FORMAT = 1
"""Raised with every change of the layout: an index of another format is made anew."""
MANIFEST = "_guardsteer.json"
SPILL = "_spill-"
"""How the folders begin that a compaction writes to where its memory is full."""
_LOCK = "_lock"


class Part(msgspec.Struct, frozen=True):
    """One Parquet file below the index's folder: ``rows`` rows of the lines ``first`` to ``last``."""

    path: str
    rows: int
    first: int
    last: int
    bytes: int


class Indexed(msgspec.Struct, frozen=True):
    """What is indexed of one stream: the lines before ``place``, in ``parts``.

    ``checkpoint`` is the signed checkpoint as it was when they were read, empty where there was none.
    The first ``verified`` lines are the ones that a verified checkpoint covers.
    """

    place: Place = Place()
    checkpoint: str = ""
    verified: int = 0
    parts: tuple[Part, ...] = ()


class Manifest(msgspec.Struct, frozen=True):
    """The index's table of contents; what a file holds beyond it does not count."""

    format: int = FORMAT
    columns: str = VERSION
    library: str = __version__
    streams: dict[str, Indexed] = {}


def is_index(folder: Path) -> bool:
    """Tell whether a folder is an index."""
    return (folder / MANIFEST).is_file()


def check_path(folder: Path) -> None:
    """Raise ``AuditError`` for a folder whose name the engine would read as a pattern of names."""
    if any(sign in str(folder) for sign in "*?["):
        raise AuditError(f"{folder}: the path of an index must hold none of * ? [")


def load_manifest(folder: Path) -> Manifest:
    """Return an index's table of contents; raises ``AuditError`` where it cannot be used."""
    check_path(folder)
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AuditError(f"{path}: the index cannot be read: {error.strerror}") from error
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise AuditError(f"{path}: not the contents of an index: {error}; {_ANEW}") from error
    if (manifest.format, manifest.columns) != (FORMAT, VERSION):
        found = f"format {manifest.format} with columns {manifest.columns}, made by {manifest.library}"
        raise AuditError(f"{path}: {found}; this version reads {FORMAT} with columns {VERSION}; {_ANEW}")
    names = [part.path for indexed in manifest.streams.values() for part in indexed.parts]
    for name in (*(f"day=2000-01-01/stream={stream}/part-0.parquet" for stream in manifest.streams), *names):
        if not _PART_NAME.fullmatch(name):
            raise AuditError(f"{path}: {name!r} is no part of an index; {_ANEW}")
    return manifest


_PART_NAME = re.compile(rf"day=[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}/stream={STREAM_PATTERN}/part-[0-9]+\.parquet")
_ANEW = (
    "remove the folder and run 'guardsteer audit compact' anew: an index holds nothing that the log does not"
)


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Put a new table of contents in the place of the old one, whole or not at all, durably."""
    beside = folder / f"{MANIFEST}.new"
    beside.write_bytes(msgspec.json.encode(manifest))
    beside.chmod(0o600)
    sync(beside)
    beside.replace(folder / MANIFEST)
    sync(folder)


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold an index for one writer alone; raises ``AuditError`` when another has it."""
    descriptor = os.open(folder / _LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AuditError(f"{folder}: another 'guardsteer audit compact' is writing this index") from error
        yield
