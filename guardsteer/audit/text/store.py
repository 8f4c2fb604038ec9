"""Keeps the text of requests, encrypted, for those who may read it later: a queue and a thread of its own."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from guardsteer.audit.health import Health
from guardsteer.audit.journal import Journal
from guardsteer.audit.text.sealing import Said, seal
from guardsteer.audit.text.side_file import FOLDER, SideFile
from guardsteer.audit.text.subject_keys import SubjectKeys
from guardsteer.core.events import TextDropped, TextKept
from guardsteer.errors import AuditError, AuditWriteError

__all__ = ["Kept", "TextStore", "check_apart", "open_text_store"]

QUEUE_TOKENS = 1 << 24
FILE_BYTES = 64 * 2**20
_BATCH_TEXTS = 256
_KNOWN_SUBJECTS = 1_024
_RETRY_DELAY_S = 0.25


@dataclass(frozen=True, slots=True)
class Kept:
    """A text to keep: whose it is, which one, and how its tokens become text.

    ``part`` is "prompt" or "output"; ``split`` returns the text that each token adds, and is called by the
    store's thread.
    """

    subject: str
    text: str
    part: str
    request: str
    sequence: int
    tokens: tuple[int, ...]
    split: Callable[[Sequence[int]], Sequence[str]]


def open_text_store(
    journal: Journal, keys: SubjectKeys, *, queue_tokens: int = QUEUE_TOKENS, file_bytes: int = FILE_BYTES
) -> TextStore:
    """Return a store beside ``journal``'s log, in its folder ``text``; what it keeps, the journal records.

    ``queue_tokens`` tokens may wait for the disk; a file ends after ``file_bytes``. Raises ``AuditError``
    where the keys lie within the log's folder: whoever copies that would have both.
    """
    check_apart(journal.directory, keys.directory)
    return TextStore(journal, keys, queue_tokens, file_bytes)


def check_apart(log: Path, keys: Path) -> None:
    """Return if a folder of keys lies outside of a log's folder; raises ``AuditError`` otherwise."""
    if keys.resolve().is_relative_to(log.resolve()):
        raise AuditError(
            f"{keys}: the keys lie within the log's folder {log}, and whoever gets that would have both text "
            "and keys; keep them in another folder, on another disk at best"
        )


class TextStore:
    """Encrypts texts and makes them durable; use ``open_text_store`` to get one.

    ``keep`` never blocks and never raises: watch ``failed``. After a fork the child has files of its own.
    May be shared by threads and guards.
    """

    def __init__(self, journal: Journal, keys: SubjectKeys, queue_tokens: int, file_bytes: int) -> None:
        self.keys = keys
        self.journal = journal
        self._directory = journal.directory / FOLDER
        self._queue_tokens = queue_tokens
        self._file_bytes = file_bytes
        self._closed = False
        self._health = Health(str(self._directory))
        self._begin()
        atexit.register(self._close_at_exit)
        os.register_at_fork(after_in_child=_forked_hook(weakref.ref(self)))

    def _begin(self) -> None:
        self._file = SideFile(self._directory, self._file_bytes)
        self._known: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        self._queue: deque[Kept] = deque()
        self._waiting_tokens = 0
        self._turn = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._failures = 0

    @property
    def failed(self) -> bool:
        """True from the moment that a text could not be kept until all are again."""
        return self._health.failed

    @property
    def health(self) -> Health:
        """What knows that, for who asks at every step; the same object as long as this one lives."""
        return self._health

    @property
    def failure(self) -> str:
        """What went wrong last; empty when nothing ever did."""
        return self._health.failure

    @property
    def dropped(self) -> int:
        """How many texts are lost for good."""
        return self._health.dropped

    def keep(self, kept: Kept) -> None:
        """Queue a text; it is recorded once it is durable."""
        with self._turn:
            if self._closed:
                self._health.lose("the store of texts is closed")
                return
            if self._waiting_tokens + len(kept.tokens) > self._queue_tokens:
                self._health.lose(f"over {self._queue_tokens} tokens wait to be kept")
                return
            self._queue.append(kept)
            self._waiting_tokens += len(kept.tokens)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="guardsteer-text", daemon=True)
                self._thread.start()
            self._turn.notify_all()

    def flush(self, timeout_s: float = 10.0) -> None:
        """Wait until every text is durable and its record handed to the journal.

        Raises ``AuditWriteError`` when one is not, after ``timeout_s`` seconds at the latest.
        """
        with self._turn:
            before = self._failures
            done = self._turn.wait_for(
                lambda: not (self._queue or self._busy) or self._failures > before, timeout_s
            )
            left = bool(self._queue or self._busy)
        if left:
            why = self.failure if done else f"not durable after {timeout_s:g} s; is the disk stuck?"
            raise AuditWriteError(f"{self._directory}: the texts of requests cannot be kept: {why}")
        if lost := self._health.take_unreported():
            raise AuditWriteError(f"{self._directory}: {lost} texts were not kept: {self.failure}")

    def close(self, timeout_s: float = 10.0) -> None:
        """Flush and stop; does nothing the second time. Raises ``AuditWriteError`` as ``flush`` does."""
        if self._closed:
            return
        try:
            self.flush(timeout_s)
        finally:
            with self._turn:
                self._closed = True
                left, thread = len(self._queue), self._thread
                self._turn.notify_all()
            if thread is not None:
                thread.join(timeout_s)
            if left:
                self._health.lose(self.failure, left)
            self._tell_losses()
            self._file.close()
            atexit.unregister(self._close_at_exit)

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    return
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), _BATCH_TEXTS))]
                self._busy = True
            if read := [(kept, said) for kept in batch if (said := self._said(kept)) is not None]:
                self._keep_all(read)
            with self._turn:
                self._busy = False
                self._waiting_tokens -= sum(len(kept.tokens) for kept in batch)
                self._turn.notify_all()

    def _said(self, kept: Kept) -> Said | None:
        """Return what is to be encrypted; None where its tokens cannot be read, which is counted."""
        try:
            return Said(kept.tokens, tuple(kept.split(kept.tokens)))
        # Nothing that one text brings along may end the thread, nor be told in the error's own words.
        except Exception as error:
            self._health.lose(f"a text could not be read: {type(error).__name__}")
            return None

    def _keep_all(self, batch: Sequence[tuple[Kept, Said]]) -> None:
        """Write a batch, again and again until it is durable or the store is closed."""
        while True:
            try:
                self._write(batch)
            except (OSError, AuditError) as error:
                self._health.fail(str(error))
            except Exception as error:
                # Trying again would not help, and the next batch may be of another kind.
                self._health.lose(f"texts could not be encrypted: {type(error).__name__}", len(batch))
                return
            else:
                self._tell_losses()
                self._health.recover()
                return
            with self._turn:
                self._failures += 1
                self._turn.notify_all()
                if self._turn.wait_for(lambda: self._closed, _RETRY_DELAY_S):
                    self._health.lose(self.failure, len(batch))
                    return

    def _write(self, batch: Sequence[tuple[Kept, Said]]) -> None:
        ids: list[str] = []
        lines: list[bytes] = []
        for kept, said in batch:
            key_id, key = self._key_for(kept.subject)
            ids.append(key_id)
            about = {"text": kept.text, "part": kept.part}
            lines.append(seal(said, **about, sequence=kept.sequence, key_id=key_id, key=key))
        offsets = self._file.write(lines)
        for (kept, _), key_id, line, offset in zip(batch, ids, lines, offsets, strict=True):
            self.journal.append(
                TextKept(
                    time_ns=time.time_ns(),
                    request=kept.request,
                    sequence=kept.sequence,
                    text=kept.text,
                    part=kept.part,
                    key=key_id,
                    file=self._file.name,
                    offset=offset,
                    bytes=len(line),
                    digest=sha256(line).hexdigest(),
                )
            )

    def _key_for(self, subject: str) -> tuple[str, bytes]:
        known = self._known.get(subject)
        # Another process may have destroyed it: what is encrypted from then on is under a new one.
        if known is None or not self.keys.has(known[0], subject):
            known = self.keys.key_for(subject)
        self._known[subject] = known
        self._known.move_to_end(subject)
        while len(self._known) > _KNOWN_SUBJECTS:
            self._known.popitem(last=False)
        return known

    def _tell_losses(self) -> None:
        lost = self._health.take_record()
        if lost is not None:
            self.journal.append(
                TextDropped(
                    time_ns=lost.time_ns,
                    count=lost.count,
                    first_ns=lost.first_ns,
                    last_ns=lost.last_ns,
                    reason=lost.reason,
                )
            )

    def _close_at_exit(self) -> None:
        try:
            self.close()
        except AuditWriteError as error:
            self._health.fail(str(error))

    def _forked(self) -> None:
        """Forget what the parent is writing; keys that it knew are looked up anew."""
        self._file.close()
        self._health.renew()
        self._begin()


def _forked_hook(store: weakref.ref[TextStore]) -> Callable[[], None]:
    # Such a hook can never be taken back, so it must not keep the store alive.
    def forked() -> None:
        if (here := store()) is not None:
            here._forked()

    return forked
