"""Reading a log's directory: which files there are, their lines, damaged or not, and checkpoints."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from guardsteer.audit.chain import MAX_LINE_BYTES, checkpoint_name, parse_name, segment_name
from guardsteer.errors import AuditError

__all__ = ["Listing", "list_log", "read_checkpoint", "read_lines"]

# Segments that are made while a directory is listed are few; a name with a huge number must cost nothing.
_WIDEST_HOLE = 64
# Room for a note and many witnesses; what is longer is no checkpoint.
_MAX_CHECKPOINT_BYTES = 1 << 16
_READS = 100


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a directory: ``streams`` maps each stream to its segments' numbers, ascending.

    ``others`` are the names that belong to no stream.
    """

    streams: dict[str, tuple[int, ...]]
    others: tuple[str, ...]


def list_log(directory: Path) -> Listing:
    """Return what a directory holds; raises ``AuditError`` when it cannot be listed."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise _unreadable(directory, error) from error
    streams: dict[str, list[int]] = {}
    others = []
    for name in names:
        if place := parse_name(name):
            stream, number = place
            numbers = streams.setdefault(stream, [])
            if number:
                numbers.append(number)
        else:
            others.append(name)
    return Listing(
        {stream: _without_holes(directory, stream, numbers) for stream, numbers in streams.items()},
        tuple(others),
    )


def _without_holes(directory: Path, stream: str, numbers: Sequence[int]) -> tuple[int, ...]:
    """Return the numbers with those that are there too, though the listing does not have them.

    A directory is not listed at one moment: of two files that are made meanwhile it may name the later alone.
    """
    ascending = sorted(numbers)
    found = [
        number
        for before, after in pairwise([0, *ascending])
        if after - before <= _WIDEST_HOLE
        for number in range(before + 1, after)
        if (directory / segment_name(stream, number)).exists()
    ]
    return tuple(sorted([*ascending, *found]))


def read_lines(path: Path, offset_bytes: int = 0) -> Iterator[bytes]:
    """Yield a file's lines with their newlines; the last one has none when the file is torn.

    ``offset_bytes`` is where the first of them begins. A line that is too long to be a record is cut, so
    that memory stays flat whatever the file holds. Raises ``AuditError`` when the file cannot be read.
    """
    try:
        with path.open("rb", buffering=1 << 18) as file:
            file.seek(offset_bytes)
            while line := file.readline(MAX_LINE_BYTES):
                rest = line
                while len(rest) == MAX_LINE_BYTES and not rest.endswith(b"\n"):
                    rest = file.readline(MAX_LINE_BYTES)
                    if rest.endswith(b"\n"):
                        line += b"\n"
                yield line
    except OSError as error:
        raise _unreadable(path, error) from error


def read_checkpoint(directory: Path, stream: str) -> bytes | None:
    """Return a stream's checkpoint as it was at one moment, or None where there is none.

    Its process may be writing it anew meanwhile, and no file system promises that a read sees all of a write
    or nothing of it: what two reads in a row have in common was there. Raises ``AuditError`` when the file
    cannot be read.
    """
    path = directory / checkpoint_name(stream)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        # One call each: from a file that grows between two calls come one note's head and another's tail.
        data = os.pread(descriptor, _MAX_CHECKPOINT_BYTES, 0)
        for _ in range(_READS):
            before, data = data, os.pread(descriptor, _MAX_CHECKPOINT_BYTES, 0)
            if data == before:
                break
        return data
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)


def _unreadable(path: Path, error: OSError) -> AuditError:
    return AuditError(f"{path}: the audit log cannot be read: {error.strerror}")
