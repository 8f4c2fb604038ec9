"""Makes the index of a log, or adds to it what the log holds by now."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from guardsteer.audit.checkpoint import SignedCheckpoint, parse_checkpoint
from guardsteer.audit.files import list_log, read_checkpoint
from guardsteer.audit.findings import Finding
from guardsteer.audit.index.engine import MEMORY_MIB, arrow, connect, engine
from guardsteer.audit.index.lines import Batch, Place, StreamLines
from guardsteer.audit.index.manifest import (
    MANIFEST,
    SPILL,
    Indexed,
    Manifest,
    check_path,
    is_index,
    load_manifest,
    locked,
    save_manifest,
)
from guardsteer.audit.index.parts import PartWriter, clear_leftovers
from guardsteer.audit.merkle import Range
from guardsteer.audit.verify import verify
from guardsteer.errors import AuditError

__all__ = ["Compaction", "Covered", "compact", "read_apart"]

BATCH_ROWS = 20_000
PART_ROWS = 500_000


@dataclass(frozen=True, slots=True)
class Covered:
    """How far a stream is indexed: ``lines`` of the ``committed`` ones that its checkpoint is signed for.

    ``committed`` is None where there is no checkpoint to be read. Of the first ``verified`` lines
    everything was verified that there is to verify; of all others that each line's hash fits to the line
    before, and ``altered`` counts where it does not. ``added`` lines are new; ``damaged`` ones are no
    record, and in the log alone.
    """

    stream: str
    lines: int
    committed: int | None
    verified: int
    added: int
    damaged: int
    altered: int


@dataclass(frozen=True, slots=True)
class Compaction:
    """What ``compact`` did; with ``findings`` nothing was indexed of the directories that have them."""

    index: str
    streams: tuple[Covered, ...]
    parts: int
    findings: tuple[Finding, ...] = ()

    @property
    def added(self) -> int:
        """How many lines are new."""
        return sum(stream.added for stream in self.streams)


def compact(
    directories: Iterable[str | os.PathLike[str]],
    index: str | os.PathLike[str],
    *,
    check: bool = False,
    trusted: Sequence[bytes] | None = None,
    processes: int = 1,
    memory_mib: int = MEMORY_MIB,
    part_rows: int = PART_ROWS,
) -> Compaction:
    """Write the committed lines of logs to an index of Parquet files, those alone that it does not hold.

    Files lie at ``day=YYYY-MM-DD/stream=NAME/part-*.parquet`` below ``index`` (UTC days), sorted by
    request. An index may be thrown away at any time. Killed at any moment, it goes on where it was; memory
    does not grow with the log (``memory_mib`` for the engine, ``part_rows`` rows in one part).

    Each line's hash is held against the line before. With ``check`` the log is verified as ``verify`` does,
    with ``trusted`` and ``processes``, and what is read must have the root that was verified. Raises
    ``AuditError`` when a log or the index cannot be read or written, or do not belong together.
    """
    folder, logs = Path(index), [Path(directory) for directory in directories]
    engine()
    arrow()
    for log in logs:
        if not list_log(log).streams:
            raise AuditError(
                f"{log}: there is no audit log here; name the directory that the guard was given"
            )
    _prepare(folder)
    with locked(folder), ExitStack() as stack:
        if not is_index(folder):
            save_manifest(folder, Manifest())
        manifest = load_manifest(folder)
        clear_leftovers(folder, manifest)
        spill = stack.enter_context(tempfile.TemporaryDirectory(prefix=SPILL, dir=folder))
        connection = stack.enter_context(connect(Path(spill), memory_mib=memory_mib))
        run = _Run(folder, manifest, PartWriter(folder, connection), part_rows)
        findings: list[Finding] = []
        for directory in logs:
            if check:
                found, checkpoints = _verified(directory, trusted, processes)
            else:
                found, checkpoints = (), _committed(directory)
            findings += found
            if not found:
                run.read(directory, checkpoints, check=check)
        run.commit()
        return Compaction(str(folder), tuple(run.covered.values()), run.writer.written, tuple(findings))


def read_apart(
    directories: Iterable[Path], known: Mapping[str, Indexed], folder: Path, spill: Path
) -> Manifest:
    """Write what logs hold beyond ``known`` to an empty folder, and return what that then holds.

    Raises ``AuditError`` as ``compact`` does.
    """
    bare = {stream: msgspec.structs.replace(indexed, parts=()) for stream, indexed in known.items()}
    manifest = Manifest(streams=bare)
    with connect(spill) as connection:
        run = _Run(folder, manifest, PartWriter(folder, connection, durable=False), PART_ROWS)
        for directory in directories:
            run.read(directory, _committed(directory), check=False)
        run.commit()
        return run.manifest


class _Run:
    """One compaction: what was read and staged, and what of it counts already."""

    def __init__(self, folder: Path, manifest: Manifest, writer: PartWriter, part_rows: int) -> None:
        self.writer = writer
        self.covered: dict[str, Covered] = {}
        self._folder = folder
        self.manifest = manifest
        self._part_rows = part_rows
        self._staged: dict[str, Indexed] = {}

    def read(self, directory: Path, checkpoints: dict[str, SignedCheckpoint | None], *, check: bool) -> None:
        """Take up what a log's streams hold beyond the index."""
        for stream, numbers in list_log(directory).streams.items():
            if stream in checkpoints and numbers:
                self._stream(directory, stream, numbers, checkpoints[stream], check=check)

    def commit(self) -> None:
        """Write what was taken up, and make it count."""
        if not self._staged:
            return
        parts = self.writer.flush(self.manifest)
        streams = dict(self.manifest.streams)
        for stream, indexed in self._staged.items():
            streams[stream] = msgspec.structs.replace(indexed, parts=parts.get(stream, indexed.parts))
        self.manifest = Manifest(streams=streams)
        save_manifest(self._folder, self.manifest)
        self._staged.clear()

    def _stream(
        self,
        directory: Path,
        stream: str,
        numbers: tuple[int, ...],
        signed: SignedCheckpoint | None,
        *,
        check: bool,
    ) -> None:
        before = self._staged.get(stream) or self.manifest.streams.get(stream, Indexed())
        limit = signed.checkpoint.lines if signed else None
        if limit is not None and limit < before.place.lines:
            raise _strangers(directory, stream)
        tree = Range() if check else None
        if tree is not None and before.place.lines:
            _read_again(directory, stream, numbers, before.place, tree)
        lines = StreamLines(directory, stream, numbers, before.place, limit=limit, tree=tree)
        text = signed.note.encode().decode() if signed else ""
        with ThreadPoolExecutor(1) as ahead:
            for batch, place in _read_ahead(ahead, lines.batches(BATCH_ROWS)):
                if 0 < before.place.lines == batch.seq[0] and not batch.intact[0]:
                    raise _strangers(directory, stream)
                self.writer.add(stream, batch)
                self._staged[stream] = self._indexed(stream, place, text, before.verified)
                if self.writer.rows >= self._part_rows:
                    self.commit()
        verified = before.verified
        if tree is not None and signed is not None:
            if tree.root() != signed.checkpoint.root:
                raise AuditError(f"{directory}: stream {stream} was changed between verification and reading")
            verified = tree.end
        if lines.place != before.place or verified != before.verified:
            self._staged[stream] = self._indexed(stream, lines.place, text, verified)
        added = lines.place.lines - before.place.lines
        end = lines.place
        self.covered[stream] = Covered(stream, end.lines, limit, verified, added, end.damaged, end.altered)

    def _indexed(self, stream: str, place: Place, checkpoint: str, verified: int) -> Indexed:
        parts = self.manifest.streams.get(stream, Indexed()).parts
        return Indexed(place, checkpoint, verified, parts)


def _committed(directory: Path) -> dict[str, SignedCheckpoint | None]:
    """Return what each stream's checkpoint says is durable; None where there is none that can be read."""
    found: dict[str, SignedCheckpoint | None] = {}
    for stream in list_log(directory).streams:
        data = read_checkpoint(directory, stream)
        signed = parse_checkpoint(data) if data else None
        found[stream] = signed if signed and signed.checkpoint.stream == stream else None
    return found


def _read_ahead(
    pool: ThreadPoolExecutor, batches: Iterator[tuple[Batch, Place]]
) -> Iterator[tuple[Batch, Place]]:
    """Yield what an iterator yields, while the pool's thread fetches the next."""
    coming = pool.submit(next, batches, None)
    while (found := coming.result()) is not None:
        coming = pool.submit(next, batches, None)
        yield found


def _verified(
    directory: Path, trusted: Sequence[bytes] | None, processes: int
) -> tuple[tuple[Finding, ...], dict[str, SignedCheckpoint | None]]:
    result = verify(directory, trusted=trusted, processes=processes)
    texts = {stream.name: stream.checkpoint for stream in result.streams if stream.checkpoint}
    return result.findings, {stream: parse_checkpoint(text.encode()) for stream, text in texts.items()}


def _read_again(directory: Path, stream: str, numbers: Sequence[int], place: Place, tree: Range) -> None:
    """Take the lines that are indexed into ``tree``; raises ``AuditError`` where they are not those there."""
    lines = StreamLines(directory, stream, numbers, Place(), limit=place.lines, tree=tree)
    for _ in lines.batches(BATCH_ROWS):
        pass
    if lines.place.hash != place.hash:
        raise _strangers(directory, stream)


def _prepare(folder: Path) -> None:
    check_path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = not is_index(folder) and any(name[0] != "_" for name in os.listdir(folder))
    except OSError as error:
        raise AuditError(f"{folder}: the index cannot be written: {error.strerror}") from error
    if foreign:
        raise AuditError(f"{folder}: holds files and no {MANIFEST}; name an empty folder, or a new one")


def _strangers(directory: Path, stream: str) -> AuditError:
    return AuditError(
        f"{directory}: stream {stream} does not go on where its index ends: the log was changed or cut, or "
        f"is another; run 'guardsteer audit verify {directory}', and compact into a new folder"
    )
